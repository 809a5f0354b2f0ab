package proxy

import (
	"testing"
	"time"
)

func TestQueueKeepsOrderAndBound(t *testing.T) {
	q := &queue{size: 3}
	var all []*waiter
	for range 3 {
		all = append(all, q.join())
	}
	if q.join() != nil {
		t.Fatal("a full queue takes another")
	}
	q.leave(all[1]) // whose client left
	if !q.isFirst(all[0]) || q.length.Load() != 2 {
		t.Error("the first has lost its place")
	}
	last := q.join()
	if last == nil {
		t.Fatal("the place that was left is not free")
	}
	q.leave(all[0])
	if !q.isFirst(all[2]) {
		t.Error("the second of those left is not first")
	}
	q.leave(all[2])
	if !q.isFirst(last) {
		t.Error("the last does not move up")
	}
	q.leave(last)
	if q.length.Load() != 0 || q.first != nil || q.last != nil {
		t.Error("the queue is not empty")
	}
}

// Who leaves the queue passes the call on that it may have got.
func TestQueueLosesNoCall(t *testing.T) {
	q := &queue{size: 2}
	a, b := q.join(), q.join()
	q.wakeFirst() // meant for a, who leaves
	q.leave(a)
	select {
	case <-b.woken:
	default:
		t.Error("the next does not know of the free place")
	}
	q.leave(b)
}

// Retry-After follows from how fast the pool gets on.
func TestRetryAfterFollowsTheDrainRate(t *testing.T) {
	q := &queue{size: 64}
	for range 39 {
		q.join()
	}
	f := func(now time.Duration, served int64, want time.Duration) {
		t.Helper()
		if got := q.retryAfter(now, served); got != want {
			t.Errorf("at %v, with %d served: %v, want %v", now, served, got, want)
		}
	}
	f(100*time.Second, 1000, time.Second)                        // nothing is known yet
	f(100*time.Second+500*time.Millisecond, 1005, 4*time.Second) // 10 a second, 40 to go
	f(102*time.Second, 1010, 8*time.Second)                      // 5 a second
	f(102*time.Second+time.Millisecond, 1010, 8*time.Second)     // still what was measured
	f(104*time.Second, 1010, time.Second)                        // nothing moved, so nothing is known
	f(106*time.Second, 1011, time.Minute)                        // at most
	f(107*time.Second, 3000, time.Second)                        // at least
}
