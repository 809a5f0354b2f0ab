package telemetry

import (
	"sync/atomic"
	"time"
)

// A ring is a bounded queue without a lock: many put in, one takes out. Who finds it full does not wait, but drops what he
// has. Each slot counts turns: it is free for position p at turn p, and filled at turn p+1 (D. Vyukov's bounded queue).
type ring[T any] struct {
	slots   []slot[T]
	wake    chan struct{}
	dropped atomic.Uint64

	// Written by every request; the padding keeps the taker's head and what is only read off their cache line.
	_      [64]byte
	tail   atomic.Uint64 // the next position to fill
	_      [64]byte
	asleep atomic.Bool // the taker is, and wants to be woken
	head   uint64      // the next position to take, the taker's own
	rested uint64      // head when the taker last rested
}

type slot[T any] struct {
	turn  atomic.Uint64
	value T
}

// newRing makes a ring of size slots, a power of two.
func newRing[T any](size int) *ring[T] {
	if size&(size-1) != 0 {
		panic("BUG: the size of a ring is no power of two")
	}
	r := &ring[T]{slots: make([]slot[T], size), wake: make(chan struct{}, 1)}
	for i := range r.slots {
		r.slots[i].turn.Store(uint64(i))
	}
	return r
}

// claim returns a slot to fill and to publish; nil, and counted, if all are taken.
func (r *ring[T]) claim() *slot[T] {
	for {
		at := r.tail.Load()
		s := &r.slots[at&uint64(len(r.slots)-1)]
		switch ahead := int64(s.turn.Load() - at); {
		case ahead == 0:
			if r.tail.CompareAndSwap(at, at+1) {
				return s
			}
		case ahead < 0:
			r.dropped.Add(1)
			return nil
		}
	}
}

// publish hands a filled slot to the taker.
func (r *ring[T]) publish(s *slot[T]) {
	s.turn.Add(1)
	if r.asleep.Load() && r.asleep.CompareAndSwap(true, false) {
		r.rouse()
	}
}

// rouse wakes the taker.
func (r *ring[T]) rouse() {
	select {
	case r.wake <- struct{}{}:
	default: // it has been told
	}
}

// take passes the value at the head to use, if there is one.
func (r *ring[T]) take(use func(*T)) bool {
	s := &r.slots[r.head&uint64(len(r.slots)-1)]
	if s.turn.Load() != r.head+1 {
		return false
	}
	use(&s.value)
	s.turn.Store(r.head + uint64(len(r.slots)))
	r.head++
	return true
}

// empty tells the taker whether there is nothing to take.
func (r *ring[T]) empty() bool {
	return r.slots[r.head&uint64(len(r.slots)-1)].turn.Load() != r.head+1
}

// rest lets values gather, so that the taker is woken a few times a second and not by every request: to wake somebody
// costs more than all the rest. When nothing came since it last rested, it waits until something does; who rouses it ends
// its rest. It returns false at once when stop is closed.
func (r *ring[T]) rest(stop <-chan struct{}, gather time.Duration) (goOn bool) {
	if r.head == r.rested {
		r.asleep.Store(true)
		// A value that came in between is there already, and who has published it may be about to wake the taker: that must not end the rest.
		if r.empty() || !r.asleep.CompareAndSwap(true, false) {
			select {
			case <-r.wake:
			case <-stop:
				return false
			}
			r.asleep.Store(false)
		}
	}
	r.rested = r.head
	timer := time.NewTimer(gather)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.wake:
		return true
	case <-stop:
		return false
	}
}
