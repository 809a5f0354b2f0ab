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
	x.course, x.Attempts = course{}, 0 // x may have been forwarded before
	f := p.outwait(x, p.carry(x, x.nextTarget()))
	if x.taken {
		return Taken
	}
	return Outcome(f)
}

// carry makes one attempt after the other, as the law says, beginning at a target, and returns how the last one ended.
func (p *Proxy) carry(x *Exchange, at int) Fault {
	x.move(at)
	worst := NoUpstream // before: what to tell if nobody else could be asked
	for {
		f, s := p.ask(x)
		if f == NoUpstream {
			f = worst
		}
		worst = f
		switch s.action {
		case giveUp:
			return f
		case waitAsk:
			if p.pause(x, s.wait); x.Gone() {
				return ClientGone
			}
		case askNext:
			x.move(x.nextTarget())
		case askLarger:
			x.move(x.largerTarget())
		}
		if s.why != NoRetry {
			p.retry(x, s.why)
		}
	}
}

// ask makes an attempt at an upstream of the target, if one has a place for it, and returns what is to be done then.
func (p *Proxy) ask(x *Exchange) (Fault, step) {
	u, f := p.acquire(x, x.pool)
	if u == nil {
		return f, p.consult(x, nobody)
	}
	if x.Attempts++; x.Attempts == 1 {
		x.first = wire.Now() - x.QueueTime
		x.deadline = x.first + allAttempts*x.timeForHead(u)
	}
	return p.try(x, u)
}

// retry notes that the request is sent again.
func (p *Proxy) retry(x *Exchange, why Retry) {
	x.Retried = why
	if p.options.OnRetry != nil {
		p.options.OnRetry(why)
	}
}

// try makes an attempt at an upstream that has a place for it, tells of it and draws the conclusion.
func (p *Proxy) try(x *Exchange, u *Upstream) (f Fault, s step) {
	pool := x.pool
	x.attempt.begin(u, pool)
	x.Upstream, x.flow.ahead = u, false
	defer func() {
		if !x.taken {
			pool.release(x.upstream) // that of the hedge, if it was faster
		}
	}()
	if f, s = p.roundTrip(x); x.taken {
		return f, s // Receive tells
	}
	x.attempted(f)
	p.observe(x, f)
	switch owner := x.upstream.owner.Load(); {
	case f == Unavailable:
		owner.judgeHead(x.upstream, x.response.Status, x.began, wire.Now())
	case f != None && s.why != RetryReused && !x.hurried:
		owner.judge(x.upstream, f, x.response.Status, x.began)
	}
	return f, s
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

// roundTrip sends the request over one connection and passes the response on, unless the law has it sent again.
func (p *Proxy) roundTrip(x *Exchange) (Fault, step) {
	switch f := p.connect(x); f {
	case None:
	case Unreachable, TimeoutConnect, TLSFailed:
		return f, p.consult(x, unreached)
	default:
		return f, step{}
	}
	defer p.abandon(x)
	x.used = x.conn.Used()
	p.watch.Add(&x.watched, x.Client, x.conn, stayer(x.Taker))
	x.kept = x.resendable()
	f, nothing := x.send(x.message())
	x.wait.sent = x.wait.sent || f == None || !nothing
	switch {
	case x.Gone():
		return ClientGone, step{}
	case f != None && x.used && nothing:
		return f, p.consult(x, unsent)
	case f != None:
		return f, p.consult(x, x.eventOf(f))
	}
	if !x.hold.whole || len(x.hold.more) > 0 {
		p.startPump(x)
	} else if !x.kept {
		x.hold.release() // a generation may take a minute
	}
	if f = p.await(x); x.hedge != nil {
		f = p.settle(x, f)
	}
	if f != None {
		return f, p.consult(x, x.eventOf(f))
	}
	what, f := x.verdict()
	if f != None {
		return f, step{}
	}
	if what != settled {
		if s := p.consult(x, what); s.action != giveUp {
			return Unavailable, s
		}
	}
	if x.contentBy > 0 {
		if f, s := p.holdBack(x); f != None || s.action != giveUp {
			return f, s
		}
	}
	return p.relay(x), step{}
}
