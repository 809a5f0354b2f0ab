package proxy

import (
	"aigateway/gateway/wire"
)

// waitFor waits in the pool's queue until an upstream takes x, its client leaves, or its time is over.
func (p *Proxy) waitFor(x *Exchange, pool *Pool) (*Upstream, Fault) {
	q := pool.queue
	w := q.join()
	if w == nil {
		q.refused.Add(1)
		x.RetryAfter = q.retryAfter(wire.Now(), pool.served())
		return nil, Busy
	}
	defer q.leave(w)
	x.Queued = true
	began := wire.Now()
	defer func() { // it is the upstreams that make it wait
		waited := wire.Now() - began
		x.UpstreamTime += waited
		x.QueueTime += waited
	}()
	p.watch.Add(&x.watched, x.Client, w, stayer(x.Taker))
	defer p.watch.Remove(&x.watched)
	w.timer.Reset(q.wait)
	for {
		if x.Gone() {
			return nil, ClientGone
		}
		if q.isFirst(w) {
			if u, f := pool.pickFor(&x.Request, x.tried); f != Busy {
				q.admitted.Add(1)
				return u, f
			}
		}
		select {
		case <-w.woken:
		case <-w.timer.C:
			q.late.Add(1)
			x.RetryAfter = q.retryAfter(wire.Now(), pool.served())
			return nil, Busy
		}
	}
}

// acquire finds the request a acquire at an upstream, if need be by waiting for it.
func (p *Proxy) acquire(x *Exchange, pool *Pool) (*Upstream, Fault) {
	u, f := (*Upstream)(nil), Busy
	if pool.queue.length.Load() == 0 { // who is in the queue goes first
		u, f = pool.pickFor(&x.Request, x.tried)
	}
	if f == Busy {
		u, f = p.waitFor(x, pool)
	}
	if f == NoUpstream {
		x.RetryAfter = pool.untilReopen(wire.Now())
	}
	return u, f
}
