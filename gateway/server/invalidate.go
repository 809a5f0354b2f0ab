package server

import (
	"time"

	"aigateway/gateway/cache"
	"aigateway/gateway/proxy"
	"aigateway/gateway/wire"
)

// An invalidation is an exchange whose method is unsafe: once it has succeeded, what is stored for its target is no
// longer the answer. RFC 9111 §4.4.
type invalidation exchange

// ClientLeft implements [wire.Stayer]: nobody else waits.
func (*invalidation) ClientLeft() (goOn bool) { return false }

// Take implements [proxy.Taker]. It takes no answer; it only looks at it before the client does.
func (v *invalidation) Take(h *wire.ResponseHead, _ int64) bool {
	x := (*exchange)(v)
	g, c := x.gateway, &x.cached
	if !cache.Invalidates(x.head.Method, h.Status) || g.store.Empty() && g.flights.Idle() {
		return false
	}
	origin := g.origin(x)
	g.invalidate(x, origin, x.head.Target)
	if !h.Refers {
		return false
	}
	c.response.Read(h, cache.Times{})
	location, content := c.response.References()
	for _, reference := range [...][]byte{location, content} {
		var ok bool
		if x.scratch, ok = cache.AppendReferenced(x.scratch[:0], origin, x.head.Target, reference); ok {
			g.invalidate(x, origin, x.scratch)
		}
	}
	return false
}

// A check is an exchange that asks by HEAD, or for a part, for what is stored but stale. Its answer may show that the
// stored one is another, or still the one (RFC 9111 §4.3.5), or that it has to stand in.
type check exchange

// ClientLeft implements [wire.Stayer]: nobody else waits.
func (*check) ClientLeft() (goOn bool) { return false }

// Take implements [proxy.Taker]. It takes a failure that has a stand-in; at other answers it only looks before the
// client does.
func (v *check) Take(h *wire.ResponseHead, _ int64) bool {
	x := (*exchange)(v)
	if cache.Failure(h.Status) {
		return x.mayStandIn()
	}
	if h.Status == 200 && x.cached.request.Head && x.cached.stored.Status == 200 {
		x.checkByHead(h)
	}
	return false
}

// standInAlone answers with what is stored a request that took no part in a flight, after its fetch has failed, if that
// is allowed.
func (g *Gateway) standInAlone(x *exchange, f proxy.Fault) bool {
	c := &x.cached
	if held := x.forward.Held; held {
		_ = g.proxy.Receive(x.forward, refuse)
	} else if f == proxy.None || f == proxy.ClientGone || c.stored.Status == 0 || x.conn.Answered() || !x.mayStandIn() {
		return false
	}
	c.outcome = outcomeStale
	c.status.Forward, c.status.Detail = cache.ForwardedStale, cache.None
	g.serve(x, time.Now().UnixMilli())
	return true
}

// checkByHead updates what is stored by an answer to HEAD, or drops it.
func (x *exchange) checkByHead(h *wire.ResponseHead) {
	g, c := x.gateway, &x.cached
	now := time.Now().UnixMilli()
	c.response.Read(h, cache.Times{Request: c.sent, Response: now})
	if !c.response.HeadMatches(&c.stored.Meta, int64(len(c.stored.Body))) {
		g.store.Delete(c.key)
		return
	}
	lines := c.response.Freshen(nil, storedLines(&c.stored), h)
	c.response.Reread(c.stored.Status, lines)
	get := c.request
	get.Head = false // what is stored is the answer to a GET
	if meta, why := x.route.caching.policy.Store(&get, &c.response); why == cache.None {
		e := c.stored
		e.Meta, e.Head = meta, appendStoredHead(nil, lines, len(e.Body))
		e.Until = meta.ResponseTime + meta.Keep().Milliseconds()
		g.store.Put(c.stamp, cache.AppendEntry(nil, &e), now)
	}
}

// invalidate drops what is stored for a target: its answer, or the list of its variants, and so all of them.
func (g *Gateway) invalidate(x *exchange, o cache.Origin, target []byte) {
	c := &x.cached
	c.text = cache.AppendKey(c.text[:0], o, target)
	g.store.Delete(cache.Hash(c.text)) // and who asks from now on joins no fetch from before: see Flights.Join
}
