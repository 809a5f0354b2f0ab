package server

import (
	"bytes"
	"errors"
	"slices"
	"sync"
	"time"

	"aigateway/gateway/cache"
	"aigateway/gateway/proxy"
	"aigateway/gateway/wire"
)

// A landing is an answer on its way into the cache and to those who wait for it. It outlives the exchange that led.
type landing struct {
	g       *Gateway
	forward *proxy.Exchange // nil: an answer of the gateway's own
	flight  *cache.Flight
	taken   taken
	answer  cache.Answer
	text    []byte // of the URL's key
	primary cache.Key
	key     cache.Key
	stamp   cache.Stamp // of primary, from before the request went out
	own     cache.Stamp // of key
	keeps   bool        // the answer may be stored
}

// taken says what is done with an answer that does not go straight to the client.
type taken uint8

const (
	toStore   taken = iota // it is shared and stored
	toFreshen              // a 304: what is stored is good again
	toReplace              // it failed: what is stored stands in for it, RFC 5861 §4
	toDrop                 // nobody wants it
)

// lead fetches for all who wait in the flight. Whatever happens, the flight learns how it ended.
func (g *Gateway) lead(x *exchange, f *cache.Flight) {
	c := &x.cached
	c.flight, c.settled = f, false
	fw := x.forward
	ending := &lever{proxy: g.proxy, fetch: fw}
	defer func() {
		f.LeaveQuietly(c.seat) // or the next one waits for this one to lead again
		if !c.settled {        // a fault, or a panic on its way
			c.settled = true
			f.Fail(int(x.fault))
		}
		if fw == x.forward { // it will be used again
			ending.release()
		}
		c.flight = nil
	}()
	g.renewStamp(c)
	c.sent = time.Now().UnixMilli()
	if x.route.answer != nil {
		f.Fetching(c.stamp, nil)
		g.leadLocal(x, f)
		return
	}
	g.prepare(x)
	fw.Taker = x
	if validators := c.validators(); validators != nil || c.request.Selective() {
		if c.lines == nil {
			c.lines = make([]byte, 0, 512)
		}
		c.lines = cache.AppendLines(c.lines[:0], &x.head, validators)
		fw.Lines = c.lines
	}
	f.Fetching(c.stamp, ending.pull)
	x.fault = g.proxy.Forward(fw)
	switch {
	case fw.Held:
		g.land(x)
	case x.fault == proxy.ClientGone && x.detached():
	case x.fault != proxy.None && !c.settled && g.standIn(x):
	case !x.detached():
		g.conclude(x, x.fault)
	}
}

// A lever ends a fetch when nobody wants it any more.
type lever struct {
	mu    sync.Mutex
	proxy *proxy.Proxy
	fetch *proxy.Exchange // nil: it is over, and the exchange perhaps another one's
}

func (l *lever) pull() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fetch != nil {
		l.proxy.Cancel(l.fetch)
	}
}

func (l *lever) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fetch = nil
}

// validators is what is stored for the request if the upstream can be asked whether it still holds.
func (c *cached) validators() *cache.Meta {
	if c.stored.Status == 0 || c.stored.Flags&cache.Varies != 0 || len(c.stored.ETag) == 0 && c.stored.LastModified == 0 {
		return nil
	}
	return &c.stored.Meta
}

// ClientLeft implements [wire.Stayer]: the fetch goes on while others wait for it.
func (x *exchange) ClientLeft() (goOn bool) {
	c := &x.cached
	if c.own.Load() {
		return false
	}
	if goOn = c.flight.LeaveQuietly(c.seat); goOn {
		c.left.Store(true)
	}
	return goOn
}

// Take implements [proxy.Taker]: it decides what becomes of the answer to a fetch.
func (x *exchange) Take(h *wire.ResponseHead, length int64) bool {
	g, c := x.gateway, &x.cached
	c.response.Read(h, cache.Times{Request: c.sent, Response: time.Now().UnixMilli()})
	c.status.Status = h.Status
	l := &landing{g: g, forward: x.forward, flight: c.flight, primary: c.primary, key: c.key, stamp: c.stamp}
	switch {
	case h.Status == 304 && c.validators() != nil:
		return x.takeFreshening(l, h)
	case cache.Failure(h.Status) && x.mayStandIn():
		l.taken = toReplace
		c.landing = l
		return true
	}
	meta, why := x.route.caching.policy.Store(&c.request, &c.response)
	if why == cache.None && (length == wire.UntilClose || length > x.route.caching.policy.MaxBody) {
		why = cache.ForTooLarge // or with an end that cannot be told from a cut
	}
	if why != cache.None {
		return x.takeNot(l, h, why)
	}
	l.answer = cache.Answer{Meta: meta, Live: h.EventStream(), Length: length, Lines: c.response.AppendHead(nil, h)}
	l.keep(x)
	c.landing = l
	return true
}

