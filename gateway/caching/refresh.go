package caching

import (
	"slices"

	"aigateway/gateway/proxy"
	"aigateway/gateway/wire"
)

// A refresh renews a stale response behind the request that got it: RFC 5861 §3. It reads what it fetches for nobody.
type refresh struct {
	Request
	head  wire.RequestHead
	raw   []byte // of head
	asked proxy.Request
}

func newRefresh(c *Caching) *refresh {
	y := &refresh{}
	y.caching, y.Head, y.Forward, y.reader = c, &y.head, new(proxy.Exchange), y
	return y
}

var get = []byte("GET")

// refresh begins one, unless somebody is at it. The request's bytes belong to its connection, so they are copied.
func (r *Request) refresh() {
	c := r.caching
	if c.options.Draining() {
		return
	}
	y := c.refreshes.Get().(*refresh)
	y.copy(r)
	f, leads := c.flights.Join(y.key, y.stamp, y.waiter)
	if !leads {
		f.Leave(y.waiter)
		f.Release()
		y.put()
		return
	}
	c.behind.Go(func() { y.run(f) })
}

// run fetches what was not renewed in between; else, that was for the validators.
func (y *refresh) run(f *Flight) {
	defer func() {
		p := recover()
		f.Leave(y.waiter)
		if p != nil {
			y.caching.options.OnPanic(p)
		} else {
			f.Release()
		}
		y.put()
	}()
	if y.findFresh() {
		y.share(f, asStored)
		return
	}
	y.lead(f)
}

// copy makes y a request like r, without its client.
func (y *refresh) copy(r *Request) {
	y.raw = y.head.CopyFrom(r.Head, y.raw)
	y.head.Method = get // the response to a HEAD, which may be what got the stale one, renews no body
	r.Client.Prepare(r.Forward)
	q := r.Forward.Request
	q.Head, q.TraceStates = &y.head, nil
	q.Meter = nil // it is nobody's request
	q.Target, q.RequestID, q.TraceParent = slices.Clone(q.Target), slices.Clone(q.RequestID), slices.Clone(q.TraceParent)
	q.Targets = append([]proxy.Target(nil), q.Targets...)
	q.Peer, q.ClientKey = slices.Clone(q.Peer), slices.Clone(q.ClientKey)
	y.asked = q
	r.Forward.Reset()

	y.Rule, y.Began = r.Rule, wire.Now()
	y.request.Read(y.Head, r.Origin, y.Rule.Fields)
	y.text, y.url = append(y.text[:0], r.text...), r.url
	y.names, y.listed = append(y.names[:0], r.names...), r.listed
	y.primary, y.key = r.primary, r.key
	if y.waiter == nil {
		y.waiter = NewWaiter()
	}
	y.stamp = y.caching.store.Stamp(y.primary)
}

// put readies y for another refresh.
func (y *refresh) put() {
	c := y.caching
	y.Forward.Reset()
	y.Request.Reset()
	y.reader, y.asked = y, proxy.Request{}
	c.refreshes.Put(y)
}

func (y *refresh) prepare(f *proxy.Exchange) {
	targets := append(f.Targets[:0], y.asked.Targets...) // f clears its own
	f.Request = y.asked
	f.Targets = targets
}

func (y *refresh) owns() bool       { return false }
func (y *refresh) readRecord(int64) {}

func (y *refresh) readFlight(f *Flight) {
	if y.reads {
		y.receive(y.fill.drops)
	}
	_ = f.Drain(y.waiter)
}

var _, _ reader = (*client)(nil), (*refresh)(nil)
