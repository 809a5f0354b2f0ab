package proxy

import (
	"bytes"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"aigateway/gateway/config"
)

// A Class says how urgent a request is: no place is given to a class while one before it waits, up to the bound of ageing.
type Class uint8

// The classes. A request that says nothing is of the first one.
const (
	ClassDefault Class = iota
	ClassInteractive
	ClassBatch
)

// Classes are all of them, the most urgent first.
var Classes = [...]Class{ClassInteractive, ClassDefault, ClassBatch}

// ClassOf is the class of that priority of a key.
func ClassOf(p config.Priority) Class {
	switch p {
	case config.Interactive:
		return ClassInteractive
	case config.Batch:
		return ClassBatch
	}
	return ClassDefault
}

var classNames = [...]string{ClassDefault: "default", ClassInteractive: "interactive", ClassBatch: "batch"}

// String is the class' name in settings, fields and metrics.
func (c Class) String() string { return classNames[c] }

// rank is the class' place among Classes.
func (c Class) rank() int {
	switch c {
	case ClassInteractive:
		return 0
	case ClassBatch:
		return 2
	}
	return 1
}

// ParseClass reads the name of a class, in any case.
func ParseClass(name []byte) (c Class, ok bool) {
	name = bytes.TrimSpace(name)
	for c, known := range classNames {
		if len(name) == len(known) && bytes.EqualFold(name, []byte(known)) {
			return Class(c), true
		}
	}
	return ClassDefault, false
}

// priorityField is where a request may name a class that is less urgent than its own.
const priorityField = "x-priority"

// class is that of the request: its own, or a less urgent one that it asks for.
func (r *Request) class() Class {
	c := r.Class
	if text, ok := r.Head.Field(priorityField); ok {
		if asked, ok := ParseClass(text); ok && asked.rank() > c.rank() {
			return asked
		}
	}
	return c
}

// patience is how long the request would wait by its own word; 0 is for one that says nothing, or nothing that can be read.
func (r *Request) patience() time.Duration {
	text := r.Head.Timeout
	if len(text) == 0 || len(text) > 9 { // 11 days
		return 0
	}
	n := 0
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0
		}
		n = 10*n + int(c-'0')
	}
	return time.Duration(n) * time.Millisecond
}

// tenantSeed makes it impossible to choose a name that shares another one's turns.
var tenantSeed = maphash.MakeSeed()

// tenant is a number for who asks.
func (r *Request) tenant() uint64 {
	who := r.Tenant
	if who == nil {
		who = r.ClientKey
	}
	if who == nil {
		who = r.Peer
	}
	return maphash.Bytes(tenantSeed, who)
}

// What a cost may be, so that sums of them stay numbers.
const (
	leastCost = 1
	mostCost  = 1 << 40
)

// A waiter is a request's place in a queue. What it says of the request is set by ask, and everything below it changes under the
// queue's lock.
type waiter struct {
	woken chan struct{} // there is news: a place, a refusal, or the client has left
	timer *time.Timer

	exchange *Exchange
	tenant   uint64
	weight   float64
	rank     int
	picky    bool          // not every upstream of the pool will do
	stays    bool          // it waits on when there is no upstream any more
	found    Fault         // when it came: Busy or NoUpstream
	bytes    int64         // of its body, in memory
	until    time.Duration // by which it wants to have had its turn, as wire.Now; 0: it does not say
	since    time.Duration // when it came, as wire.Now: before those of its tenant that came later

	cost     int64
	deadline time.Duration // as wire.Now
	roomed   bool          // it is in the waiting room
	flow     *flow         // nil: it waits no longer
	next     *waiter       // of the same tenant and class
	prev     *waiter

	decided    atomic.Bool   // it waits no longer, because of what stands below
	pool       *Pool         // that has acquired it
	upstream   *Upstream     // at which it has a place
	fault      Fault         // why it has none, and
	retryAfter time.Duration // when it might have had one
}

// Interrupt wakes the waiter.
func (w *waiter) Interrupt() {
	select {
	case w.woken <- struct{}{}:
	default: // it has been told
	}
}

// decide tells the waiter what has become of it.
func (w *waiter) decide() {
	w.decided.Store(true)
	w.Interrupt()
}

var waiters = sync.Pool{New: func() any {
	w := &waiter{woken: make(chan struct{}, 1), timer: time.NewTimer(time.Hour)}
	w.timer.Stop()
	return w
}}

// newWaiter is a place in a queue for the request.
func newWaiter(x *Exchange, pool *Pool, now time.Duration) *waiter {
	w := waiters.Get().(*waiter)
	since := x.since(now)
	w.exchange, w.tenant, w.weight, w.rank = x, x.tenant(), max(1, float64(x.Weight)), x.class().rank()
	w.picky, w.bytes, w.since, w.cost = x.picky(pool), int64(x.hold.size), since, x.Cost
	w.stays, w.until = x.stays(pool), x.Deadline
	if patience := x.patience(); patience > 0 && (w.until == 0 || since+patience < w.until) {
		w.until = since + patience
	}
	w.upstream, w.pool, w.fault, w.retryAfter = nil, nil, None, 0
	w.decided.Store(false)
	return w
}

// free gives the waiter back, who is in no queue.
func (w *waiter) free() {
	w.timer.Stop()
	select {
	case <-w.woken:
	default:
	}
	w.exchange, w.upstream, w.pool = nil, nil, nil
	waiters.Put(w)
}
