package proxy

import (
	"aigateway/gateway/config"
	"aigateway/gateway/wire"
)

// A Balancer chooses among the upstreams of a pool as requests do, but connects to none of them: simulations of schedules see what
// the code does, not what a copy of it would. It is not safe for use by several at once.
type Balancer struct {
	pool    *Pool
	readers []engineReader
}

// NewBalancer makes a balancer of a pool whose upstreams are all well.
func NewBalancer(c config.Pool) *Balancer {
	b := &Balancer{pool: newPool(c)}
	for i, up := range c.Upstreams {
		u := newUpstream(up, b.pool, c)
		u.Index = i
		u.healthy.Store(true)
		u.probed.Store(true)
		b.pool.Upstreams = append(b.pool.Upstreams, u)
		b.readers = append(b.readers, engineReader{upstream: u})
	}
	b.pool.number(b.pool.Upstreams)
	b.pool.refresh(wire.Now())
	return b
}

// Acquire takes a place at an upstream and returns its number; -1 if all are full. Of r, Prefix counts, and what the pool hashes by.
func (b *Balancer) Acquire(r *Request) int {
	r.Targets = append(r.Targets[:0], Target{Pool: b.pool})
	u, f := b.pool.pickFor(r, nil)
	if f != None {
		return -1
	}
	return u.Index
}

// Answered notes that the upstream has answered a prompt which begins so with 200.
func (b *Balancer) Answered(upstream int, prefix []uint64) {
	if t := b.pool.load.prefixes; t != nil {
		t.note(prefix, b.pool.Upstreams[upstream].place)
	}
}

// Release gives the place back.
func (b *Balancer) Release(upstream int) { b.pool.release(b.pool.Upstreams[upstream]) }

// Tell makes what the upstream's engine says count, as after a reading; nil is a reading that failed.
func (b *Balancer) Tell(upstream int, l *Load) {
	r := &b.readers[upstream]
	if l == nil {
		r.fade()
		return
	}
	r.tell(*l, r.upstream.inflight.Load())
}

// Choices is how requests with a prompt have come to their upstreams.
func (b *Balancer) Choices() Choices { return b.pool.Choices() }
