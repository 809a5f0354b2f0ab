package server

import (
	"sync/atomic"
	"time"

	"aigateway/gateway/wire"
)

// A throttledWarning is a warning that is worth a line now and then, with how often it was due.
type throttledWarning struct {
	n    atomic.Int64
	last atomic.Int64 // as wire.Now; 0: never
}

// outcryEvery is how often a throttledWarning has a line.
const outcryEvery = 10 * time.Second

// due counts n more, and tells how many there are to be told of; 0: not now.
func (o *throttledWarning) due(n int) int64 {
	o.n.Add(int64(n))
	last, now := o.last.Load(), int64(wire.Now())
	if last != 0 && now-last < int64(outcryEvery) || !o.last.CompareAndSwap(last, now) {
		return 0
	}
	return o.n.Swap(0)
}
