package caching

import (
	"bytes"
	"slices"
	"time"

	"aigateway/gateway/cache"
	"aigateway/gateway/proxy"
	"aigateway/gateway/wire"
)

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
		l.note(piece)
		err := l.flight.Write(piece)
		if !marked && l.flight.TooLarge() {
			marked = true
			l.caching.flights.MarkHitForMiss(l.primary, wire.Now()) // the next ones go alone, each at its own pace
		}
		return err
	}
	if f := l.caching.proxy.Receive(l.forward, sink); f != proxy.None {
		l.tell(f)
		l.flight.Break()
		return
	}
	body, ok := l.flight.Kept()
	l.keeps = l.keeps && ok
	if l.answer != nil && ok {
		l.judge(body)
	}
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

// A sharing is why what is stored is shown to those who wait in a flight.
type sharing uint8

const (
	asStored sharing = iota
	onError          // the upstream has failed
)

// share shows what is stored to those who wait in a flight.
func (r *Request) share(f *Flight, why sharing) {
	record := slices.Clone(r.full[recordRoom:])
	e, _ := cache.Decode(record)
	f.Fill(Response{
		Meta: e.Meta, OnError: why == onError, Names: slices.Clone(r.names), Variant: e.Variant, Lines: storedLines(&e),
		Length: int64(len(e.Body)), Body: e.Body,
	})
	f.End(record)
}
