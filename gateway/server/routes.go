package server

import (
	"bytes"
	"slices"
	"strings"

	"aigateway/gateway/charging"
	"aigateway/gateway/config"
	"aigateway/gateway/ops"
	"aigateway/gateway/proxy"
	"aigateway/gateway/wire"
)

// newRoute provisions a configured route.
func (g *Gateway) newRoute(p *plan, c config.Route) *route {
	r := &route{path: c.Path, methods: c.Methods, rewrite: c.Rewrite, openAI: c.OpenAI, closed: byKey}
	if prefix, ok := strings.CutSuffix(c.Path, "*"); ok {
		r.prefix = prefix
		r.rewrite = strings.TrimSuffix(c.Rewrite, "*")
	}
	r.allow, r.maxBody = ops.Allow(c.Methods), c.MaxBodyBytes
	r.metrics = g.metrics.Route(c.Path)
	r.cors = newCORS(c)
	if r.limit = p.limits[c.Limit.Rate]; r.limit != nil {
		r.policy = r.limit.AppendPolicy(nil)
		r.cost = max(1, c.Limit.Cost)
	}
	if g.store != nil && !c.Cache.Off {
		r.caching = g.ruleOf(p.settings, c)
	}
	switch c.Local {
	case "slow":
		r.reply, r.work = g.slow, slowly
		if r.caching != nil {
			r.caching.Local = slowly
		}
	case "limited":
		r.reply = g.limited
	default:
		if pool := g.proxy.Pool(c.Pool); pool != nil {
			r.targets = targetsOf(pool, g.fallback(p.settings, c))
			r.aim(len(c.Rewrite), r.targets)
		} else {
			r.missing = &noLLM
		}
		if r.openAI {
			r.model(p)
		}
		r.retry = policies[c.Retry]
	}
	return r
}

// model notes what the route does with models, to whose upstreams it may then lead.
func (r *route) model(p *plan) {
	var own *proxy.Pool
	if len(r.targets) > 0 {
		own = r.targets[0].Pool
	}
	if p.charging != nil {
		r.room += charging.RoomToInject
	}
	clocked := r.clocked()
	if r.models = p.modelsOf(own); r.models == nil && (clocked || p.keys.Limits()) { // what the request says of itself is looked at
		r.models = &models{pool: own}
	}
	if clocked {
		r.models.clock = true
	}
	if p.models == nil {
		return
	}
	r.missing = nil // there are models; what is for none of them is told later
	for _, ways := range p.models.ways {
		for _, w := range ways {
			r.aim(len(r.rewrite)+p.models.table.Longest(), []proxy.Target{{Pool: w.pool}})
		}
	}
}

// clocked tells whether the first content of a stream has a time, after which another pool is asked.
func (r *route) clocked() bool {
	return len(r.targets) > 1 && slices.ContainsFunc(r.targets[:len(r.targets)-1], func(t proxy.Target) bool { return t.Pool.Clocks() })
}

// targetsOf are a pool and the one that stands in for it, if there is one.
func targetsOf(pool, fallback *proxy.Pool) []proxy.Target {
	targets := []proxy.Target{{Pool: pool}}
	if fallback != nil {
		targets = append(targets, proxy.Target{Pool: fallback})
	}
	return targets
}

// aim notes what requests to these targets need, which may become longer by so many bytes in their own words.
func (r *route) aim(longer int, targets []proxy.Target) {
	for _, t := range targets {
		r.room = max(r.room, longer+t.Pool.CredentialRoom()+len(t.With))
		r.byClient = r.byClient || t.Pool.ByClient()
	}
}

// policies are what the proxy calls the ways to send again.
var policies = map[config.Retry]proxy.Policy{
	"": proxy.Usual, config.RetryNever: proxy.Never, config.RetrySafe: proxy.Safe, config.RetryReattempt: proxy.Reattempt,
}

