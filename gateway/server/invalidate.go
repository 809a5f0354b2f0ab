package server

import (
	"aigateway/gateway/cache"
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
	if !cache.Invalidates(x.head.Method, h.Status) {
		return false
	}
	g, c := x.gateway, &x.cached
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

// invalidate drops what is stored for a target: its answer, or the list of its variants, and so all of them.
func (g *Gateway) invalidate(x *exchange, o cache.Origin, target []byte) {
	c := &x.cached
	c.text = cache.AppendKey(c.text[:0], o, target)
	g.store.Delete(cache.Hash(c.text))
}
