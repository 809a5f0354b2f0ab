package proxy

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// The rules of a breaker. A strike is an attempt that speaks against the upstream: no connection, a time-out,
// a broken answer, or 502, 503 or 504. Any other whole answer takes all strikes back.
const (
	maxStrikes = 3               // in a row open the breaker
	trials     = 3               // good answers, of requests or probes, close one that is half open
	minBackoff = time.Second     // the first time that it stays open, and between two probes
	maxBackoff = 3 * time.Second // what that grows to, doubling; a fifth of jitter comes on top
	slowStart  = 5 * time.Second // for which an upstream that comes back gets a growing share
	rampStep   = slowStart / 10  // between two steps of it
	firstShare = 0.1             // with which it begins
)

// State is what a breaker lets through.
type State uint32

// The states of a breaker. Their numbers are those of the metric.
const (
	Closed   State = iota // everything
	HalfOpen              // a few requests, to try
	Open                  // nothing until a probe has been answered
)

var states = [...]string{Closed: "closed", HalfOpen: "half_open", Open: "open"}

// String is the state's name for an operator.
func (s State) String() string { return states[s] }

// A breaker keeps requests from an upstream that fails them. Times are as wire.Now.
type breaker struct {
	state   atomic.Uint32
	strikes atomic.Int32 // in a row
	good    atomic.Int64 // when the last good answer came

	mu     sync.Mutex
	since  time.Duration // when the state changed
	until  time.Duration // while it is open: when to probe
	opened int           // how often, since it was closed
	passed int           // trials
	reason Fault         // of the last strike
}

// State returns what the breaker lets through now.
func (b *breaker) State() State { return State(b.state.Load()) }

// praise notes a good answer. changed tells that the breaker has closed with it.
func (b *breaker) praise(now time.Duration) (changed bool) {
	b.good.Store(int64(now))
	if b.strikes.Load() != 0 {
		b.strikes.Store(0)
	}
	if b.State() == Closed {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.State() != HalfOpen {
		return false // an answer to a question from before says little
	}
	if b.passed++; b.passed < trials {
		return false
	}
	b.opened = 0
	b.turn(Closed, now)
	return true
}

// strike notes an attempt that began at that time and failed. changed tells that the breaker has opened.
func (b *breaker) strike(now, began time.Duration, why Fault) (changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if began < b.since || b.State() == Open {
		return false // what was asked before the last change is known by now
	}
	b.reason = why
	if b.State() == Closed && b.strikes.Add(1) < maxStrikes {
		return false
	}
	b.open(now)
	return true
}

// open begins to keep requests away, for longer each time.
func (b *breaker) open(now time.Duration) {
	wait := minBackoff << min(b.opened, 8)
	wait = min(wait, maxBackoff)
	b.opened++
	b.until = now + wait + rand.N(wait/5) // replicas need not come back in step
	b.turn(Open, now)
}

// answered notes that a probe was answered, with no answer's own verdict: it is worth a few trials.
func (b *breaker) answered(now time.Duration) (changed bool) {
	if b.State() == Closed {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.State() != Open || now < b.until {
		return false
	}
	b.turn(HalfOpen, now)
	return true
}

// missed notes that a probe was not answered: nothing gets through for another while.
func (b *breaker) missed(now time.Duration, why Fault) (changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reason = why
	switch b.State() {
	case Closed:
		if b.strikes.Add(1) < maxStrikes {
			return false
		}
	case Open:
		if now < b.until {
			return false
		}
	}
	b.open(now)
	return true
}

// turn changes the state. b.mu is held.
func (b *breaker) turn(to State, now time.Duration) {
	b.state.Store(uint32(to))
	b.since, b.passed = now, 0
	b.strikes.Store(0)
}

// shut tells until when the breaker lets nothing through; false if it does.
func (b *breaker) shut() (until time.Duration, ok bool) {
	if b.State() != Open {
		return 0, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.until, true
}

// why is the reason of the last strike.
func (b *breaker) why() Fault {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.reason
}

// rampShare is the share of its weight that an upstream has which came back at that time; 1 in the end.
func rampShare(now, back time.Duration) float64 {
	return min(1, max(firstShare, float64(now-back)/float64(slowStart)))
}
