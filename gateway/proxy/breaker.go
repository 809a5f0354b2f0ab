package proxy

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// The rules of a breaker. A client whose requests make an upstream fail must not take it from the other clients. So failed
// attempts only make an upstream suspected, by their share in a window; then its health page is asked. The breaker opens for an
// upstream that cannot be reached, or answers neither its requests nor its page. One that fails requests while its page
// answers is ejected: passed by as long as another upstream of its pool fares better.
const (
	minAttempts     = 10                     // in the window; half of them failed make an upstream suspected
	maxInRow        = 3                      // attempts and probes in a row without connection or page open the breaker
	trials          = 3                      // good responses, of requests or probes, close one that is half open
	minBackoff      = time.Second            // between two probes of an open one, and for the first ejection
	maxBackoff      = 3 * time.Second        // of ejections, which double; a fifth of jitter comes on top
	suspectedAgain  = time.Second            // before it may be suspected again, after its page has answered
	slowStart       = 5 * time.Second        // for which an upstream that comes back gets a growing share
	rampStep        = slowStart / 10         // between two steps of it
	firstShare      = 0.1                    // with which it begins
	headGrain       = time.Millisecond       // by which the time of the last good head is known
	suspectInterval = 250 * time.Millisecond // between two probes of one that is suspected
)

// State is what a breaker lets through.
type State uint32

// The states of a breaker. Their numbers are those of the metric.
const (
	Closed   State = iota // everything
	HalfOpen              // a few requests, to try
	Open                  // nothing until a probe has been answered; or, of an ejected one, nothing while another upstream is well
)

var states = [...]string{Closed: "closed", HalfOpen: "half_open", Open: "open"}

// String is the state's name for an operator.
func (s State) String() string { return states[s] }

// A breaker keeps requests from an upstream that fails them. Times are as wire.Now.
type breaker struct {
	state       atomic.Uint32
	ejected     atomic.Bool  // the health page answered when it was opened the last time
	suspected   atomic.Bool  // its attempts have failed: the health page is to be asked
	inRow       atomic.Int32 // failures in a row to connect, or to get the head of the health page
	lastGood    atomic.Int64 // when the last good head came, to headGrain
	lastHead    atomic.Int64 // when the last head of any response to a request came, likewise
	lastProbeOK atomic.Int64 // when the health page was well the last time

	successes  window // attempts with a good head
	failures   window // all others that speak of the upstream
	rejections window // those of them with a head: 502, 503 and 504

	mu           sync.Mutex
	changedAt    time.Duration // when the state changed
	retryAt      time.Duration // while it is open: when to probe
	clearedAt    time.Duration // when the page answered while it was suspected; 0: it never was
	ejections    int           // since it was closed
	trialsPassed int           // since it is half open
	lastFault    Fault         // of the last failure
}

// State returns what the breaker lets through now.
func (b *breaker) State() State { return State(b.state.Load()) }

// success notes a good head. changed tells that the breaker has closed with it.
func (b *breaker) success(now time.Duration) (changed bool) {
	b.successes.add(now)
	if int64(now)-b.lastGood.Load() >= int64(headGrain) {
		b.lastGood.Store(int64(now))
		b.lastHead.Store(int64(now))
	}
	if b.inRow.Load() != 0 {
		b.inRow.Store(0)
	}
	if b.State() == Closed {
		return false
	}
	return b.trialPassed(now)
}

// trialPassed notes a trial that went well.
func (b *breaker) trialPassed(now time.Duration) (changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.State() != HalfOpen {
		return false // what was asked before says little
	}
	if b.trialsPassed++; b.trialsPassed < trials {
		return false
	}
	b.ejections = 0
	b.change(Closed, now)
	return true
}

// failure notes an attempt that began at that time and failed. changed tells that the breaker has opened with it: because
// the upstream is not there, or because it was a trial.
func (b *breaker) failure(now, began time.Duration, why Fault) (changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if began < b.changedAt || b.State() == Open {
		return false // what was asked before the last change is known by now
	}
	b.lastFault = why
	b.failures.add(now)
	if why == Unavailable {
		b.rejections.add(now)
		b.lastHead.Store(int64(now))
	}
	switch {
	case why.unreachable() && b.inRow.Add(1) >= maxInRow:
		b.open(now, suspectInterval) // no request can cause that; but it may be over soon
		return true
	case b.State() == HalfOpen && b.ejected.Load():
		b.eject(now)
		return true
	case b.State() == HalfOpen:
		b.open(now, minBackoff)
		return true
	case b.suspected.Load(): // already; a probe is on its way
	case b.inRow.Load() > 0, (b.clearedAt == 0 || now-b.clearedAt >= suspectedAgain) && b.failing(now):
		b.suspected.Store(true)
	}
	return false
}

// failing tells whether the window speaks against the upstream.
func (b *breaker) failing(now time.Duration) bool {
	failed := b.failures.sum(now)
	all := failed + b.successes.sum(now)
	return all >= minAttempts && 2*failed >= all
}