// keep readies a landing for its record: the texts of its key, and of its variant.
func (l *landing) keep(x *exchange) {
	c := &x.cached
	l.keeps = true
	l.text = slices.Clone(c.urlText())
	l.answer.Meta.ETag = slices.Clone(l.answer.Meta.ETag)
	if names := cache.MergeVary(nil, c.names, c.response.AppendVary(nil)); len(names) > 0 {
		c.names = append(c.names[:0], names...)
		c.vary(&x.head)
		l.key = c.key
		l.answer.Names, l.answer.Variant = names, slices.Clone(c.variantText())
	}
	l.own = l.g.store.Stamp(l.key)
}

// takeNot lets an answer go to the client that asked, and to nobody else.
func (x *exchange) takeNot(l *landing, h *wire.ResponseHead, why cache.Reason) bool {
	g, c := x.gateway, &x.cached
	c.settled = true
	c.own.Store(true)
	c.status.Detail = why
	if cache.Failure(h.Status) {
		c.flight.Fail(int(proxy.UpstreamFailed))
	} else {
		if c.stored.Status != 0 { // another answer has taken its place: RFC 9111 §4.3.3
			g.store.Delete(c.key)
		}
		x.open()
	}
	c.flight.LeaveQuietly(c.seat)
	if x.detached() {
		l.taken = toDrop
		c.landing = l
		return true
	}
	x.forward.Fields = x.appendOutcome(x.forward.Fields)
	x.fields = x.forward.Fields
	return false
}

// open lets those who wait for an answer that is the client's own fetch for themselves. One that is its own because of
// who asked says nothing about what others get.
func (x *exchange) open() {
	c := &x.cached
	if !c.request.Authorization && !c.request.Credentials && !c.request.LastEvent {
		x.gateway.flights.Mark(c.primary, x.began)
	}
	c.flight.Open()
}

// takeFreshening updates what is stored by a 304: RFC 9111 §4.3.4.
func (x *exchange) takeFreshening(l *landing, h *wire.ResponseHead) bool {
	c := &x.cached
	l.taken = toFreshen
	c.landing = l
	if !c.response.Validates(&c.stored.Meta) || !x.gateway.store.Valid(c.stamp) {
		// About another answer, or one that was purged meanwhile: the request goes out again, without validators.
		l.taken = toDrop
		return true
	}
	status := c.stored.Status
	lines := c.response.Freshen(nil, storedLines(&c.stored), h)
	c.response.Reread(status, lines)
	meta, why := x.route.caching.policy.Store(&c.request, &c.response)
	if why != cache.None { // the 304 says that it is not to be kept: this once, and for this client, it is the answer
		meta = c.stored.Meta
		x.gateway.store.Delete(c.key)
	}
	l.answer = cache.Answer{Meta: meta, Lines: lines, Length: int64(len(c.stored.Body)), Body: slices.Clone(c.stored.Body)}
	l.keep(x)
	l.keeps = why == cache.None
	return true
}

// storedLines are the lines of a stored head without Content-Length and the empty line, which AppendEntry's caller
// puts at its end.
func storedLines(e *cache.Entry) []byte {
	return e.Head[:bytes.LastIndex(e.Head, contentLength)]
}

// hasLength tells whether a stored head ends as it was written: what comes from Redis may be anything.
func hasLength(head []byte) bool { return bytes.LastIndex(head, contentLength) >= 0 }

var contentLength = []byte("Content-Length: ")

// mayStandIn tells whether what is stored may be the answer although it is stale, because the upstream fails.
func (x *exchange) mayStandIn() bool {
	c := &x.cached
	return c.stored.Status != 0 && c.stored.Flags&cache.Varies == 0 && x.gateway.store.Valid(c.stamp) &&
		cache.MayServeOnError(&c.stored.Meta, &c.request, time.Now().UnixMilli())
}

// standIn answers with what is stored, after a fetch that failed, if that is allowed.
func (g *Gateway) standIn(x *exchange) bool {
	c := &x.cached
	if x.fault == proxy.ClientGone || !x.mayStandIn() {
		return false
	}
	c.settled = true
	c.share(c.flight, true)
	if !x.detached() {
		x.fault = proxy.None
		c.outcome = outcomeStale
		c.status.Forward, c.status.Detail = cache.ForwardedStale, cache.None
		g.serve(x, time.Now().UnixMilli())
	}
	return true
}

// land brings in the answer that was taken.
func (g *Gateway) land(x *exchange) {
	c := &x.cached
	l := c.landing
	switch l.taken {
	case toDrop:
		_ = g.proxy.Receive(x.forward, refuse)
		if c.settled {
			return
		}
		// A 304 about something else.
		c.stored = cache.Entry{}
		g.store.Delete(c.key)
		x.forward.Reset()
		g.lead(x, c.flight)
		return
	case toReplace:
		_ = g.proxy.Receive(x.forward, refuse)
		if !g.standIn(x) && !x.detached() { // its time was over in between
			x.fault = proxy.UpstreamFailed
			g.conclude(x, x.fault)
		}
		return
	case toFreshen:
		c.settled = true
		c.outcome, c.status.Stored = outcomeRevalidated, l.keeps
		_ = g.proxy.Receive(x.forward, refuse) // it has no body
		if !l.keeps {
			x.open()
			c.flight.LeaveQuietly(c.seat)
			c.flight = g.flights.Alone(c.seat)
			l.flight = c.flight
		}
		c.flight.Land(l.answer)
		l.end(l.answer.Body)
	case toStore:
		c.settled = true
		c.status.Stored = g.store.Keeps(time.Now().UnixMilli())
		if n := l.answer.Length; n > 0 {
			l.answer.Body = make([]byte, 0, n)
		}
		c.flight.Land(l.answer)
		if x.forward.Arrived() {
			l.receive()
			break
		}
		// The body has a goroutine of its own: this client's pace is not that of the others.
		x.handOver()
		g.behind.Add(1)
		go l.run()
	}
	defer c.flight.Leave(c.seat)
	switch {
	case x.detached():
		_ = c.flight.Read(c.seat)
	case c.left.Load():
		g.left(x)
	default:
		g.proxy.Watch(&c.watched, x.conn, c.seat)
		defer g.proxy.Unwatch(&c.watched)
		g.serveArriving(x, c.flight)
	}
}

