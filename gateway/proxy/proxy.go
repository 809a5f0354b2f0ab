// Package proxy carries a request to a healthy upstream and its answer back, whole or as it arrives.
//
// Its door is [Proxy.Forward]. It sends nothing twice unless that is safe, ends a request whose client has
// left, and never passes a cut answer on as a whole one. It does not know routes, limits or caches: the
// caller says which pool to ask and what to send.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"aigateway/gateway/config"
	"aigateway/gateway/wire"
)

// Options are what New needs besides the pools.
type Options struct {
	MaxHeadBytes int       // of a response head
	OnPanic      func(any) // told of a panic in a goroutine of the proxy, which costs one request
	WatchEvery   time.Duration
	Dial         func(addr string) (net.Conn, error) // nil: by TCP, of names that are looked up again and again
	Via          string                              // what requests call the gateway in Via; "": wire.Name
	MakeRoom     func() bool                         // closes what is idle when descriptors run short, and tells whether it did; nil: nobody can
	Draining     func() bool                         // whether the gateway is on its way out; nil: never

	BodyBuffer, BodyBufferTotal int64 // what is held of one request's body before an upstream is asked, and of all together

	// OnHealth is told when an upstream turns out to be well or sick. Nil: nobody wants to know.
	OnHealth func(u *Upstream, healthy bool)

	// OnRetry is told of every request that is sent again. Nil: nobody wants to know.
	OnRetry func(Retry)

	// Observe is told of every attempt: its upstream, how it ended, the status of the answer (0: none) and how
	// long it took. Nil: nobody wants to know.
	Observe func(u *Upstream, f Fault, status int, took time.Duration)
}

// A Proxy forwards requests to its pools.
type Proxy struct {
	options Options
	watch   *wire.Watch
	holds   Holds
	running context.Context // until end
	end     context.CancelFunc
	probes  sync.WaitGroup

	reloading sync.Mutex // one at a time
	upstreams int        // how many there have been

	mu    sync.Mutex
	pools map[string]*Pool

	tunnels, tunnelsEver atomic.Int64
}

// New makes a proxy and starts to probe the upstreams of its pools. Close ends it.
func New(pools []config.Pool, o Options) (*Proxy, error) {
	if o.WatchEvery <= 0 {
		o.WatchEvery = 100 * time.Millisecond
	}
	if o.Via == "" {
		o.Via = wire.Name
	}
	if o.Draining == nil {
		o.Draining = func() bool { return false }
	}
	p := &Proxy{options: o, pools: make(map[string]*Pool)}
	p.holds.Set(o.BodyBuffer, o.BodyBufferTotal)
	p.running, p.end = context.WithCancel(context.Background())
	fresh, err := p.makePools(p.pools, pools)
	if err != nil {
		p.end()
		return nil, err
	}
	p.watch = wire.NewWatch(o.WatchEvery)
	p.open(p.pools, fresh)
	return p, nil
}

// makePool makes a pool, and the upstreams of it that are not there yet.
func (p *Proxy) makePool(c config.Pool) (pool *Pool, fresh []*Upstream, err error) {
	if len(c.Upstreams) == 0 {
		return nil, nil, fmt.Errorf("cannot use pool %q: it has no upstream", c.Name)
	}
	pool = newPool(c)
	pool.onHealth = p.options.OnHealth
	if old := p.Pool(c.Name); old != nil && old.made.Queue == c.Queue {
		pool.queue = old.queue // those who wait in it wait for the same upstreams
	}
	for _, up := range c.Upstreams {
		u := p.same(recipeOf(up, c))
		if u == nil {
			u = p.newUpstream(up, pool, c)
			fresh = append(fresh, u)
		}
		pool.Upstreams = append(pool.Upstreams, u)
	}
	return pool, fresh, nil
}

func (p *Proxy) newUpstream(up config.Upstream, pool *Pool, c config.Pool) *Upstream {
	u := newUpstream(up, pool, c)
	u.via = [2]string{"Via: 1.0 " + p.options.Via + "\r\n", "Via: 1.1 " + p.options.Via + "\r\n"}
	u.dial, u.names.lookup = p.dialTCP, lookup
	if dial := p.options.Dial; dial != nil {
		u.dial = func(_ context.Context, addr string) (net.Conn, error) { return dial(addr) }
		u.names.lookup = nil
	}
	u.Index = p.upstreams
	p.upstreams++
	return u
}

