package caching

import (
	"time"

	"aigateway/gateway/cache"
	"aigateway/gateway/proxy"
	"aigateway/gateway/wire"
)

// A check is a request that asks by HEAD, or for a part, for what is stored but stale. Its response may show that the
// stored one is another, or still the one (RFC 9111 §4.3.5), or that it has to stand in.
type check Request

// check asks for the client alone, with an eye on what is stored.
func (r *Request) check() Outcome {
	c, f := r.caching, r.Forward
	r.stamp, r.sent = c.store.Stamp(r.key), time.Now().UnixMilli()
	r.Client.Prepare(f)
	f.Fields = r.AppendOutcome(f.Fields)
	f.Taker = (*check)(r)
	outcome := c.proxy.Forward(f)
	r.Fault, r.Status = outcome.Fault(), f.Status
	switch {
	case outcome == proxy.Taken:
		r.refuseBody()
	case r.Fault == proxy.None, r.Fault == proxy.ClientGone, r.Conn.Replied(), !r.mayServeOnError():
		return Done
	}
	r.replyOnError()
	return Done
}

// ClientLeft implements [wire.Stayer]: nobody else waits.
func (*check) ClientLeft() (goOn bool) { return false }

// Take implements [proxy.Taker]. It takes a failure that what is stored may stand in for; at other responses it only looks
// before the client does.
func (k *check) Take(h *wire.ResponseHead, _ int64) bool {
	r := (*Request)(k)
	if cache.Failure(h.Status) {
		return r.mayServeOnError()
	}
	if h.Status == 200 && r.request.Head && r.stored.Status == 200 {
		r.checkByHead(h)
	}
	return false
}

// checkByHead updates what is stored by a response to HEAD, or drops it.
func (r *Request) checkByHead(h *wire.ResponseHead) {
	store := r.caching.store
	now := time.Now().UnixMilli()
	r.response.Read(h, cache.Times{Request: r.sent, Response: now})
	if !r.response.HeadMatches(&r.stored.Meta, int64(len(r.stored.Body))) {
		store.Delete(r.key)
		return
	}
	lines := r.response.Freshen(nil, storedLines(&r.stored), h)
	r.response.Reread(r.stored.Status, lines)
	get := r.request
	get.Head = false // what is stored is the response to a GET
	if meta, why := r.Rule.Policy.Store(&get, &r.response); why == cache.None {
		e := r.stored
		e.Meta, e.Head = meta, appendStoredHead(nil, lines, len(e.Body))
		e.Until = meta.ResponseTime + meta.Keep().Milliseconds()
		store.Put(r.stamp, cache.AppendEntry(nil, &e), now)
	}
}
