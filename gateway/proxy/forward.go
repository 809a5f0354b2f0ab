package proxy

import (
	"context"

	"aigateway/gateway/wire"
)

// forward is Forward of a request that was let in.
func (p *Proxy) forward(x *Exchange) Outcome {
	defer func() {
		if !x.taken {
			x.free()
		}
	}()
	if !x.collected {
		if f := p.Collect(x); f != None {
			return Outcome(f)
		}
	}
	f := p.outwait(x, p.offerAll(x))
	if x.taken {
		return Taken
	}
	return Outcome(f)
}

// offerAll offers the request to one target after the other, as long as that is allowed.
func (p *Proxy) offerAll(x *Exchange) Fault {
	first := x.start()
	x.at, x.failing = first, x.others(first)
	f := p.offer(x, x.target().Pool)
	for i := 0; i < len(x.Targets) && f.allowsFallback() && !x.Gone(); i++ {
		if i == first {
			continue
		}
		if f == Unavailable {
			p.retry(x, RetryUnavailable)
		}
		x.at, x.failing = i, x.well(i) > 0
		if g := p.offer(x, x.target().Pool); g != NoUpstream || f == Unavailable {
			f = g
		}
	}
	return f
}

// others tells whether an upstream of a target but that one is well.
func (x *Exchange) others(first int) bool {
	for i := range x.Targets {
		if i != first && x.Targets[i].Pool.Healthy() {
			return true
		}
	}
	return false
}

// offer sends the request to an upstream of the pool, and to others as long as that is safe and the pool's
// budget allows it.
func (p *Proxy) offer(x *Exchange, pool *Pool) Fault {
	pool.budget.earn()
	x.tried = x.tried[:0]
	for fault := NoUpstream; ; {
		u, f := p.acquire(x, pool)
		switch {
		case u != nil:
		case f != NoUpstream || len(x.tried) == 0:
			return f
		case x.Retried == RetryReused && fault == BrokenResponse && pool.acquire(x.Upstream):
			u = x.Upstream // there is no other; what broke one idle connection broke the rest
			u.conns.dropAll()
		default:
			return fault
		}
		again := NoRetry
		if fault, again = p.try(x, pool, u); again == NoRetry || x.Gone() {
			return fault
		}
		if again == RetryReused && (x.Retried == RetryReused || x.Retried == RetryHedge) || !pool.budget.spend() {
			return fault
		}
		x.tried = append(x.tried, u)
		p.retry(x, again)
	}
}

// retry notes that the request is sent again.
func (p *Proxy) retry(x *Exchange, why Retry) {
	x.Retried = why
	if p.options.OnRetry != nil {
		p.options.OnRetry(why)
	}
}

// try makes an attempt at an upstream that has a place for it, tells of it and draws the conclusion.
func (p *Proxy) try(x *Exchange, pool *Pool, u *Upstream) (f Fault, again Retry) {
	x.begin(u, pool)
	x.Upstream = u
	defer func() {
		if !x.taken {
			pool.release(x.upstream) // that of the hedge, if it was faster
		}
	}()
	if f, again = p.roundTrip(x); x.taken {
		return f, again // Receive tells
	}
	x.attempted(f)
	p.observe(x, f)
	if f != None && again != RetryReused {
		x.upstream.owner.Load().judge(x.upstream, f, x.response.Status, x.began)
	}
	return f, again
}

// connect gives x a connection that is fit for a request: one that is open and silent, or a new one. The client is watched
// meanwhile.
func (p *Proxy) connect(x *Exchange) Fault {
	u := x.upstream
	if x.conn = u.takeIdle(wire.Now()); x.conn != nil {
		return None
	}
	ctx, cancel := context.WithCancel(p.running)
	defer cancel()
	p.watch.Add(&x.watched, x.Client, interrupt(cancel), stayer(x.Taker))
	conn, err := u.connect(ctx)
	p.watch.Remove(&x.watched)
	switch {
	case x.Gone() || err == nil && x.hungUp():
		if err == nil {
			_ = conn.Close()
		}
		return ClientGone
	case err != nil:
		return dialFault(err)
	}
	x.conn = conn
	return None
}

// interrupt is an attempt to connect, as the watch sees it.
type interrupt context.CancelFunc

// Interrupt ends the attempt.
func (i interrupt) Interrupt() { i() }

// roundTrip sends the request over one connection and passes the response on. again tells that no upstream has seen the request, or
// that the connection, used before, broke under it before a byte of a response, and that nothing of the request was written
// or it is idempotent.
func (p *Proxy) roundTrip(x *Exchange) (f Fault, again Retry) {
	switch f = p.connect(x); f {
	case None:
	case Unreachable, TimeoutConnect, TLSFailed:
		return f, RetryConnect
	default:
		return f, NoRetry
	}
	defer p.abandon(x)
	x.used = x.conn.Used()
	p.watch.Add(&x.watched, x.Client, x.conn, stayer(x.Taker))
	f, unsent := x.send(x.message())
	switch {
	case x.Gone():
		return ClientGone, NoRetry
	case f != None && x.used && unsent:
		return f, RetryReused
	case f != None:
		return f, NoRetry
	}
	if !x.hold.whole || len(x.hold.more) > 0 {
		p.startPump(x)
	} else if !x.repeatable() {
		x.hold.release() // a generation may take a minute
	}
	if f = p.await(x); x.hedge != nil {
		f = p.settle(x, f)
	}
	switch {
	case f != None && x.outdated(f) && x.repeatable():
		return f, RetryReused
	case f != None:
		return f, NoRetry
	case x.declined():
		return Unavailable, NoRetry
	}
	return p.relay(x), NoRetry
}

// declined tells whether the response is one that the fallback may better, of which the client has seen nothing: a
// 502, 503 or 504 to a request that may be repeated.
func (x *Exchange) declined() bool {
	return x.failing && unavailable(x.response.Status) && x.repeatable() && x.pool.budget.spend()
}
