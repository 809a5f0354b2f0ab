package caching

import (
	"bytes"
	"slices"
	"time"

	"aigateway/gateway/cache"
	"aigateway/gateway/proxy"
	"aigateway/gateway/wire"
)

// A fill is a response on its way into the cache and to those who wait for it. It outlives the request that led.
type fill struct {
	caching  *Caching
	forward  *proxy.Exchange
	flight   *Flight
	next     step // what is done with it
	response Response
	text     []byte // of the URL's key
	primary  cache.Key
	key      cache.Key
	stamp    cache.Stamp // of primary, from before the request went out
	own      cache.Stamp // of key
	keeps    bool        // the response may be stored
	sole     bool        // under the URL's key: no other one is known for the URL, although others would get another
}

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
	r.fill = &fill{caching: r.caching, forward: r.Forward, flight: r.flight, primary: r.primary, key: r.key, stamp: r.stamp}
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
	r.fill.response = Response{Meta: meta, Live: h.EventStream(), Length: length, Lines: r.response.AppendHead(nil, h)}
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

// keep readies a fill for its record: the texts of its key, and of its variant.
func (l *fill) keep(r *Request) {
	l.keeps = true
	l.text = slices.Clone(r.urlText())
	l.response.Meta.ETag = slices.Clone(l.response.Meta.ETag)
	if names := r.response.AppendNames(nil, r.names, &l.response.Meta); len(names) > 0 {
		r.names = append(r.names[:0], names...)
		r.vary()
		l.key = r.key
		l.response.Names, l.response.Variant = names, slices.Clone(r.variantText())
		l.sole = !r.listed && cache.IsOthers(names)
	}
	l.own = l.caching.store.Stamp(l.key)
}

// receive passes the body to those who wait, and stores it if it is whole.
func (l *fill) receive() {
	defer func() {
		if p := recover(); p != nil {
			l.caching.options.OnPanic(p)
			l.flight.Break()
		}
	}()
	marked := false
	sink := func(piece []byte) error {
		err := l.flight.Write(piece)
		if !marked && l.flight.TooLarge() {
			marked = true
			l.caching.flights.MarkHitForMiss(l.primary, wire.Now()) // the next ones go alone, each at its own pace
		}
		return err
	}
	if l.caching.proxy.Receive(l.forward, sink) != proxy.None {
		l.flight.Break()
		return
	}
	body, ok := l.flight.Kept()
	l.keeps = l.keeps && ok
	l.end(body)
}

// end stores the whole response and shows it to those who wait for all of it.
func (l *fill) end(body []byte) {
	if !l.keeps {
		l.flight.End(nil)
		return
	}
	a := &l.response
	now := time.Now().UnixMilli()
	e := cache.Entry{
		Meta: a.Meta, Key: l.text, Variant: a.Variant, Body: body,
		Head:  appendStoredHead(nil, a.Lines, len(body)),
		Until: a.Meta.ResponseTime + a.Meta.Keep().Milliseconds(),
	}
	record := cache.AppendEntry(nil, &e)
	l.put(record, e.Until, now)
	l.flight.End(record)
}

// put stores the record, unless something was done to its URL since the request went out.
func (l *fill) put(record []byte, until, now int64) {
	store := l.caching.store
	if len(l.response.Names) == 0 || l.sole {
		store.Put(l.stamp, record, now)
		return
	}
	lists := l.caching.flights.Lists(l.primary)
	lists.Lock()
	defer lists.Unlock()
	if store.Valid(l.stamp) {
		store.Put(l.own, record, now)
		l.list(until, now)
	}
}

// list puts the response on the list of its URL's variants.
func (l *fill) list(until, now int64) {
	var old cache.Variants
	if record, tier := l.caching.store.Get(nil, l.primary, now); tier != cache.Nowhere {
		if e, ok := cache.Decode(record); ok && bytes.Equal(e.Key, l.text) {
			old = l.listOf(record, &e, now)
			until = max(until, e.Until)
		}
	}
	e := cache.Entry{
		Meta: cache.Meta{Status: l.response.Meta.Status, Flags: cache.Varies, ResponseTime: now}, Key: l.text, Until: until,
		Body: cache.AppendVariants(nil, old, l.response.Names, l.key),
	}
	l.caching.store.Put(l.stamp, cache.AppendEntry(nil, &e), now)
}

// listOf is the list that is stored for the URL; or that of the one response that is, which gets a key of its own for it.
func (l *fill) listOf(record []byte, e *cache.Entry, now int64) (old cache.Variants) {
	switch {
	case e.Flags&cache.Varies != 0:
		old, _ = cache.ParseVariants(e.Body)
	case len(e.Variant) > 0 && cache.IsOthers(l.response.Names):
		key := cache.Hash(append(slices.Clone(e.Key), e.Variant...))
		l.caching.store.Put(l.caching.store.Stamp(key), record, now)
		old, _ = cache.ParseVariants(cache.AppendVariants(nil, cache.Variants{}, l.response.Names, key))
	}
	return old
}

// appendStoredHead appends the head of a record: its lines, the length of its body and the empty line.
func appendStoredHead(dst, lines []byte, length int) []byte {
	dst = wire.AppendInt(append(dst, lines...), lengthName, int64(length))
	return append(dst, "\r\n"...)
}

// storedLines are the lines of a stored head without Content-Length and the empty line, which appendStoredHead
// puts at its end.
func storedLines(e *cache.Entry) []byte {
	return e.Head[:bytes.LastIndex(e.Head, contentLength)]
}

// hasLength tells whether a stored head ends as it was written: what comes from Redis may be anything.
func hasLength(head []byte) bool { return bytes.LastIndex(head, contentLength) >= 0 }

const lengthName = "Content-Length: "

var contentLength = []byte(lengthName)
