package proxy

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"aigateway/gateway/wire"
)

// await waits for the response's head: that of this attempt, or of the hedge beside it.
func (p *Proxy) await(x *Exchange) (ok bool) {
	f := p.readFinal(x)
	for x.unasked && !x.Gone() {
		if !p.sendRest(x) {
			return false
		}
		f = p.readFinal(x)
	}
	if x.hedge != nil {
		f = p.settle(x, f)
	}
	return f == None || p.fail(x, f, x.findingOf(f))
}

// readFinal reads the head of the final response, with whatever has come behind it, within the upstream's time for it.
func (p *Proxy) readFinal(x *Exchange) Fault {
	w := x.waitForHead(p.options.MaxHeadBytes, x.timeLeft())
	if first := x.contentTime(); first > 0 && first < w.within {
		w.content, w.first = first, x.Dialect.Streams()
		by := wire.Now() + first
		if x.elsewhere() {
			x.contentBy = by
		}
		if w.first {
			w.by, w.wait = by, first
		}
	}
	if after := x.pool.hedge; after > 0 && after < w.wait {
		w.hedges, w.wait = true, after
	}
	for {
		f, err := x.readHead(&w)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && p.waitOn(x, &w):
			continue
		case err != nil:
			return x.readFault(err, TimeoutResponse)
		case f != None, x.response.Status >= 200, x.switched():
			return f
		}
		if f = x.interim(); f != None {
			return f
		}
		x.dropHead(&w)
	}
}

// waitOn tells whether to go on waiting for a response of which nothing came in time: beside a hedge, or because the request
// itself was not out.
func (p *Proxy) waitOn(x *Exchange, w *headWait) bool {
	if w.hedges && !x.heard {
		w.hedges = false
		if w.wait = w.by - wire.Now(); w.wait > 0 && !x.Gone() {
			if p.consult(x, slow).action == askBeside {
				p.startHedge(x)
			}
			return true
		}
	}
	// The time for the response begins when the request is sent, all of it.
	if x.pump != nil && x.end == x.from {
		within := w.within
		if w.first {
			within = w.content
		}
		if w.wait = x.pump.remains(within); w.wait > 0 {
			w.by = wire.Now() + w.wait
			w.ends = w.by - within + w.within
			if x.contentBy > 0 {
				x.contentBy = w.by - within + w.content
			}
			return true
		}
	}
	if w.first && !x.heard && !x.elsewhere() { // nobody who could be asked is well: that is asked again after that time
		now := wire.Now()
		w.by = min(now+w.content, w.ends)
		x.contentBy, w.wait = 0, w.by-now
		return w.wait > 0
	}
	return false
}

// timeLeft is how long x waits for a head: the upstream's time for it, and no more than is left of all attempts, or of the client's own
// time. A first attempt that others may have something of has all of its time.
func (x *Exchange) timeLeft() time.Duration {
	within := x.timeForHead(x.upstream)
	if x.Attempts > 1 || x.Head.Timeout != nil && x.Taker == nil {
		if left := x.left(); left < within {
			x.hurried = true
			return max(left, time.Millisecond)
		}
	}
	return within
}

// readFault says why nothing more comes from the upstream; timeout names the phase.
func (x *Exchange) readFault(err error, timeout Fault) Fault {
	if x.Gone() {
		return ClientGone
	}
	if x.pump != nil {
		if f := Fault(x.pump.fault.Load()); f != None {
			return f
		}
	}
	return readFault(err, timeout)
}

// interim deals with a 1xx response, whose head is in x.response. RFC 9110 §15.2 has a proxy pass them on, but 100 to a
// client that did not ask this upstream for it, and never to one that speaks HTTP/1.0. A 101 that was not asked for would
// be a protocol that the client did not choose.
func (x *Exchange) interim() Fault {
	switch x.response.Status {
	case 101:
		return BrokenResponse
	case 100: // the gateway's own, sent when the body was first read
		return None
	}
	if x.Client == nil || x.Head.Minor == 0 || x.Gone() {
		return None
	}
	x.told = true
	x.head = appendInterimHead(x.head[:0], x)
	if x.Client.SendInterim(x.head) != nil && x.Taker == nil {
		return x.clientGone()
	}
	return None
}

// startHedge sends the request to another upstream of its pool as well, if one is still there. It is paid for.
func (p *Proxy) startHedge(x *Exchange) {
	pool := x.pool
	u := pool.pickHealthy(x)
	if u == nil {
		pool.budget.refund()
		return
	}
	x.reused, x.repeated = true, true // there is no third attempt in the pool
	h := &hedge{proxy: p, request: &x.Request, first: x.conn, done: make(chan struct{})}
	h.within = min(x.timeForHead(u), x.left())
	h.begin(u, pool)
	h.ctx, h.cancel = context.WithCancel(p.running)
	x.hedge = h
	p.retry(x, RetryHedge)
	p.watch.Replace(&x.watched, h)
	go h.run()
}

// pickHealthy takes a place at an upstream that is well, and neither the one that x waits for nor one it has tried.
func (p *Pool) pickHealthy(x *Exchange) *Upstream {
	not := append(x.tried, x.Upstream)
	for _, u := range p.Upstreams {
		if !u.Healthy() && !slices.Contains(not, u) {
			not = append(not, u)
		}
	}
	x.tried = not[:len(x.tried)] // with the room that it has got
	u, _ := p.pickFor(&x.Request, not)
	return u
}

// settle decides between x's attempt, which has ended so, and the hedge beside it, and returns how the one ended that x
// goes on with. A 502, 503 or 504 is a response only if there is no better one.
func (p *Proxy) settle(x *Exchange, f Fault) Fault {
	h := x.hedge
	x.hedge = nil
	good := f == None && !unavailable(x.response.Status)
	switch {
	case good && h.won.CompareAndSwap(undecided, byFirst), x.Gone():
		h.stop()
	case good, f != None && h.won.Load() == bySecond:
		f = ClientGone // too late, or cut off
	case f != None:
		x.dirty = true
		_ = x.conn.Close() // that upstream need not wait for the other one
	}
	<-h.done
	if h.won.Load() == bySecond {
		x.attempt, h.attempt = h.attempt, x.attempt
		x.UpstreamTime += x.began - h.began
		x.Upstream = x.upstream
		p.lose(&h.attempt, f)
		f = None
	}
	p.watch.Replace(&x.watched, x.conn)
	if x.Gone() {
		return ClientGone
	}
	return f
}
