package caching

import (
	"bytes"
	"slices"
	"time"

	"aigateway/gateway/cache"
	"aigateway/gateway/proxy"
	"aigateway/gateway/wire"
)

// newFill takes a fill for what r fetches.
func (c *Caching) newFill(r *Request) *fill {
	l := c.fills.Get().(*fill)
	l.forward, l.flight, l.primary, l.key, l.stamp = r.Forward, r.flight, r.primary, r.key, r.stamp
	return l
}

// put readies l for another response.
func (l *fill) put() {
	*l = fill{caching: l.caching, start: l.start, sink: l.sink, gathers: l.gathers, relays: l.relays, drops: l.drops, answer: answer{note: kept(l.answer.note)}}
	l.caching.fills.Put(l)
}

// keep readies a fill for its record: the texts of its key, and of its variant.
func (l *fill) keep(r *Request) {
	l.keeps = true
	m := &l.flight.memory
	m.text = append(m.text[:0], r.urlText()...)
	m.etag = append(m.etag[:0], l.response.Meta.ETag...)
	l.response.Meta.ETag = m.etag
	m.names, m.variant = r.response.AppendNames(m.names[:0], r.names, &l.response.Meta), m.variant[:0]
	if len(m.names) > 0 {
		r.names = append(r.names[:0], m.names...)
		r.vary()
		l.key = r.key
		m.variant = append(m.variant, r.variantText()...)
		l.response.Names, l.response.Variant = m.names, m.variant
		l.sole = !r.listed && cache.IsOthers(m.names)
	}
	l.own = l.caching.store.Stamp(l.key)
}

// receiveApart is receive in a goroutine of its own. What a panic leaves is not used again.
func (l *fill) receiveApart() {
	c := l.caching
	defer c.behind.Done()
	for more := true; more; {
		var ok bool
		if more, ok = l.receive(l.sink); !ok {
			return
		}
	}
	l.flight.fetch.end(l.forward)
	l.flight.Release()
	l.forward.Reset()
	c.exchanges.Put(l.forward)
	l.put()
}

// receive passes the body to those who wait, by sink, and stores it if it is whole; more tells that sink wants the rest later. ok tells that
// there was no panic.
func (l *fill) receive(sink func([]byte) error) (more, ok bool) {
	defer func() {
		if ok {
			return
		}
		l.caching.options.OnPanic(recover())
		l.flight.Hold() // for good
		l.flight.Break()
	}()
	o := l.caching.proxy.Receive(l.forward, sink)
	if o != proxy.Taken {
		l.end(o.Fault())
	}
	return o == proxy.Taken, true
}

// receiveArrived is receive of a body that has come with its head: those who wait learn of the response when it is whole.
func (l *fill) receiveArrived() (ok bool) {
	defer func() {
		if ok {
			return
		}
		l.caching.options.OnPanic(recover())
		l.flight.Hold() // for good
		l.flight.Fill(l.response)
		l.flight.Break()
	}()
	if l.caching.proxy.Receive(l.forward, l.gathers) != proxy.Relayed {
		l.flight.Fill(l.response)
		l.flight.Break()
		return true
	}
	l.share()
	return true
}

// gather keeps a piece of the body.
func (l *fill) gather(piece []byte) error {
	l.response.Body = append(l.response.Body, piece...)
	return nil
}

// share stores the whole response, and shows it to those who wait.
func (l *fill) share() {
	a := &l.response
	if l.posts {
		l.judge(a.Body)
	}
	a.Record = l.keepRecord(a.Body, a.Meta.ResponseTime) // which is now
	l.flight.FillWhole(a)
}

// take passes a piece of the body on.
func (l *fill) take(piece []byte) error {
	wrote, err := l.write(piece, nil)
	l.flight.nudgeOthers(wrote.next)
	return err
}

// relay is take by who reads the response for its own client as well, who gets the piece at once. It does so as long as nobody waits for it:
// where the client is slow or gone, or there are many others, the rest is left to a goroutine of its own.
func (l *fill) relay(piece []byte) error {
	r := l.reader
	wrote, err := l.write(piece, r.waiter)
	if err != nil {
		return err
	}
	if !wrote.by {
		piece = nil
	}
	on := !r.waiter.Gone() && r.offer(piece)
	l.flight.nudgeOthers(wrote.next)
	if !on || wrote.next > 0 {
		return proxy.ErrLater
	}
	return nil
}

// drop is take by who reads the response for nobody, and holds up nobody.
func (l *fill) drop(piece []byte) error {
	wrote, err := l.write(piece, l.reader.waiter)
	l.flight.nudgeOthers(wrote.next)
	return err
}

// write notes a piece of the body and appends it to what the flight has.
func (l *fill) write(piece []byte, w *Waiter) (written, error) {
	if len(piece) == 0 {
		return written{}, nil
	}
	l.note(piece)
	wrote, err := l.flight.write(piece, w)
	if wrote.large && !l.marked {
		l.marked = true
		l.caching.flights.MarkHitForMiss(l.primary, wire.Now()) // the next ones go alone, each at its own pace
	}
	return wrote, err
}

// end ends the flight of a body that has ended so.
func (l *fill) end(f proxy.Fault) {
	if f != proxy.None {
		l.tell(f)
		l.flight.Break()
		return
	}
	body, ok := l.flight.Kept()
	l.keeps = l.keeps && ok
	if l.posts && ok {
		l.judge(body)
		l.flight.Judge(l.response.Why, l.response.Tokens)
	}
	l.flight.End(l.keepRecord(body, time.Now().UnixMilli()))
}

// keepRecord makes a record of the whole response, if it is kept, and stores it.
func (l *fill) keepRecord(body []byte, now int64) (record []byte) {
	if !l.keeps {
		return nil
	}
	a := &l.response
	m := &l.flight.memory
	e := cache.Entry{
		Meta: a.Meta, Key: m.text, Variant: a.Variant, Body: body,
		Head:  appendStoredHead(a.Lines, nil, len(body)),
		Until: a.Meta.ResponseTime + a.Meta.Keep().Milliseconds(),
	}
	record = m.recordOf(&e)
	l.store(record, e.Until, now)
	return record
}

// store stores the record, unless something was done to its URL since the request went out.
func (l *fill) store(record []byte, until, now int64) {
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
		if e, ok := cache.Decode(record); ok && bytes.Equal(e.Key, l.flight.memory.text) {
			old = l.listOf(record, &e, now)
			until = max(until, e.Until)
		}
	}
	e := cache.Entry{
		Meta: cache.Meta{Status: l.response.Meta.Status, Flags: cache.Varies, ResponseTime: now}, Key: l.flight.memory.text, Until: until,
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
	return e.Head[:lengthAt(e.Head)]
}

// lengthAt is where in a stored head the line with the length begins, its last one; less than 0: the head does not end as it was written. What
// comes from Redis may be anything.
func lengthAt(head []byte) int {
	i := len(head) - len(headTail)
	if i < 0 || string(head[i:]) != headTail {
		return -1
	}
	for i > 0 && '0' <= head[i-1] && head[i-1] <= '9' {
		i--
	}
	if i -= len(lengthName); i < 0 || string(head[i:i+len(lengthName)]) != lengthName {
		return -1
	}
	return i
}

const (
	lengthName = "Content-Length: "
	headTail   = "\r\n\r\n"
)

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
