package proxy

import (
	"sync/atomic"
	"time"
)

// Verdicts are drawn from the attempts of the last windowTime, counted by the second.
const (
	windowTime  = 10 * time.Second
	windowSlots = 16 // a power of two above the seconds of windowTime
)

// A window counts what happened lately. Each slot is a second in the upper half of the word and the count of it in the
// lower, so that counting is one atomic addition. Times are as wire.Now.
type window struct {
	slots [windowSlots]atomic.Uint64
}

// add counts one.
func (w *window) add(now time.Duration) {
	second := uint64(now / time.Second)
	slot := &w.slots[second%windowSlots]
	for {
		was := slot.Load()
		if was>>32 == second {
			slot.Add(1)
			return
		}
		if slot.CompareAndSwap(was, second<<32|1) {
			return
		}
	}
}

// sum is the count of the window that ends now.
func (w *window) sum(now time.Duration) (n int64) {
	last := int64(now / time.Second)
	first := last - int64(windowTime/time.Second) + 1
	for i := range w.slots {
		v := w.slots[i].Load()
		if second := int64(v >> 32); second >= first && second <= last {
			n += int64(uint32(v))
		}
	}
	return n
}

// clear forgets everything.
func (w *window) clear() {
	for i := range w.slots {
		w.slots[i].Store(0)
	}
}
