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
	attempt
	proxy   *Proxy
	request *Request
	first   *wire.UpstreamConn // of the first attempt
	won     atomic.Uint32      // undecided, and then for good byFirst or bySecond
	stopped atomic.Bool        // nobody waits for it any more
	ctx     context.Context
	cancel  context.CancelFunc
	done    chan struct{} // closed when run has returned

	mu   sync.Mutex
	open *wire.UpstreamConn // conn, as long as stop may interrupt it; nil: not yet, or not any more
}

const (
	undecided uint32 = iota
	byFirst
	bySecond
)

// hedgeAfter is how long the pool lets an upstream think before the request goes to another one as well; 0: for ever. Such a
// request is safe (RFC 9110 §9.2.1), and has no body.
func (x *Exchange) hedgeAfter() time.Duration {
	if x.pool.hedge == 0 || x.Head.HasBody() || x.Head.WebSocket {
		return 0
	}
	switch string(x.Head.Method) {
	case "GET", "HEAD":
		return x.pool.hedge
	}
	return 0
}

// startHedge sends the request to another upstream of its pool as well, if one is well and has a place, nobody waits for
// that place, and the pool's budget allows it.
func (p *Proxy) startHedge(x *Exchange) {
	pool := x.pool
	if pool.queue.length.Load() > 0 || !pool.budget.spend() {
		return
	}
	u := pool.pickHealthy(x)
	if u == nil {
		pool.budget.refund()
		return
	}
	h := &hedge{proxy: p, request: &x.Request, first: x.conn, done: make(chan struct{})}
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
	f := h.try()
	good := f == None && !unavailable(h.response.Status)
	switch {
	case good && h.won.CompareAndSwap(undecided, bySecond):
		h.first.Interrupt()
		return
	case good, f != None && h.won.Load() == byFirst:
		f = ClientGone // too late, or cut off
	}
	h.end(f)
}

// try sends the request and waits for the head of the response.
func (h *hedge) try() Fault {
	if h.conn = h.upstream.takeIdle(wire.Now()); h.conn == nil {
		conn, err := h.upstream.connect(h.ctx)
		if err != nil {
			return dialFault(err)
		}
		h.conn = conn
	}
	h.interruptible(h.conn)
	if h.stopped.Load() {
		return ClientGone
	}
	h.used = h.conn.Used()
	f, _ := h.send(append(appendRequestHead(nil, h.request, h.upstream), "\r\n"...))
	if f == None {
		f = h.awaitFinal(h.proxy.options.MaxHeadBytes, h.upstream.timeouts.Response)
	}
	if h.stopped.Load() {
		return ClientGone
	}
	return f
}

// interruptible says what stop interrupts.
func (h *hedge) interruptible(conn *wire.UpstreamConn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open = conn
}

// end draws the conclusion from an attempt that did not win, and ends it.
func (h *hedge) end(f Fault) {
	h.interruptible(nil)
	h.proxy.lose(&h.attempt, f)
}

// lose draws the conclusion from an attempt with which its exchange does not go on, and ends it.
func (p *Proxy) lose(a *attempt, f Fault) {
	if a.conn != nil {
		_ = a.conn.Close()
	}
	p.report(a, f)
	if !a.outdated(f) {
		a.upstream.owner.Load().judge(a.upstream, f, a.response.Status, a.began)
	}
	a.upstream.release(a.pool)
	a.free()
}

// stop ends the second attempt, as if the client had left.
func (h *hedge) stop() {
	h.stopped.Store(true)
	h.cancel()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open != nil {
		h.open.Interrupt()
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
