package caching

import (
	"sync"
	"time"

	"aigateway/gateway/cache"
	"aigateway/gateway/proxy"
	"aigateway/gateway/wire"
)

// lead fetches for all who wait in the flight. Whatever happens, the flight learns how it ended.
func (r *Request) lead(f *Flight) {
	r.flight = f
	r.renewStamp()
	began := r.Forward
	defer func() {
		f.LeaveQuietly(r.waiter) // or the next one waits for this one to lead again
		if r.phase != settled {  // a fault, or a panic on its way
			r.phase = settled
			f.Fail(r.Fault)
		}
		if r.Forward == began { // it will be used again
			f.fetch.end(began)
		}
		r.enter(notLeading)
		r.flight = nil
	}()
	first := (*Request).ask
	if r.Rule.Local != nil {
		first = (*Request).askLocal
		f.Fetching(r.stamp, nil)
	} else {
		f.fetch.begin(r.caching.proxy, began)
		f.Fetching(r.stamp, &f.fetch)
	}
	for next := step(first); next != nil; {
		next = next(r)
	}
}

// A canceller ends a fetch when nobody wants it any more.
type canceller interface{ cancel() }

// A fetch is a canceller of what the proxy does for a flight.
type fetch struct {
	mu       sync.Mutex
	proxy    *proxy.Proxy
	exchange *proxy.Exchange // nil: it is over, and the exchange perhaps another one's
}

func (c *fetch) begin(p *proxy.Proxy, x *proxy.Exchange) {
	c.mu.Lock()
	c.proxy, c.exchange = p, x
	c.mu.Unlock()
}

func (c *fetch) cancel() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.exchange != nil {
		c.proxy.Cancel(c.exchange)
	}
}

// end tells that the exchange is another one's from now on. That of another leader of the flight goes on.
func (c *fetch) end(x *proxy.Exchange) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.exchange == x {
		c.exchange = nil
	}
}

// ask has an upstream asked, with the validators of what is stored. Take has chosen the next step when there is a response.
func (r *Request) ask() step {
	r.enter(asking)
	f := r.Forward
	if !r.ready {
		r.reader.prepare(f)
	}
	r.ready = false
	f.Taker = r
	if r.posts {
		r.lines = cache.AppendPlainLines(r.lines[:0], r.Head)
		f.Lines = r.lines
	} else if validators := r.validators(); validators != nil || r.request.Selective() {
		if r.lines == nil {
			r.lines = make([]byte, 0, 512)
		}
		r.lines = cache.AppendLines(r.lines[:0], r.Head, validators)
		f.Lines = r.lines
	}
	r.sent = time.Now().UnixMilli()
	outcome := r.caching.proxy.Forward(f)
	r.Fault = outcome.Fault()
	switch {
	case outcome == proxy.Taken:
		return r.fill.next
	case r.phase == asking && r.Fault != proxy.None && r.Fault != proxy.ClientGone && r.Fault != proxy.OverBudget && r.mayServeOnError():
		return (*Request).serveOnError
	}
	r.Status = f.Status
	return nil
}

// askAgain asks without validators: the 304 was about something else, which is not known here any more.
func (r *Request) askAgain() step {
	r.refuseBody()
	r.stored = cache.Entry{}
	r.caching.store.Delete(r.key)
	r.Forward.Reset()
	r.renewStamp()
	r.flight.Restamp(r.stamp)
	return (*Request).ask
}

// discard drops a response that is for a client alone, where there is none. The flight knows it already.
func (r *Request) discard() step {
	r.refuseBody()
	return nil
}

// replace drops a failed response that what is stored may stand in for.
func (r *Request) replace() step {
	r.refuseBody()
	return (*Request).serveOnError
}

// serveOnError replies with what is stored, because the upstream has failed: RFC 5861 §4.
func (r *Request) serveOnError() step {
	if !r.mayServeOnError() { // its time was over in between
		if r.Fault == proxy.None {
			r.Fault = proxy.UpstreamFailed
		}
		return nil
	}
	r.enter(settled)
	r.share(r.flight, onError)
	r.replyOnError()
	return nil
}

// replyOnError gives the reader what is stored in place of a failure.
func (r *Request) replyOnError() {
	r.Fault = proxy.None
	r.outcome = outcomeStale
	r.status.Forward, r.status.Detail = cache.ForwardedStale, cache.None
	r.reader.readRecord(time.Now().UnixMilli())
}