// share is the share of attempts in the window that failed.
func (b *breaker) share(now time.Duration) float64 {
	failed := b.failures.sum(now)
	if failed == 0 {
		return 0
	}
	return float64(failed) / float64(failed+b.successes.sum(now))
}

// noneGotHead tells whether there were attempts in the window, and none of them got the head of a response.
func (b *breaker) noneGotHead(now time.Duration) bool {
	return b.failures.sum(now) > 0 && b.successes.sum(now) == 0 && b.rejections.sum(now) == 0
}

// silent tells whether noneGotHead is true of enough attempts to be no accident.
func (b *breaker) silent(now time.Duration) bool {
	return b.noneGotHead(now) && b.failures.sum(now) >= minAttempts
}

// heardSince tells whether the head of any response to a request has come since then.
func (b *breaker) heardSince(then time.Duration) bool {
	return time.Duration(b.lastHead.Load()) >= then
}

// wellSince tells whether a good response, also of the health page, has come since then.
func (b *breaker) wellSince(then time.Duration) bool {
	return time.Duration(max(b.lastGood.Load(), b.lastProbeOK.Load())) >= then
}

// probeOK notes a response of the health page; well tells whether it was below 500. An open breaker closes at once; one that is
// ejected, whose page was never the trouble, lets a few trials through after its time. closed tells that everything gets through
// again.
func (b *breaker) probeOK(now time.Duration, well bool) (closed bool) {
	if well {
		b.lastProbeOK.Store(int64(now))
	}
	b.inRow.Store(0)
	if b.State() != Open {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.State() != Open:
	case !b.ejected.Load():
		b.change(Closed, now)
		return true
	case now >= b.retryAt:
		b.change(HalfOpen, now)
	}
	return false
}

// clear notes that the page of a suspected upstream has answered.
func (b *breaker) clear(now time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clearedAt = now
}

// ejectClosed ejects the upstream if its breaker is closed. changed tells that it did.
func (b *breaker) ejectClosed(now time.Duration) (changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.State() != Closed {
		return false
	}
	b.eject(now)
	return true
}

// eject has the upstream passed by, for longer each time. b.mu is held.
func (b *breaker) eject(now time.Duration) {
	wait := min(minBackoff<<min(b.ejections, 8), maxBackoff)
	b.ejections++
	b.ejected.Store(true)
	b.retryAt = now + wait + rand.N(wait/5)
	b.change(Open, now)
}

// probeFailed notes that a probe that began at that time got no head of a response. An upstream that answers requests meanwhile
// is only slow to say that it is well; one whose page is broken, and of which nothing else is known, is for requests to try.
func (b *breaker) probeFailed(now, began time.Duration, why Fault) (changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	wasOpen := b.State() == Open && !b.ejected.Load()
	switch {
	case wasOpen && !why.unreachable():
		if now >= b.retryAt {
			b.change(HalfOpen, now)
		}
		return b.State() == HalfOpen
	case wasOpen:
	case b.heardSince(began), !why.unreachable() && !b.noneGotHead(now):
		return false
	case b.inRow.Add(1) < maxInRow && !b.silent(now):
		b.lastFault = why
		return false
	}
	b.lastFault = why
	b.open(now, minBackoff)
	return !wasOpen
}

// open keeps all requests away until the next probe, which is due after that time.
func (b *breaker) open(now, wait time.Duration) {
	b.ejected.Store(false)
	b.retryAt = now + wait + rand.N(wait/10) // replicas need not come back in step
	if b.State() != Open {
		b.ejections = 0
	}
	b.change(Open, now)
}

// retry closes the breaker of an upstream that is not probed when its time is over: one more failure opens it.
func (b *breaker) retry(now time.Duration) (changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.State() != Open || now < b.retryAt {
		return false
	}
	b.change(Closed, now)
	b.inRow.Store(maxInRow - 1)
	return true
}

// change changes the state. b.mu is held.
func (b *breaker) change(to State, now time.Duration) {
	b.state.Store(uint32(to))
	b.changedAt, b.trialsPassed = now, 0
	b.inRow.Store(0)
	b.suspected.Store(false)
	b.successes.clear()
	b.failures.clear()
	b.rejections.clear()
}

// openUntil tells until when the breaker lets nothing through; false if it does.
func (b *breaker) openUntil() (until time.Duration, ok bool) {
	if b.State() != Open {
		return 0, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.retryAt, true
}

// isEjected tells whether the upstream is passed by as long as another one is well.
func (b *breaker) isEjected() bool { return b.State() == Open && b.ejected.Load() }

// reason is the fault of the last failure.
func (b *breaker) reason() Fault {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lastFault
}

// rampShare is the share of its weight that an upstream has now if it recovered at that time; 1 in the end.
func rampShare(now, recovered time.Duration) float64 {
	return min(1, max(firstShare, float64(now-recovered)/float64(slowStart)))
}
