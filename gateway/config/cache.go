package config

import (
	"fmt"
	"slices"
	"time"
)

// readCache reads what a route says about the cache.
func readCache(n node, c *RouteCache) {
	on, post, p := true, false, PostCache{}
	known := map[string]func(node){
		"enabled": to(&on, boolean),
		"ttl":     to(&c.TTL, duration(time.Second)),

		"negative_ttl":   to(&c.NegativeTTL, orZero(duration(time.Second))),
		"stale_if_error": to(&c.StaleIfError, orZero(duration(time.Second))),

		"key_fields":    func(n node) { c.KeyFields = readFields(n, settledFields()) },
		"ignore_fields": func(n node) { c.IgnoreFields = readFields(n, append(settledFields(), askingFields()...)) },

		"post":  to(&post, boolean),
		"scope": to(&p.Scope, func(text string) (Scope, error) { return oneOf(text, TenantScope, SharedScope) }),
	}
	var ofPost []string // the fields that are about POST and stated
	for name, read := range map[string]func(node){
		"when":   to(&p.When, func(text string) (When, error) { return oneOf(text, Deterministic, Always, ByHeader) }),
		"tools":  to(&p.Tools, boolean),
		"replay": to(&p.Replay, func(text string) (Replay, error) { return oneOf(text, Fast, Paced) }),
	} {
		known[name] = func(n node) {
			ofPost = append(ofPost, name)
			read(n)
		}
	}
	n.fields(known)
	for _, name := range c.IgnoreFields {
		if slices.Contains(c.KeyFields, name) {
			n.fault(name + " cannot be both in key_fields and in ignore_fields")
		}
	}
	c.Off = !on
	for _, s := range []struct {
		name   string
		stated bool
	}{{"ttl", c.TTL > 0}, {"negative_ttl", c.NegativeTTL > 0}, {"stale_if_error", c.StaleIfError > 0},
		{"list of key_fields", len(c.KeyFields) > 0}, {"list of ignore_fields", len(c.IgnoreFields) > 0}, {"post: true", post}} {
		if c.Off && s.stated {
			n.fault("a " + s.name + " and enabled: false contradict each other")
		}
	}
	if slices.Sort(ofPost); !post && len(ofPost) > 0 {
		n.fault(fmt.Sprintf("%s is about answers to POST, which are kept with post: true", ofPost[0]))
	}
	c.Shared = p.Scope == SharedScope
	if post && !c.Off {
		p.fill()
		c.Post = &p
	}
}

// fill sets what is not stated.
func (p *PostCache) fill() {
	if p.When == "" {
		p.When = Deterministic
	}
	if p.Scope == "" {
		p.Scope = TenantScope
	}
	if p.Replay == "" {
		p.Replay = Fast
	}
}

// fields is the part of a route's cache that is about POST, in the file's form.
func (p *PostCache) fields() (list []string) {
	if p == nil {
		return nil
	}
	list = append(list, "post: true")
	if p.When != Deterministic {
		list = append(list, "when: "+string(p.When))
	}
	if p.Tools {
		list = append(list, "tools: true")
	}
	if p.Replay != Fast {
		list = append(list, "replay: "+string(p.Replay))
	}
	return list
}

// checkPost refuses a cache for POST where no POST comes.
func (d *draft) checkPost(r *fileRoute) {
	if r.Cache.Post != nil && len(r.Methods) > 0 && !slices.Contains(r.Methods, "POST") {
		d.fault(r.where+".cache.post", "the route's methods do not have POST")
	}
}
