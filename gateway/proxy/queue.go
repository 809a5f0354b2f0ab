package proxy

import (
	"sync"
	"sync/atomic"
	"time"
)

// A queue holds requests for which every upstream of a pool is full, for a short time and in their order. It
// is not there to hide a pool that is too small, but to smooth the moment.
type queue struct {
	size int
	wait time.Duration

	length atomic.Int64 // of waiting, for those who hold no lock
	mu     sync.Mutex
	first  *waiter
	last   *waiter

	began  time.Duration // of the measurement of the drain rate
	served int64         // by the pool, at that time
	rate   float64       // requests a second, of the measurement before

	admitted, late, refused atomic.Int64
}

// A waiter is a request's place in a queue.
type waiter struct {
	woken      chan struct{} // a place may be free, or the client has left
	timer      *time.Timer
	next, prev *waiter
}

var waiters = sync.Pool{New: func() any {
	w := &waiter{woken: make(chan struct{}, 1), timer: time.NewTimer(time.Hour)}
	w.timer.Stop()
	return w
}}

// Interrupt wakes the waiter.
func (w *waiter) Interrupt() {
	select {
	case w.woken <- struct{}{}:
	default: // it has been told
	}
}

// join takes the last place, or returns nil if all are taken.
func (q *queue) join() *waiter {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.length.Load() >= int64(q.size) {
		return nil
	}
	w := waiters.Get().(*waiter)
	if w.prev = q.last; q.last == nil {
		q.first = w
	} else {
		q.last.next = w
	}
	q.last = w
	q.length.Add(1)
	return w
}

// leave frees the waiter's place. Who is first then may have missed a call that was meant for this one.
func (q *queue) leave(w *waiter) {
	q.mu.Lock()
	if w.prev == nil {
		q.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		q.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.next, w.prev = nil, nil
	q.length.Add(-1)
	if q.first != nil {
		q.first.Interrupt()
	}
	q.mu.Unlock()
	w.timer.Stop()
	select {
	case <-w.woken:
	default:
	}
	waiters.Put(w)
}

// wakeFirst wakes the first in the queue: a place may be free.
func (q *queue) wakeFirst() {
	if q.length.Load() == 0 {
		return
	}
	q.mu.Lock()
	if q.first != nil {
		q.first.Interrupt()
	}
	q.mu.Unlock()
}

// isFirst tells whether w is the first.
func (q *queue) isFirst(w *waiter) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.first == w
}

// drainWindow is how long the drain rate is measured for.
const drainWindow = time.Second

// retryAfter is when a request that is refused now would have found a place, by how fast the pool, which has
// served so many requests so far, is getting on.
func (q *queue) retryAfter(now time.Duration, served int64) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	took := now - q.began
	switch {
	case q.began == 0 || took > 10*drainWindow: // the last measurement is too old: this begins another
		q.began, q.served, q.rate = now, served, 0
	case took >= drainWindow:
		q.rate = float64(served-q.served) / took.Seconds()
		q.began, q.served = now, served
	case q.rate == 0 && took > 0:
		return q.drainTime(float64(served-q.served) / took.Seconds())
	}
	return q.drainTime(q.rate)
}

// drainTime is the time in which the queue is through at that rate: between a second and a minute.
func (q *queue) drainTime(rate float64) time.Duration {
	const least, most = time.Second, time.Minute
	if rate <= 0 {
		return least // nothing is known yet
	}
	wait := float64(q.length.Load()+1) / rate
	return min(most, max(least, time.Duration(wait*float64(time.Second))))
}