// freshen shares what is stored, which a 304 has made good again. A response that says it is not to be kept is this once,
// and for this reader, the reply.
func (r *Request) freshen() step {
	l := r.fill
	r.enter(settled)
	r.outcome, r.status.Stored = outcomeRevalidated, l.keeps
	r.refuseBody() // it has none
	if !l.keeps {
		r.private()
		r.flight.LeaveQuietly(r.waiter)
		alone := r.caching.flights.Alone(r.waiter) // not released: what it shares is the other one's
		r.flight, l.flight = alone, alone
	}
	l.share()
	return r.readFill()
}

// store shares a response with all who wait, while its body comes, and stores it when it is whole.
func (r *Request) store() step {
	l := r.fill
	r.enter(settled)
	r.status.Stored = !r.posts && r.caching.store.Keeps(time.Now().UnixMilli()) // of a model's answer the end decides
	l.response.Body = l.flight.memory.begin(l.response.Length)
	if r.Forward.Arrived() {
		if !l.receiveArrived() { // what the panic has left is not used again
			r.fill = nil
			r.leaveForward()
		}
	} else {
		r.flight.Fill(l.response)
		r.reads, l.reader = true, r
		r.caching.proxy.Attach(r.Forward)
	}
	return r.readFill()
}

// readFill gives the reader what the flight has.
func (r *Request) readFill() step {
	defer r.flight.Leave(r.waiter)
	defer r.stopReading()
	r.reader.readFlight(r.flight)
	return nil
}

// stopReading leaves what the reader did not want of the body to others, if there are any.
func (r *Request) stopReading() {
	if r.reads {
		r.handOver()
	}
}

// receive receives the response for all who wait, by sink. It returns when the body has ended, or has a goroutine of its own from now on.
func (r *Request) receive(sink func([]byte) error) {
	more, ok := r.fill.receive(sink)
	switch {
	case !ok: // what the panic has left is not used again
		r.reads, r.fill = false, nil
		r.leaveForward()
	case more:
		r.fallBehind()
	default:
		r.reads = false
		if r.Forward.Gone() {
			r.waiter.Interrupt()
		}
	}
}

// handOver gives what is still to come of the body a goroutine of its own: this client's pace is not that of the others.
func (r *Request) handOver() {
	l := r.fill
	r.reads, r.fill, l.reader = false, nil, nil
	r.leaveForward()
	l.flight.Hold()
	r.caching.behind.Add(1)
	go l.start()
}

// fallBehind is handOver for a client that goes on reading at a pace of its own.
func (r *Request) fallBehind() {
	r.handOver()
	r.caching.proxy.Watch(&r.watched, r.Conn, r.waiter)
}

// leaveForward leaves the proxy's exchange to the fill, and takes another one.
func (r *Request) leaveForward() {
	from, to := r.Forward, r.caching.exchanges.Get().(*proxy.Exchange)
	r.caching.proxy.Detach(from)
	to.Result = from.Result
	to.UpstreamTime = from.HeadAt - r.Began - from.ClientTime // so far; what the gateway did before it is microseconds
	from.Client, from.Tap = nil, nil
	r.Forward = to
}

// refuseBody ends a response of which nobody wants the body.
func (r *Request) refuseBody() {
	_ = r.caching.proxy.Receive(r.Forward, func(piece []byte) error {
		if len(piece) == 0 {
			return nil
		}
		return ErrNobody
	})
}

// private lets those who wait for a response that is the client's own fetch for themselves. One that is its own because
// of who asked says nothing about what others get.
func (r *Request) private() {
	if !r.request.Authorization && !r.request.Credentials && !r.request.LastEvent {
		r.caching.flights.MarkHitForMiss(r.primary, r.Began)
	}
	r.flight.Private()
}

// askLocal is ask for a response that the gateway makes itself.
func (r *Request) askLocal() step {
	r.enter(asking)
	r.sent = time.Now().UnixMilli()
	began := wire.Now()
	body := r.Rule.Local()
	r.Waited += wire.Now() - began
	var h wire.ResponseHead
	if h.Scan(localHead) != wire.None {
		panic("BUG: the head of a local response is malformed")
	}
	if !r.Take(&h, int64(len(body))) { // it is the client's own, and the flight knows
		r.flight = r.caching.flights.Alone(r.waiter)
		r.flight.Fill(Response{Meta: cache.Meta{Status: h.Status, ResponseTime: r.sent}, Lines: r.response.AppendHead(nil, &h), Length: int64(len(body))})
		_ = r.flight.Write(body)
		r.flight.End(nil)
		return r.readFill()
	}
	if r.phase == settled { // a response of its own for nobody
		return nil
	}
	l := r.fill
	r.enter(settled)
	l.response.Body = body
	l.share()
	r.status.Stored = r.caching.store.Keeps(time.Now().UnixMilli())
	r.status.Status = 0
	return r.readFill()
}

var localHead = []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
