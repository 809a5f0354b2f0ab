package proxy

import (
	"context"

	"aigateway/gateway/wire"
)

// forward is Forward of a request that was let in: one attempt after the other, each in these steps, and the law says what comes next.
func (p *Proxy) forward(x *Exchange) Outcome {
	defer p.leave(x)
	if !x.collected {
		if f := p.Collect(x); f != None {
			return Outcome(f)
		}
	}
	for x.setOut(); p.goOn(x); p.conclude(x) {
		if p.acquire(x) && p.connect(x) && p.send(x) && p.await(x) && p.accept(x) {
			x.fault = p.relay(x)
		}
	}
	if x.taken {
		return Taken
	}
	return Outcome(x.fault)
}

// goOn does what the law has decided, and tells whether another attempt is made.
func (p *Proxy) goOn(x *Exchange) (on bool) {
	next := x.next
	x.next = step{}
	switch next.action {
	case giveUp:
		return false
	case waitAsk:
		if p.pause(x, next.wait); x.Gone() {
			x.fault = ClientGone
			return false
		}
	case askNext:
		x.move(x.nextTarget())
	case askLarger:
		x.move(x.largerTarget())
	case outlast:
		x.outlast()
	}
	if next.why != NoRetry {
		p.retry(x, next.why)
	}
	return true
}

// retry notes that the request is sent again.
func (p *Proxy) retry(x *Exchange, why Retry) {
	x.Retried = why
	if p.options.OnRetry != nil {
		p.options.OnRetry(why)
	}
}

// acquire begins an attempt at an upstream of the target that has a place for it.
func (p *Proxy) acquire(x *Exchange) (ok bool) {
	u, f := p.findPlace(x, x.pool)
	if u == nil {
		return p.fail(x, f, nobody)
	}
	if x.Attempts++; x.Attempts == 1 {
		x.first = wire.Now() - x.QueueTime
		x.deadline = x.first + allAttempts*x.timeForHead(u)
	}
	x.attempt.begin(u, x.pool)
	x.Upstream, x.flow.ahead = u, false
	return true
}

// connect gives x a connection that is fit for a request: one that is open and silent, or a new one. The client is watched
// meanwhile.
func (p *Proxy) connect(x *Exchange) (ok bool) {
	u := x.upstream
	if x.conn = x.takeIdle(u); x.conn != nil {
		return true
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
		return p.fail(x, ClientGone, settled)
	case err != nil:
		f := dialFault(err)
		if f.unreachable() {
			return p.fail(x, f, unreached)
		}
		return p.fail(x, f, settled)
	}
	x.conn = conn
	return true
}

// interrupt is an attempt to connect, as the watch sees it.
type interrupt context.CancelFunc

// Interrupt ends the attempt.
func (i interrupt) Interrupt() { i() }

// takeIdle takes an idle connection. It does not look at one that will be looked at when the request goes out.
func (x *Exchange) takeIdle(u *Upstream) *wire.UpstreamConn {
	now := wire.Now()
	if x.inOne() {
		conn := u.conns.take(now)
		if conn == nil || conn.Looks() || !conn.Stale() {
			return conn
		}
		_ = conn.Close()
	}
	return u.takeIdle(now)
}

// inOne tells whether the request is one message, which no pump follows.
func (x *Exchange) inOne() bool { return x.hold.whole && len(x.hold.more) == 0 }

// send writes the request, or the beginning of a long one, whose rest the pump sends. If it can, it leaves that to await.
func (p *Proxy) send(x *Exchange) (ok bool) {
	x.used = x.conn.Used()
	p.watch.Add(&x.watched, x.Client, x.conn, stayer(x.Taker))
	x.kept = x.resendable()
	message := x.message()
	if x.onSent == nil {
		x.onSent = x.sentAll
	}
	if x.inOne() && x.conn.Ask(message, x.onSent) {
		x.sent = len(message)
		return true
	}
	return p.write(x, message, 0)
}

// write sends a message, of which so many bytes have gone before.
func (p *Proxy) write(x *Exchange, message []byte, before int) (ok bool) {
	f, nothing := x.write(message)
	x.sent += before
	nothing = nothing && before == 0
	x.wait.sent = x.wait.sent || f == None || !nothing
	switch {
	case x.Gone():
		return p.fail(x, ClientGone, settled)
	case f != None && x.used && nothing:
		return p.fail(x, f, unsent)
	case f != None:
		return p.fail(x, f, x.findingOf(f))
	}
	if ahead := x.sendAhead(); !x.hold.whole || ahead < x.hold.size-x.hold.short {
		p.startPump(x, ahead)
	} else {
		x.sentAll()
	}
	return true
}

// sentAll notes that the request is out.
func (x *Exchange) sentAll() {
	x.wait.sent = true
	if !x.kept {
		x.hold.release() // a generation may take a minute
	}
}

// sendRest sends what await has not: all of it, on another connection, if this one had come to its end, or what the kernel did not take
// at once.
func (p *Proxy) sendRest(x *Exchange) (ok bool) {
	x.unasked = false
	rest, stale := x.conn.Unasked()
	if !stale {
		return p.write(x, rest, x.sent-len(rest))
	}
	p.watch.Remove(&x.watched)
	_ = x.conn.Close()
	x.conn = nil
	return p.connect(x) && p.send(x)
}

// accept tells whether the response is the one for the client, as far as its head and the beginning of its body say.
func (p *Proxy) accept(x *Exchange) (ok bool) {
	what, f := x.verdict()
	switch {
	case f != None:
		return p.fail(x, f, settled)
	case what != settled && p.askedInstead(x, Unavailable, what):
		return false
	}
	return x.contentBy == 0 || p.holdBack(x)
}

// conclude ends an attempt, if there is one, tells of it and draws the conclusion.
func (p *Proxy) conclude(x *Exchange) {
	if !x.placed {
		return
	}
	if p.abandon(x); x.taken {
		return // Receive tells
	}
	f := x.fault
	x.attempted(f)
	p.observe(x, f)
	switch owner := x.upstream.owner.Load(); {
	case f == Unavailable:
		owner.judgeHead(x.upstream, x.response.Status, x.began, wire.Now())
	case f != None && x.next.why != RetryReused && !x.hurried:
		owner.judge(x.upstream, f, x.response.Status, x.began)
	}
	x.leavePlace()
}
