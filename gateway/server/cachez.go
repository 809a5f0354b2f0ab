package server

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"aigateway/gateway/cache"
)

// purgeTime bounds a purge: it looks at every record in Redis.
const purgeTime = 10 * time.Second

// cachez answers /cachez: the figures of the cache, and its purge.
func (g *Gateway) cachez(x *exchange, mayPurge bool) {
	if string(x.head.Method) != "DELETE" {
		g.replyPage(x, 200, g.cacheFigures())
		return
	}
	if !mayPurge && !g.showsToken(x) {
		x.say("WWW-Authenticate", `Bearer realm="aigateway"`)
		g.replyFault(x, &noToken)
		return
	}
	match, ok := purgeMatch(x)
	if !ok {
		g.replyFault(x, &badPurge)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), purgeTime)
	defer cancel()
	n, err := g.store.Purge(ctx, match)
	if err != nil {
		g.log.Warn("a purge did not reach everything", "error", err.Error(), "purged", n)
		g.replyFault(x, &purgeFailed)
		return
	}
	body, _ := json.Marshal(map[string]any{"ok": true, "purged": n}) // plain values cannot fail
	g.replyPage(x, 200, append(body, '\n'))
}

// showsToken tells whether the request may do what an operator may. Without ADMIN_TOKEN nobody may here.
func (g *Gateway) showsToken(x *exchange) bool {
	const scheme = "bearer "
	token := x.plan.settings.Admin.Token
	value, _ := x.head.Field("authorization")
	if token == "" || len(value) < len(scheme) || !bytes.EqualFold(value[:len(scheme)], []byte(scheme)) {
		return false
	}
	return subtle.ConstantTimeCompare(bytes.TrimSpace(value[len(scheme):]), []byte(token)) == 1
}

// purgeMatch is what the query of a purge asks for: ?path= without its query, ?prefix= of a target, ?key= a target
// with its query; one of them. None is everything, a nil function.
func purgeMatch(x *exchange) (match func(key []byte) bool, ok bool) {
	_, query, _ := bytes.Cut(x.head.Target, []byte("?"))
	args, err := url.ParseQuery(string(query))
	if err != nil || len(args) > 1 {
		return nil, false
	}
	if len(args) == 0 {
		return nil, true
	}
	path, prefix, key := []byte(args.Get("path")), []byte(args.Get("prefix")), []byte(args.Get("key"))
	switch {
	case len(path) > 0:
		return ofTarget(func(target []byte) bool { return bytes.Equal(pathOf(target), path) }), true
	case len(prefix) > 0:
		return ofTarget(func(target []byte) bool { return bytes.HasPrefix(target, prefix) }), true
	case len(key) > 0:
		return ofTarget(func(target []byte) bool { return bytes.Equal(target, key) }), true
	}
	return nil, false
}

// ofTarget looks at the target in the text of a key.
func ofTarget(match func(target []byte) bool) func(text []byte) bool {
	return func(text []byte) bool {
		_, target, _, ok := cache.SplitKey(text)
		return ok && match(target)
	}
}

// cacheFigures is the body of GET /cachez.
func (g *Gateway) cacheFigures() []byte {
	type tier struct {
		Hits    uint64 `json:"hits"`
		Entries uint64 `json:"entries"`
		Bytes   uint64 `json:"bytes"`
	}
	c := g.settings.Cache
	hits, misses := g.metrics.Cache().Totals()
	state := g.cacheState()
	tiers := map[string]tier{}
	var all uint64
	for i, name := range g.tiers() {
		all += hits[i]
		tiers[name] = tier{Hits: hits[i], Entries: state.Entries[i], Bytes: state.Bytes[i]}
	}
	reasons := map[string]uint64{}
	for i, n := range g.metrics.Cache().MissesByReason() {
		if n > 0 {
			reasons[missReasons()[i]] = n
		}
	}
	invalidations := map[string]uint64{}
	for i, n := range state.Invalidations {
		invalidations[cacheSources[i]] = n
	}
	ratio := 0.0
	if all+misses > 0 {
		ratio = float64(all) / float64(all+misses)
	}
	body, err := json.Marshal(struct {
		Enabled       bool              `json:"enabled"`
		Hits          uint64            `json:"hits"`
		Misses        uint64            `json:"misses"`
		HitRatio      float64           `json:"hit_ratio"`
		Coalesced     uint64            `json:"coalesced"`
		Backend       string            `json:"backend"`
		TTL           string            `json:"ttl"`
		MaxEntries    int               `json:"max_entries"`
		MemoryBytes   int64             `json:"memory_bytes"`
		Tiers         map[string]tier   `json:"tiers"`
		MissesBy      map[string]uint64 `json:"misses_by_reason"`
		Invalidations map[string]uint64 `json:"invalidations"`
		Evictions     uint64            `json:"evictions"`
		Trusted       bool              `json:"memory_trusted"`
		RedisErrors   uint64            `json:"redis_errors"`
	}{
		c.Enabled, all, misses, ratio, g.metrics.Cache().CoalescedTotal(), c.Backend, fmt.Sprintf("%ds", int(c.TTL.Seconds())), c.MaxEntries, c.MemoryBytes,
		tiers, reasons, invalidations, state.Evictions, state.Trusted, state.RedisErrors,
	})
	if err != nil {
		panic("BUG: cannot marshal the figures of the cache: " + err.Error())
	}
	return append(body, '\n')
}