var errRefused = errors.New("server: nobody wants the body")

// refuse is a sink for a body that nobody wants.
func refuse([]byte) error { return errRefused }

// handOver leaves the proxy's exchange to the landing, and takes another one.
func (x *exchange) handOver() {
	from, to := x.forward, new(proxy.Exchange)
	to.Status, to.Upstream, to.HeadAt, to.Retried, to.ClientTime = from.Status, from.Upstream, from.HeadAt, from.Retried, from.ClientTime
	to.QueueTime = from.QueueTime
	to.UpstreamTime = from.HeadAt - x.began - from.ClientTime // so far; what the gateway did before it is microseconds
	from.Client, from.Tap = nil, nil
	x.forward = to
}

// run receives the body behind the requests.
func (l *landing) run() {
	defer l.g.behind.Done()
	l.receive()
}

// receive passes the body to those who wait, and stores it if it is whole.
func (l *landing) receive() {
	defer func() {
		if r := recover(); r != nil {
			l.g.panicked(r)
			l.flight.Break()
		}
	}()
	marked := false
	sink := func(piece []byte) error {
		err := l.flight.Write(piece)
		if !marked && l.flight.TooLarge() {
			marked = true
			l.g.flights.Mark(l.primary, wire.Now()) // the next ones go alone, each at its own pace
		}
		return err
	}
	if l.g.proxy.Receive(l.forward, sink) != proxy.None {
		l.flight.Break()
		return
	}
	body, ok := l.flight.Kept()
	l.keeps = l.keeps && ok
	l.end(body)
}

// end stores the whole answer and shows it to those who wait for all of it.
func (l *landing) end(body []byte) {
	if !l.keeps {
		l.flight.End(nil)
		return
	}
	a := &l.answer
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

// appendStoredHead appends the head of a record: its lines, the length of its body and the empty line.
func appendStoredHead(dst, lines []byte, length int) []byte {
	dst = append(append(dst, lines...), contentLength...)
	return append(appendInt(dst, length), "\r\n\r\n"...)
}

// put stores the record, unless something was done to its URL since the request went out.
func (l *landing) put(record []byte, until, now int64) {
	store := l.g.store
	if len(l.answer.Names) == 0 {
		store.Put(l.stamp, record, now)
		return
	}
	lists := l.g.flights.Lists(l.primary)
	lists.Lock()
	defer lists.Unlock()
	if store.Valid(l.stamp) {
		store.Put(l.own, record, now)
		l.list(until, now)
	}
}

// list puts the answer on the list of its URL's variants.
func (l *landing) list(until, now int64) {
	var old cache.Variants
	if record, tier := l.g.store.Get(nil, l.primary, now); tier != cache.Nowhere {
		if e, ok := cache.Decode(record); ok && bytes.Equal(e.Key, l.text) && e.Flags&cache.Varies != 0 {
			old, _ = cache.ParseVariants(e.Body)
			until = max(until, e.Until)
		}
	}
	e := cache.Entry{
		Meta: cache.Meta{Status: l.answer.Meta.Status, Flags: cache.Varies, ResponseTime: now}, Key: l.text, Until: until,
		Body: cache.AppendVariants(nil, old, l.answer.Names, l.key),
	}
	l.g.store.Put(l.stamp, cache.AppendEntry(nil, &e), now)
}

// leadLocal is lead for a route that the gateway answers itself.
func (g *Gateway) leadLocal(x *exchange, f *cache.Flight) {
	c := &x.cached
	body := x.route.work(x)
	var h wire.ResponseHead
	if h.Scan(localHead) != wire.None {
		panic("BUG: the head of a local answer is malformed")
	}
	if !x.Take(&h, int64(len(body))) {
		x.extra = x.appendOutcome(x.extra)
		g.replyJSON(x, 200, body)
		return
	}
	c.settled = true
	l := c.landing
	if l.taken == toStore {
		f.Land(l.answer)
		_ = f.Write(body)
		l.end(body)
		c.status.Stored = g.store.Keeps(time.Now().UnixMilli())
		c.status.Status = 0
	}
	if !x.detached() {
		g.serveFlight(x, f)
	}
}

var localHead = []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