// open makes the pools the homes of their upstreams, and begins to watch over those that are fresh.
func (p *Proxy) open(pools map[string]*Pool, fresh []*Upstream) {
	for _, pool := range pools {
		for _, u := range pool.Upstreams {
			if u.home.Store(pool); pool.Explicit && !u.Probed() {
				u.suspect() // it may be named only now
			}
		}
		pool.refresh(wire.Now())
	}
	for _, u := range fresh {
		running, end := context.WithCancel(p.running)
		u.end = end
		p.probes.Add(1)
		go p.watchOver(running, u)
	}
}

var dialer = net.Dialer{KeepAlive: 30 * time.Second}

// dialTCP connects by TCP. For want of descriptors, idle connections of clients and then of upstreams make room.
func (p *Proxy) dialTCP(ctx context.Context, addr string) (net.Conn, error) {
	for tries := 3; ; tries-- {
		conn, err := dialer.DialContext(ctx, "tcp", addr)
		if err == nil || tries == 0 || !errors.Is(err, syscall.EMFILE) && !errors.Is(err, syscall.ENFILE) {
			return conn, err
		}
		if (p.options.MakeRoom == nil || !p.options.MakeRoom()) && !p.dropIdle() {
			return nil, err
		}
	}
}

// dropIdle closes the idle connections to all upstreams, and tells whether there were any.
func (p *Proxy) dropIdle() (found bool) {
	for _, u := range p.upstreamsNow() {
		u.conns.drop(func(idleConn) bool { found = true; return true })
	}
	return found
}

// Pool returns the pool of that name, or nil.
func (p *Proxy) Pool(name string) *Pool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pools[name]
}

// Holds is the memory in which requests' bodies wait.
func (p *Proxy) Holds() *Holds { return &p.holds }

// Cut ends every request under way, as if its client had left.
func (p *Proxy) Cut() { p.watch.InterruptAll() }

// Close ends probes and the watch and closes the pooled connections. No Forward may be under way.
func (p *Proxy) Close() {
	p.end() // and with it every attempt to connect
	p.probes.Wait()
	p.watch.Close()
	for _, u := range p.upstreamsNow() {
		u.conns.close()
	}
}

// Forward sends x's request to an upstream and passes its answer to x.Client. None means that the client has
// a whole answer. Any other fault means that it has none yet, so that the caller answers, unless
// x.Client.Answered(): then the connection is at its end.
func (p *Proxy) Forward(x *Exchange) Fault {
	defer func() {
		if !x.Held {
			x.release()
		}
	}()
	f := p.collect(x)
	if f != None {
		return f
	}
	first, second := x.Pool, x.Fallback
	if second != nil && first.Sick() && second.Healthy() {
		first, second = second, first
	}
	x.failing = second != nil && second.Healthy()
	if f = p.offer(x, first); second == nil || !f.elsewhere() || x.Gone() {
		return f
	}
	if f == Unavailable {
		p.retry(x, RetryUnavailable)
	}
	x.failing = false
	if g := p.offer(x, second); g != NoUpstream || f == Unavailable {
		return g
	}
	return f
}

