// Package proxy carries a request to a healthy upstream and its answer back, whole or as it arrives.
//
// Its door is [Proxy.Forward]. It sends nothing twice unless that is safe, ends a request whose client has
// left, and never passes a cut answer on as a whole one. It does not know routes, limits or caches: the
// caller says which pool to ask and what to send.
package proxy

import (
	"fmt"
	"net"
	"sync"
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
}

// A Proxy forwards requests to its pools.
type Proxy struct {
	options Options
	pools   map[string]*Pool
	watch   *wire.Watch
	stop    chan struct{}
	probes  sync.WaitGroup
}

// New makes a proxy and starts to probe the upstreams of its pools. Close ends it.
func New(pools []config.Pool, o Options) (*Proxy, error) {
	if o.WatchEvery <= 0 {
		o.WatchEvery = 100 * time.Millisecond
	}
	p := &Proxy{options: o, pools: make(map[string]*Pool), stop: make(chan struct{})}
	for _, c := range pools {
		pool := &Pool{Name: c.Name, Explicit: c.Explicit, balance: c.Balance}
		for _, u := range c.Upstreams {
			pool.Upstreams = append(pool.Upstreams, newUpstream(u, c, o.Dial))
		}
		if len(pool.Upstreams) == 0 {
			return nil, fmt.Errorf("cannot use pool %q: it has no upstream", c.Name)
		}
		p.pools[c.Name] = pool
	}
	p.watch = wire.NewWatch(o.WatchEvery)
	for _, pool := range p.pools {
		for _, u := range pool.Upstreams {
			p.probes.Add(1)
			go p.probe(u)
		}
	}
	return p, nil
}

// Pool returns the pool of that name, or nil.
func (p *Proxy) Pool(name string) *Pool { return p.pools[name] }

// Close ends probes and the watch and closes the pooled connections. No Forward may be under way.
func (p *Proxy) Close() {
	close(p.stop)
	p.probes.Wait()
	p.watch.Close()
	for _, pool := range p.pools {
		for _, u := range pool.Upstreams {
			u.close()
		}
	}
}

// Forward sends x's request to an upstream and passes its answer to x.Client. None means that the client has
// a whole answer. Any other fault means that it has none yet, so that the caller answers, unless
// x.Client.Answered(): then the connection is at its end.
func (p *Proxy) Forward(x *Exchange) Fault {
	defer x.release()
	if f := x.collect(); f != None {
		return f
	}
	pool := x.Pool
	var avoid *Upstream
	for {
		u := pool.pick(avoid)
		if u == nil {
			return NoUpstream
		}
		f, again := p.try(x, u)
		switch again {
		case never:
			return f
		case same:
			continue
		}
		// Nobody has seen the request: another upstream may, then another pool.
		avoid = u
		if len(pool.Upstreams) > 1 && x.Attempts < maxAttempts {
			continue
		}
		if x.Fallback == nil || x.Fallback == pool {
			return f
		}
		pool, avoid = x.Fallback, nil
		x.Fallback = nil
		x.Attempts = 0
	}
}

// maxAttempts bounds how many upstreams of one pool a request meets.
const maxAttempts = 3

// again says whether a failed attempt may be followed by another.
type again uint8

const (
	never again = iota
	same        // on the same upstream: a pooled connection had broken
	other       // nothing was sent
)

// try sends the request to one upstream. RFC 9110 §9.2.2: what may have been executed is not sent again,
// unless it is idempotent and the connection, used before, broke without a byte of an answer.
func (p *Proxy) try(x *Exchange, u *Upstream) (Fault, again) {
	x.Upstream = u
	x.Attempts++
	x.dirty = false
	var f Fault
	if x.conn, f = u.acquire(); f != None {
		return f, other
	}
	u.inflight.Add(1)
	defer u.inflight.Add(-1)
	defer p.abandon(x, u)
	used := x.conn.Used()

	f, clean := x.send(u)
	if f != None {
		if clean && used && x.Attempts < maxAttempts {
			return f, same
		}
		return f, never
	}
	if !x.whole {
		p.startPump(x, u)
	} else if x.up != nil && !idempotent(x.Head.Method) {
		x.up.Put() // it will not be sent again; a generation may take a minute
		x.up = nil
	}
	p.watch.Add(&x.watched, x.Client, x.conn.UpstreamConn)
	if f = p.await(x, u); f != None {
		broke := f == BrokenAnswer && x.end == x.from
		if broke && used && x.whole && idempotent(x.Head.Method) && x.Attempts < maxAttempts {
			return f, same
		}
		return f, never
	}
	return p.relay(x, u), never
}

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
	}
	x.conn = lease{}
}

// abandon closes the upstream's connection if the exchange did not finish: the upstream learns that nobody
// waits any more.
func (p *Proxy) abandon(x *Exchange, u *Upstream) {
	if x.conn.pooled == nil {
		return
	}
	x.dirty = true
	p.finish(x, u)
}