// fallback is the pool that stands in for a route's own: the route's choice, or else the pool's.
func (g *Gateway) fallback(s *config.Settings, c config.Route) *proxy.Pool {
	if c.Fallback != "" {
		return g.proxy.Pool(c.Fallback)
	}
	for _, p := range s.Pools {
		if p.Name == c.Pool {
			return g.proxy.Pool(p.Fallback)
		}
	}
	return nil
}

// takes tells whether the route answers the method. No list takes every method that the policy lets in.
func (r *route) takes(method []byte) bool {
	if len(r.methods) == 0 {
		return true
	}
	for _, m := range r.methods {
		if m == string(method) || m == "GET" && string(method) == "HEAD" {
			return true
		}
	}
	return false
}

// match returns the longest prefix route of a path, or nil. Exact routes are the router's.
func (p *plan) match(path []byte) *route {
	for _, r := range p.prefixes {
		if len(path) >= len(r.prefix) && string(path[:len(r.prefix)]) == r.prefix {
			return r
		}
	}
	return nil
}

// climbs tells whether the rest of a path, behind its route's prefix, leaves it by dot segments for an
// upstream that resolves them (RFC 3986 §5.2.4). Encoded dots and slashes and backslashes are read as what
// some upstreams take them for.
func climbs(rest []byte) bool {
	if bytes.IndexByte(rest, '.') < 0 && bytes.IndexByte(rest, '%') < 0 {
		return false
	}
	depth := 0
	for len(rest) > 0 {
		var dots, other int
		var slash, parameter bool
		for len(rest) > 0 && !slash {
			c := rest[0]
			n := 1
			if c == '%' && len(rest) >= 3 {
				switch string(bytes.ToLower(rest[1:3])) {
				case "2e":
					c, n = '.', 3
				case "2f", "5c":
					c, n = '/', 3
				case "3b":
					c, n = ';', 3
				}
			}
			rest = rest[n:]
			switch {
			case c == '/' || c == '\\':
				slash = true
			case c == ';':
				parameter = true // servlet containers drop ";x=y" from a segment before they look at it
			case parameter:
			case c == '.':
				dots++
			default:
				other++
			}
		}
		switch {
		case other == 0 && dots == 2:
			depth--
		case other > 0 || dots > 2:
			depth++
		}
		if depth < 0 {
			return true
		}
	}
	return false
}

// find returns the route of a path, or nil.
func (p *plan) find(path []byte) *route {
	if r := p.exact[string(path)]; r != nil {
		return r
	}
	return p.match(path)
}

// appendTarget appends the target as the upstream gets it: the bytes as they came, or with the route's path
// or prefix replaced.
func (r *route) appendTarget(dst, target []byte) []byte {
	if r.rewrite == "" {
		return append(dst, target...)
	}
	dst = append(dst, r.rewrite...)
	if r.prefix != "" {
		return append(dst, target[len(r.prefix):]...)
	}
	if i := bytes.IndexByte(target, '?'); i >= 0 {
		dst = append(dst, target[i:]...)
	}
	return dst
}

// leavesOrigin tells whether the rewrite of a path with an empty segment names an authority.
func (r *route) leavesOrigin(target []byte) bool {
	if r.prefix == "" || r.rewrite == "" {
		return false
	}
	rest := target[len(r.prefix):]
	return r.rewrite == "/" && len(rest) > 0 && (rest[0] == '/' || rest[0] == '\\')
}

// pathOf is a target without its query.
func pathOf(target []byte) []byte {
	if i := bytes.IndexByte(target, '?'); i >= 0 {
		return target[:i]
	}
	return target
}

// shownPath is what logs and traces show of a target: its path. What stands before the path of one that was refused may be
// a name and a password.
func shownPath(target []byte) []byte {
	path := pathOf(target)
	switch {
	case string(path) == "*", len(path) > 0 && path[0] == '/' && !wire.NamesAuthority(path):
		return path
	case len(path) > 0 && path[0] == '/':
		path = path[len("//"):]
	default:
		_, path, _ = bytes.Cut(path, schemeEnd)
	}
	if at := bytes.IndexByte(path, '/'); at >= 0 {
		return path[at:]
	}
	return nil
}

var schemeEnd = []byte("://")