// offer sends the request to an upstream of the pool, and to others as long as that is safe and the pool's
// budget allows it.
func (p *Proxy) offer(x *Exchange, pool *Pool) Fault {
	pool.budget.earn()
	x.tried = x.tried[:0]
	for fault := NoUpstream; ; {
		u, f := p.place(x, pool)
		switch {
		case u != nil:
		case f != NoUpstream || len(x.tried) == 0:
			return f
		case x.Retried == RetryReused && fault == BrokenAnswer && x.Upstream.take(pool):
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

// place finds the request a place at an upstream, if need be by waiting for it.
func (p *Proxy) place(x *Exchange, pool *Pool) (*Upstream, Fault) {
	u, f := (*Upstream)(nil), Busy
	if pool.queue.length.Load() == 0 { // who is in the queue goes first
		u, f = pool.pick(x.hashKey(pool), x.tried)
	}
	if f == Busy {
		u, f = p.waitFor(x, pool)
	}
	if f == NoUpstream {
		x.RetryAfter = pool.untilProbe(wire.Now())
	}
	return u, f
}

// try makes an attempt at an upstream that has a place for it, tells of it and draws the conclusion.
func (p *Proxy) try(x *Exchange, pool *Pool, u *Upstream) (f Fault, again Retry) {
	x.Upstream, x.at = u, pool
	defer func() {
		if !x.Held {
			x.Upstream.leave(pool)
		}
	}()
	x.began = wire.Now()
	if f, again = p.attempt(x, u); x.Held {
		return f, again // Receive tells
	}
	u = x.Upstream // that of the hedge, if it was faster
	x.attempted(u, f)
	p.observe(x, u, f)
	if f != None && again != RetryReused {
		u.home.Load().judge(u, f, x.answer.Status, x.began)
	}
	return f, again
}

// observe tells of an attempt that has come to its end.
func (p *Proxy) observe(x *Exchange, u *Upstream, f Fault) {
	x.UpstreamTime += p.tell(x, u, f)
}

// tell tells of an attempt, and returns how long it took.
func (p *Proxy) tell(x *Exchange, u *Upstream, f Fault) (all time.Duration) {
	took := wire.Now() - x.began
	all = took
	if p.options.Observe != nil {
		if x.Status == 101 {
			took = x.HeadAt - x.began // how long the peers talk says nothing about the upstream
		}
		p.options.Observe(u, f, x.answer.Status, took)
	}
	return all
}

// connect gives x a connection to u that is fit for a request: one that is open and silent, or a new one. The
// client is watched meanwhile.
func (p *Proxy) connect(x *Exchange, u *Upstream) Fault {
	if x.conn = u.idleConn(wire.Now()); x.conn != nil {
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

// attempt sends the request over one connection. again tells that nobody has seen it, or that the connection,
// used before, broke under it before a byte of an answer, and that nothing of the request was written or it is
// idempotent.
func (p *Proxy) attempt(x *Exchange, u *Upstream) (f Fault, again Retry) {
	x.dirty, x.heard, x.answer.Status = false, false, 0
	switch f = p.connect(x, u); f {
	case None:
	case Unreachable, TimeoutConnect, TLSFailed:
		return f, RetryConnect
	default:
		return f, NoRetry
	}
	defer p.abandon(x, u)
	x.used = x.conn.Used()
	p.watch.Add(&x.watched, x.Client, x.conn, stayer(x.Taker))
	f, unsent := x.send(u)
	switch {
	case x.Gone():
		return ClientGone, NoRetry
	case f != None && x.used && unsent:
		return f, RetryReused
	case f != None:
		return f, NoRetry
	}
	if !x.hold.whole || len(x.hold.more) > 0 {
		p.startPump(x, u)
	} else if !x.repeatable() {
		x.hold.release() // a generation may take a minute
	}
	if f = p.await(x, u.timeouts.Response); x.hedge != nil {
		f = p.settle(x, f)
		u = x.Upstream
	}
	switch {
	case f != None:
		if x.outdated(f) && x.repeatable() {
			return f, RetryReused
		}
		return f, NoRetry
	case x.declined():
		return Unavailable, NoRetry
	}
	return p.relay(x, u), NoRetry
}

// outdated tells whether an attempt that ended so only found that its connection, used before, had come to its end.
func (x *Exchange) outdated(f Fault) bool { return f == BrokenAnswer && x.used && !x.heard }

// hungUp tells whether the client has left and nobody else wants the answer.
func (x *Exchange) hungUp() bool {
	return x.Client != nil && x.Client.HungUp() && (x.Taker == nil || !x.Taker.ClientLeft())
}

// stayer is what a taker is for the watch; no taker is none.
func stayer(t Taker) wire.Stayer {
	if t == nil {
		return nil
	}
	return t
}

// Cancel ends the exchange's request to its upstream, as if its client had left. It may be called from any
// goroutine as long as the exchange is not reused.
func (p *Proxy) Cancel(x *Exchange) { p.watch.Interrupt(&x.watched) }

// Watch calls work.Interrupt when the client leaves, until Unwatch: for a client that waits for an exchange that is
// not its own.
func (p *Proxy) Watch(e *wire.Watched, client *wire.ClientConn, work wire.Interrupter) {
	p.watch.Add(e, client, work, nil)
}

// Unwatch ends what Watch began.
func (p *Proxy) Unwatch(e *wire.Watched) { p.watch.Remove(e) }

// declined tells whether the answer is one that the fallback may better, of which the client has seen nothing: a
// 502, 503 or 504 to a request that may be repeated.
func (x *Exchange) declined() bool {
	return x.failing && unavailable(x.answer.Status) && x.repeatable() && x.at.budget.spend()
}

// finish ends the exchange with the upstream after a whole answer: its connection goes back to the pool if
// nothing speaks against it.
func (p *Proxy) finish(x *Exchange, u *Upstream) {
	x.stopPump()
	p.watch.Remove(&x.watched)
	if x.dirty || x.answer.Close || x.Gone() {
		_ = x.conn.Close()
	} else {
		u.release(x.conn)
	}
	x.conn = nil
}

// abandon closes the upstream's connection if the exchange did not finish: the upstream learns that nobody
// waits any more.
func (p *Proxy) abandon(x *Exchange, u *Upstream) {
	if x.hedge != nil { // a panic is on its way
		x.hedge.stop()
		_ = p.settle(x, ClientGone)
	}
	if x.conn == nil || x.Held {
		return
	}
	x.dirty = true
	p.finish(x, u)
}
