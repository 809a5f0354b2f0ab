package caching

import (
	"aigateway/gateway/cache"
	"aigateway/gateway/wire"
)

// An invalidation is a request whose method is unsafe: once it has succeeded, what is stored for its target is no
// longer the response. RFC 9111 §4.4.
type invalidation Request

// ClientLeft implements [wire.Stayer]: nobody else waits.
func (*invalidation) ClientLeft() (goOn bool) { return false }

// Take implements [proxy.Taker]. It takes no response; it only looks at it before the client does.
func (v *invalidation) Take(h *wire.ResponseHead, _ int64) bool {
	r := (*Request)(v)
	c := r.caching
	if !cache.Invalidates(r.Head.Method, h.Status) || c.store.Empty() && c.flights.Idle() {
		return false
	}
	r.invalidate(r.Head.Target)
	if !h.Refers {
		return false
	}
	r.response.Read(h, cache.Times{})
	location, content := r.response.References()
	for _, reference := range [...][]byte{location, content} {
		var ok bool
		if r.scratch, ok = cache.AppendReferenced(r.scratch[:0], r.Origin, r.Head.Target, reference); ok {
			r.invalidate(r.scratch)
		}
	}
	return false
}

// invalidate drops what is stored for a target: its response, or the list of its variants, and so all of them.
func (r *Request) invalidate(target []byte) {
	r.appendKey(target)
	r.caching.store.Delete(cache.Hash(r.text)) // and who asks from now on joins no fetch from before: see Flights.Join
}
