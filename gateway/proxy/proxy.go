// Package proxy carries a request to a healthy upstream and its answer back, whole or as it arrives.
//
// Its door is [Proxy.Forward]. It sends nothing twice unless that is safe, ends a request whose client has
// left, and never passes a cut answer on as a whole one. It does not know routes, limits or caches: the
// caller says which pool to ask and what to send.
package proxy

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"aigateway/gateway/config"
	"aigateway/gateway/wire"
)

// Options are what New needs besides the pools.
type Options struct {
	MaxHeadBytes int       // of a response head
	OnPanic      func(any) // told of a panic in a goroutine of the proxy, which costs one request
	WatchEvery   time.Duration
	Dial         func(addr string) (net.Conn, error) // nil: by TCP
	Draining     func() bool                         // whether the gateway is on its way out; nil: never

	// OnHealth is told when an upstream turns out to be well or sick. Nil: nobody wants to know.
	OnHealth func(u *Upstream, healthy bool)

	// Observe is told of every attempt: its upstream, how it ended, the status of the answer (0: none) and how
	// long it took. Nil: nobody wants to know.
	Observe func(u *Upstream, f Fault, status int, took time.Duration)
}

// A Proxy forwards requests to its pools.
type Proxy struct {
	options Options
	watch   *wire.Watch
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
	if o.Draining == nil {
		o.Draining = func() bool { return false }
	}
	p := &Proxy{options: o, pools: make(map[string]*Pool)}
	p.running, p.end = context.WithCancel(context.Background())
	fresh, err := p.makePools(p.pools, pools)
	if err != nil {
		p.end()
		return nil, err
	}
	p.watch = wire.NewWatch(o.WatchEvery)
	p.startProbes(fresh)
	return p, nil
}

// makePool makes a pool, and the upstreams of it that are not there yet.
func (p *Proxy) makePool(c config.Pool) (pool *Pool, fresh []*Upstream, err error) {
	if len(c.Upstreams) == 0 {
		return nil, nil, fmt.Errorf("cannot use pool %q: it has no upstream", c.Name)
	}
	pool = &Pool{Name: c.Name, Explicit: c.Explicit, balance: c.Balance, made: c}
	dial := p.options.Dial
	if dial == nil {
		dial = dialTCP(p.running, c.Timeouts.Connect)
	}
	for _, u := range c.Upstreams {
		up := p.same(recipeOf(u, c))
		if up == nil {
			up = newUpstream(u, c, dial)
			up.Index = p.upstreams
			p.upstreams++
			fresh = append(fresh, up)
		}
		pool.Upstreams = append(pool.Upstreams, up)
	}
	return pool, fresh, nil
}

// startProbes begins to probe upstreams, until they are retired or the proxy is closed.
func (p *Proxy) startProbes(upstreams []*Upstream) {
	for _, u := range upstreams {
		running, end := context.WithCancel(p.running)
		u.endProbe = end
		p.probes.Add(1)
		go p.probe(u, running.Done())
	}
}

// Pool returns the pool of that name, or nil.
func (p *Proxy) Pool(name string) *Pool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pools[name]
}

// Cut ends every request under way, as if its client had left.
func (p *Proxy) Cut() { p.watch.InterruptAll() }

// Close ends probes and the watch and closes the pooled connections. No Forward may be under way.
func (p *Proxy) Close() {
	p.end() // and with it every attempt to connect
	p.probes.Wait()
	p.watch.Close()
	for _, u := range p.upstreamsNow() {
		u.close()
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
	f := x.collect()
	if f != None {
		return f
	}
	f = NoUpstream
	first, second := x.Pool, x.Fallback
	if second != nil && first.Sick() && second.Healthy() {
		first, second = second, first
	}
	for _, pool := range [...]*Pool{first, second} {
		if pool == nil {
			break
		}
		x.tried = x.tried[:0]
		for u := pool.pick(x.tried); u != nil; u = pool.pick(x.tried) {
			if f = p.try(x, u); f != Unreachable && f != TimeoutConnect && f != Busy {
				return f
			}
			x.tried = append(x.tried, u) // nobody has seen the request: another upstream may
		}
	}
	return f
}

// try sends the request to one upstream, and once more if a connection that was used before turns out to be
// broken and the request cannot have been executed, or may be again.
func (p *Proxy) try(x *Exchange, u *Upstream) Fault {
	x.Upstream = u
	u.inflight.Add(1)
	defer func() {
		if !x.Held {
			u.inflight.Add(-1)
		}
	}()
	f, again := p.timed(x, u)
	if again && !x.Retried {
		x.Retried = true
		u.close() // what broke one idle connection broke the others: the next is a new one
		f, _ = p.timed(x, u)
	}
	return f
}

// timed makes an attempt and tells of it.
func (p *Proxy) timed(x *Exchange, u *Upstream) (f Fault, again bool) {
	x.began = wire.Now()
	if f, again = p.attempt(x, u); !x.Held {
		p.observe(x, u, f)
	}
	return f, again
}

// observe tells of an attempt that has come to its end.
func (p *Proxy) observe(x *Exchange, u *Upstream, f Fault) {
	took := wire.Now() - x.began
	x.UpstreamTime += took
	if p.options.Observe != nil {
		if x.Status == 101 {
			took = x.HeadAt - x.began // how long the peers talk says nothing about the upstream
		}
		p.options.Observe(u, f, x.Status, took)
	}
}

// attempt sends the request over one connection. again tells that the connection, used before, broke under
// it before a byte of an answer, and that nothing of the request was written or it is idempotent: RFC 9110
// §9.2.2, RFC 9112 §9.3.1.
func (p *Proxy) attempt(x *Exchange, u *Upstream) (f Fault, again bool) {
	x.dirty, x.heard = false, false
	if x.conn, f = u.acquire(); f != None {
		return f, false
	}
	defer p.abandon(x, u)
	used := x.conn.Used()
	if !used && x.Taker == nil && x.Client.HungUp() {
		return ClientGone, false // while the connection was made
	}
	p.watch.Add(&x.watched, x.Client, x.conn.UpstreamConn, stayer(x.Taker))
	f, unsent := x.send(u)
	switch {
	case x.Gone():
		return ClientGone, false
	case f != None:
		return f, used && unsent
	}
	if !x.whole {
		p.startPump(x, u)
	} else if x.up != nil && !idempotent(x.Head.Method) {
		x.up.Put() // it will not be sent again; a generation may take a minute
		x.up = nil
	}
	if f = p.await(x, u); f != None {
		return f, f == BrokenAnswer && used && x.whole && !x.heard && idempotent(x.Head.Method)
	}
	return p.relay(x, u), false
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

func idempotent(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "OPTIONS", "PUT", "DELETE", "QUERY":
		return true
	}
	return false
}

// finish ends the exchange with the upstream after a whole answer: its connection goes back to the pool if
// nothing speaks against it.
func (p *Proxy) finish(x *Exchange, u *Upstream) {
	x.stopPump()
	p.watch.Remove(&x.watched)
	if x.dirty || x.answer.Close || x.Gone() {
		u.conns.close(x.conn.pooled)
	} else {
		u.conns.release(x.conn.pooled)
		if u.retired.Load() {
			u.close() // looked at after the release: a retirement before it did not see this connection
		}
	}
	x.conn = lease{}
}

// abandon closes the upstream's connection if the exchange did not finish: the upstream learns that nobody
// waits any more.
func (p *Proxy) abandon(x *Exchange, u *Upstream) {
	if x.conn.pooled == nil || x.Held {
		return
	}
	x.dirty = true
	p.finish(x, u)
}
