package proxy

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"aigateway/gateway/wire"
)

// A hedge is a second attempt beside one whose upstream is slow to answer. It waits in a goroutine of its own for
// the head of its answer, and no longer: whose good head is there first wins, and the goroutine of the first attempt
// goes on with that one. What the hedge sends is borrowed from the exchange, so that goroutine waits for its end: settle.
type hedge struct {
	proxy  *Proxy
	pool   *Pool
	up     *Upstream
	x      Exchange           // the same request, with neither client nor taker
	first  *wire.UpstreamConn // of the first attempt
	won    atomic.Uint32      // undecided, and then for good byFirst or bySecond
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{} // closed when run has returned

	mu   sync.Mutex
	conn *wire.UpstreamConn // to interrupt; nil: none yet, or none any more
}

const (
	undecided uint32 = iota
	byFirst
	bySecond
)

// lateAfter is how long the pool lets an upstream think before the request goes to another one as well; 0: for ever. Such a
// request is safe (RFC 9110 §9.2.1), and has no body. A hedge is an attempt at no pool, and has none of its own.
func (x *Exchange) lateAfter() time.Duration {
	if x.at == nil || x.at.hedge == 0 || x.Head.HasBody() || x.Head.WebSocket {
		return 0
	}
	switch string(x.Head.Method) {
	case "GET", "HEAD":
		return x.at.hedge
	}
	return 0
}

// startHedge sends the request to another upstream of its pool as well, if one is well and has a place, nobody waits for
// that place, and the pool's budget allows it.
func (p *Proxy) startHedge(x *Exchange) {
	pool := x.at
	if pool.queue.length.Load() > 0 || !pool.budget.spend() {
		return
	}
	u := pool.pickWell(x)
	if u == nil {
		pool.budget.refund()
		return
	}
	h := &hedge{proxy: p, pool: pool, up: u, first: x.conn, done: make(chan struct{})}
	h.ctx, h.cancel = context.WithCancel(p.running)
	h.x = Exchange{Request: x.Request, hold: hold{whole: true}, began: wire.Now()}
	x.hedge = h
	p.retry(x, RetryHedge)
	p.watch.Replace(&x.watched, h)
	go h.run()
}

// pickWell takes a place at an upstream that is well, and neither the one that x waits for nor one it has tried.
func (p *Pool) pickWell(x *Exchange) *Upstream {
	not := append(x.tried, x.Upstream)
	for _, u := range p.Upstreams {
		if !u.Healthy() && !slices.Contains(not, u) {
			not = append(not, u)
		}
	}
	x.tried = not[:len(x.tried)] // with the room that it has got
	u, _ := p.pick(x.hashKey(p), not)
	return u
}

// run makes the attempt, and ends it unless it wins.
func (h *hedge) run() {
	defer close(h.done)
	defer h.cancel()
	defer func() {
		if r := recover(); r != nil {
			h.proxy.options.OnPanic(r)
			h.end(ClientGone) // the upstream is not to blame
		}
	}()
	f := h.attempt()
	good := f == None && !unavailable(h.x.answer.Status)
	switch {
	case good && h.won.CompareAndSwap(undecided, bySecond):
		h.first.Interrupt()
		return
	case good, f != None && h.won.Load() == byFirst:
		f = ClientGone // too late, or cut off
	}
	h.end(f)
}

// attempt sends the request and waits for the head of the answer.
func (h *hedge) attempt() Fault {
	x, u := &h.x, h.up
	if x.conn = u.idleConn(wire.Now()); x.conn == nil {
		conn, err := u.connect(h.ctx)
		if err != nil {
			return dialFault(err)
		}
		x.conn = conn
	}
	h.interruptible(x.conn)
	if x.Gone() {
		return ClientGone
	}
	x.used = x.conn.Used()
	f, _ := x.send(u)
	if f == None {
		f = h.proxy.await(x, u.timeouts.Response)
	}
	if x.Gone() {
		return ClientGone
	}
	return f
}

// interruptible says what stop interrupts.
func (h *hedge) interruptible(conn *wire.UpstreamConn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conn = conn
}

// end draws the conclusion from an attempt that did not win, and ends its connection.
func (h *hedge) end(f Fault) {
	h.interruptible(nil)
	if h.x.conn != nil {
		_ = h.x.conn.Close()
	}
	h.proxy.lose(&h.x, h.up, f)
	h.up.leave(h.pool)
	h.x.release()
}

// lose tells of an attempt with which its exchange does not go on, and draws the conclusion.
func (p *Proxy) lose(x *Exchange, u *Upstream, f Fault) {
	p.tell(x, u, f)
	if !x.outdated(f) {
		u.home.Load().judge(u, f, x.answer.Status, x.began)
	}
}

// stop ends the second attempt, as if the client had left.
func (h *hedge) stop() {
	h.x.watched.Leave()
	h.cancel()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conn != nil {
		h.conn.Interrupt()
	}
}

// Interrupt implements [wire.Interrupter]: nobody waits for either answer.
func (h *hedge) Interrupt() {
	h.first.Interrupt()
	h.stop()
}

// settle decides between x's attempt, which has ended so, and the hedge beside it, and returns how the one ended that x
// goes on with. A 502, 503 or 504 is an answer only if there is no better one.
func (p *Proxy) settle(x *Exchange, f Fault) Fault {
	h := x.hedge
	x.hedge = nil
	good := f == None && !unavailable(x.answer.Status)
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
		p.lose(x, x.Upstream, f)
		p.adopt(x, h)
		f = None
	}
	p.watch.Replace(&x.watched, x.conn)
	if x.Gone() {
		return ClientGone
	}
	return f
}

// adopt makes the hedge's attempt that of x, whose own has lost.
func (p *Proxy) adopt(x *Exchange, h *hedge) {
	y := &h.x
	_ = x.conn.Close()
	x.Upstream.leave(x.at)
	x.UpstreamTime += y.began - x.began
	x.Upstream, x.began, x.conn, x.used = h.up, y.began, y.conn, y.used
	x.answer, y.answer = y.answer, x.answer
	x.down, y.down = y.down, x.down
	x.from, x.body, x.end, x.heard, x.dirty = y.from, y.body, y.end, y.heard, y.dirty
	y.release()
}
