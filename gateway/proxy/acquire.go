package proxy

import (
	"time"

	"aigateway/gateway/wire"
)

// findPlace finds the request a place at an upstream, if need be by waiting for it.
func (p *Proxy) findPlace(x *Exchange, pool *Pool) (*Upstream, Fault) {
	u, f := (*Upstream)(nil), Busy
	if q := pool.queue; q.length.Load() == 0 || q.stands.Load() && !x.stays(pool) { // else who is in the queue goes first
		u, f = pool.pickFor(&x.Request, x.tried)
	}
	if u != nil && u.inDoubt() {
		return p.spare(x, pool, u)
	}
	if f == Busy || f == NoUpstream && x.stays(pool) {
		u, f = p.waitFor(x, pool, f)
	}
	if f == NoUpstream {
		x.RetryAfter = max(x.RetryAfter, pool.untilReopen(wire.Now()))
	}
	return u, f
}

// waitFor waits in the pool's queue until an upstream takes x, its client leaves, or its time is over. why is what it found:
// every upstream full, or none at all.
func (p *Proxy) waitFor(x *Exchange, pool *Pool, why Fault) (*Upstream, Fault) {
	q, began := pool.queue, wire.Now()
	w := newWaiter(x, pool, began)
	w.found, w.roomed = why, why == NoUpstream
	defer w.free()
	if !q.join(w, began) {
		x.wait.inVain, x.RetryAfter = true, w.retryAfter
		return nil, w.fault
	}
	x.Queued = true
	defer func() { // it is the upstreams that make it wait
		waited := wire.Now() - began
		x.UpstreamTime += waited
		x.QueueTime += waited
	}()
	if w.roomed {
		p.wake(pool, began)
	}
	if !w.decided.Load() {
		p.watch.Add(&x.watched, x.Client, w, stayer(x.Taker))
		q.await(w)
		p.watch.Remove(&x.watched)
	}
	switch {
	case w.upstream == nil:
		x.wait.inVain, x.RetryAfter = w.fault != NoUpstream || w.stays, w.retryAfter
		return nil, w.fault
	case w.pool != pool:
		pool.takeOver(w.pool)
	}
	if x.Gone() {
		pool.giveBack(w.upstream)
		return nil, ClientGone
	}
	if p.options.OnWaited != nil {
		p.options.OnWaited(pool, Classes[w.rank], wire.Now()-began)
	}
	return w.upstream, None
}

// join lets w wait, or tells it why not.
func (q *queue) join(w *waiter, now time.Duration) bool {
	if !q.tryEnter(w, now) {
		return false
	}
	q.hand() // a place may have become free before w was seen to wait for it
	return true
}

// tryEnter lets w wait, or notes why not.
func (q *queue) tryEnter(w *waiter, now time.Duration) bool {
	q.mu.Lock()
	defer q.unlock()
	why := q.enter(w, now)
	if why != notShed {
		q.refuse(w, why, now)
	}
	return why == notShed
}

// await waits until w has been decided about, or its client has left.
func (q *queue) await(w *waiter) {
	for wait := q.look(w); wait > 0; wait = q.look(w) {
		w.timer.Reset(wait)
		select {
		case <-w.woken:
		case <-w.timer.C:
		}
	}
}

// look takes w out if its client has left or its time is over, and returns how long it goes on to wait, if it does.
func (q *queue) look(w *waiter) time.Duration {
	if w.decided.Load() {
		return 0
	}
	q.mu.Lock()
	defer q.unlock()
	now := q.clock()
	switch {
	case w.flow == nil: // decided meanwhile
		return 0
	case w.exchange.Gone():
		q.leave(w)
		w.fault = ClientGone
	case w.deadline <= now:
		q.expire(w, now)
	}
	if q.length.Load() == 0 {
		q.standNoMore(now)
	}
	if w.flow == nil {
		return 0
	}
	return max(w.deadline-now, time.Millisecond)
}
