package caching

import (
	"slices"
	"time"

	"aigateway/gateway/cache"
	"aigateway/gateway/proxy"
	"aigateway/gateway/wire"
)

// ClientLeft implements [wire.Stayer]: the fetch goes on while others wait for it.
func (r *Request) ClientLeft() (goOn bool) {
	if r.own.Load() {
		return false
	}
	if goOn = r.flight.LeaveQuietly(r.waiter); goOn {
		r.waiter.Interrupt() // who leads is not told otherwise: its work goes on
	}
	return goOn
}

// Take implements [proxy.Taker]: it decides what becomes of the response to a fetch.
func (r *Request) Take(h *wire.ResponseHead, length int64) bool {
	r.response.Read(h, cache.Times{Request: r.sent, Response: time.Now().UnixMilli()})
	r.status.Status = h.Status
	if r.fill != nil {
		r.fill.put()
	}
	r.fill = r.caching.newFill(r)
	if r.posts {
		return r.takePost(h, length)
	}
	switch {
	case h.Status == 304 && r.validators() != nil:
		return r.takeFreshening(h)
	case cache.Failure(h.Status) && r.mayServeOnError():
		r.take((*Request).replace)
		return true
	}
	meta, why := r.Rule.Policy.Store(&r.request, &r.response)
	if why == cache.None && (length == wire.UntilClose || length > r.Rule.Policy.MaxBody) {
		why = cache.ForTooLarge // or with an end that cannot be told from a cut
	}
	if why != cache.None {
		return r.takeNot(h, why)
	}
	r.take((*Request).store)
	m := &r.flight.memory
	m.lines = slices.Grow(r.response.AppendHead(m.lines[:0], h), headEnd)
	r.fill.response = Response{Meta: meta, Live: h.EventStream(), Length: length, Lines: m.lines}
	r.fill.keep(r)
	return true
}

// take says what is done with the response.
func (r *Request) take(next step) {
	r.enter(taken)
	r.fill.next = next
}

// takeNot lets a response go to the client that asked, and to nobody else.
func (r *Request) takeNot(h *wire.ResponseHead, why cache.Reason) bool {
	r.enter(settled)
	r.own.Store(true)
	r.status.Detail = why
	if cache.Failure(h.Status) {
		r.flight.Fail(proxy.UpstreamFailed)
	} else {
		if r.stored.Status != 0 { // another response has taken its place: RFC 9111 §4.3.3
			r.caching.store.Delete(r.key)
		}
		r.private()
	}
	r.flight.LeaveQuietly(r.waiter)
	r.fill.next = (*Request).discard
	if !r.reader.owns() {
		return true
	}
	r.Forward.Fields = r.AppendOutcome(r.Forward.Fields)
	return false
}

// takeFreshening updates what is stored by a 304: RFC 9111 §4.3.4.
func (r *Request) takeFreshening(h *wire.ResponseHead) bool {
	if !r.response.Validates(&r.stored.Meta) || !r.caching.store.Valid(r.stamp) {
		// About another response, or one that was purged meanwhile: the request goes out again, without validators.
		r.take((*Request).askAgain)
		return true
	}
	r.take((*Request).freshen)
	status := r.stored.Status
	lines := r.response.Freshen(nil, storedLines(&r.stored), h)
	r.response.Reread(status, lines)
	meta, why := r.Rule.Policy.Store(&r.request, &r.response)
	if why != cache.None { // the 304 says that it is not to be kept: this once, and for this client, it is the reply
		meta = r.stored.Meta
		r.caching.store.Delete(r.key)
	}
	l := r.fill
	l.response = Response{Meta: meta, Lines: lines, Length: int64(len(r.stored.Body)), Body: slices.Clone(r.stored.Body)}
	l.keep(r)
	l.keeps = why == cache.None
	return true
}
