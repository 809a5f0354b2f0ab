package wire

import (
	"sync/atomic"
	"time"
)

// A process may be stopped for a while (SIGSTOP, a debugger, a frozen container). When it goes on, the deadlines of that time
// are over, though no peer was late: what was sent meanwhile lies in the kernel, and peers that were stopped along with it have
// yet to go on. So the goroutine that finds a deadline over asks whether the process stood still, and if so, gives the time anew. Each
// [Watch] beats many times a second; the pause between two beats tells.
var heart struct {
	beating atomic.Int32 // how many beat
	last    atomic.Int64 // beat, as Now
	woke    atomic.Int64 // when the last long pause was over
}

// longPause is a pause between two beats that is no machine's being busy.
const longPause = time.Second

// beat notes that the process is running.
func beat() {
	now := int64(Now())
	if last := heart.last.Swap(now); now-last >= int64(longPause) {
		heart.woke.Store(now)
	}
}

func startBeating() {
	if heart.beating.Add(1) == 1 {
		heart.last.Store(int64(Now()))
	}
}

func endBeating() { heart.beating.Add(-1) }

// StoodStill tells whether the process has stood still since that time, as Now.
func StoodStill(since time.Duration) bool {
	if heart.beating.Load() == 0 {
		return false // unknown
	}
	return heart.woke.Load() > int64(since) || int64(Now())-heart.last.Load() >= int64(longPause)
}
