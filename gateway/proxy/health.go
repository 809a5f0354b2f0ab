package proxy

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"aigateway/gateway/wire"
)

// sickInterval is the longest time between two probes of an upstream that is not well: it must be back soon.
const sickInterval = time.Second

// The kernel accepts connections for a server that is stopped, or hangs, and no answer ever comes. An upstream that has got
// requests and stays silent is probed at once. It gets no more of them while its page takes much longer than the last time.
const (
	checkEvery  = 250 * time.Millisecond // for silence
	quietAgain  = 500 * time.Millisecond // between two probes of a silent upstream
	minPatience = 400 * time.Millisecond // with the page
	pagesLonger = 4                      // times as long as the last time
)

// watchOver looks after an upstream until ctx ends: it probes it at once and then every interval, more
// often when it is not well, lets it come back by and by, and asks for its addresses again.
func (p *Proxy) watchOver(ctx context.Context, u *Upstream) {
	defer p.probes.Done()
	var last time.Duration
	var q quiet
	next, lookup := wire.Now(), wire.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if now := wire.Now(); now >= next || q.hear(u, now) && now >= last+quietAgain {
			last = now
			p.check(ctx, u)
			q = quiet{begun: u.begun(), last: wire.Now()}
			next = u.nextProbe(wire.Now(), last)
		}
		p.wake(u.owner.Load(), wire.Now())
		if !u.resolver.fixed() && wire.Now() >= lookup && (u.owner.Load().Explicit || u.resolver.addrs.Load() != nil) {
			lookup = u.resolveAgain(ctx)
		}
		now := wire.Now()
		u.conns.expire(now)
		wake := min(next, now+checkEvery)
		if u.recoveredAt.Load() > 0 {
			u.owner.Load().refresh(now) // the next step of its slow start
			if u.ramping(now) {
				wake = min(wake, now+rampStep)
			} else {
				u.recoveredAt.Store(0)
				u.owner.Load().refresh(now)
			}
		}
		timer.Reset(max(0, wake-now))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-u.probeNow:
			again := u.nextProbe(wire.Now(), last)
			if _, open := u.breaker.openUntil(); !open {
				again = min(next, again)
			}
			next = again
		}
	}
}

// A quiet knows how long an upstream has been silent; hear looks at it again and again.
type quiet struct {
	begun int64         // attempts, until the last look
	last  time.Duration // when the last look was
	since time.Duration // when the first look was after an attempt began; 0: none has, or a head of a response came
}

// hear looks at the upstream, and tells whether attempts have begun and no head of a response came for checkEvery.
// What streams bring that have begun before is no sign of life.
func (q *quiet) hear(u *Upstream, now time.Duration) bool {
	begun, last := u.begun(), q.last
	came := begun > q.begun
	q.begun, q.last = begun, now
	switch {
	case u.inflight.Load() == 0 || u.breaker.heardSince(last):
		q.since = 0
	case came && q.since == 0:
		q.since = now
	}
	return q.since > 0 && now-q.since >= checkEvery && u.owner.Load().Explicit
}

// begun is how many requests have got a place at the upstream so far.
func (u *Upstream) begun() int64 { return u.served.Load() + u.inflight.Load() }

// nextProbe is when to probe again after a probe that began at last.
func (u *Upstream) nextProbe(now, last time.Duration) time.Duration {
	if until, open := u.breaker.openUntil(); open {
		return max(now, until)
	}
	wait := u.healthCheck.Interval
	switch {
	case !u.Probed() || u.breaker.suspected.Load() || u.breaker.inRow.Load() > 0:
		wait = min(wait, suspectInterval)
	case !u.Healthy() || u.breaker.State() != Closed:
		wait = min(wait, sickInterval)
	}
	// A little jitter, so that replicas do not probe in step.
	return max(now, last+wait+rand.N(wait/10+1))
}

// check probes an upstream, if the operator has named it.
func (p *Proxy) check(ctx context.Context, u *Upstream) {
	if u.owner.Load().Explicit {
		p.probeOnce(ctx, u)
	} else if now := wire.Now(); u.breaker.retry(now) {
		u.owner.Load().refresh(now)
	}
}

// probeOnce makes one probe and notes what it found. A panic costs this probe, not the ones to come.
func (p *Proxy) probeOnce(ctx context.Context, u *Upstream) {
	defer func() {
		if r := recover(); r != nil {
			p.options.OnPanic(r)
		}
	}()
	began := wire.Now()
	suspected := u.breaker.suspected.Swap(false)
	var late atomic.Bool
	timer := time.AfterFunc(u.patience(), func() { late.Store(u.sideline(began)) })
	f, status := p.probe(ctx, u)
	timer.Stop()
	if f == Exhausted || ctx.Err() != nil || f.isTimeout() && wire.StoodStill(began) {
		return // which says nothing about the upstream
	}
	now := wire.Now()
	if f == TimeoutResponse && u.breaker.heardSince(began) && u.Probed() {
		return // it answers requests, so it is there, and busy
	}
	u.lastFailure.Store(uint32(f) | uint32(status)<<pageStatusAt)
	was, known := u.Healthy() || late.Load(), u.probed.Swap(true)
	u.healthy.Store(f == None)
	pool := u.owner.Load()
	switch f {
	case None, Unavailable, Looped:
		u.probeTook.Store(int64(now - began))
		u.breaker.probeOK(now, f == None)
		if f == None && u.breaker.State() == HalfOpen && u.inflight.Load() == 0 && u.breaker.trialPassed(now) {
			was = false // the page is as good as a trial, when there are no requests
		}
		if suspected && !(pool.peersFareBetter(u, now) && u.breaker.ejectClosed(now)) {
			u.breaker.clear(now)
		}
	default:
		u.breaker.probeFailed(now, began, f)
	}
	if f == None && !was && known && u.breaker.State() == Closed {
		u.recoveredAt.Store(int64(now))
	}
	pool.refresh(now)
}

// patience is how long the page of an upstream may take.
func (u *Upstream) patience() time.Duration {
	return min(probeTimeout, max(minPatience, pagesLonger*time.Duration(u.probeTook.Load())))
}

// sideline takes an upstream for sick that has requests, if neither they nor the probe that began at that time have got a response,
// and another upstream is well. It tells whether it did.
func (u *Upstream) sideline(began time.Duration) bool {
	pool := u.owner.Load()
	if u.inflight.Load() == 0 || u.breaker.heardSince(began-checkEvery) || !pool.hasHealthyPeer(u) || !u.healthy.Swap(false) {
		return false
	}
	u.lastFailure.Store(uint32(TimeoutResponse))
	pool.refresh(wire.Now())
	return true
}

// resolveAgain asks for the addresses once more, closes idle connections to those that are gone, and returns
// when to ask next.
func (u *Upstream) resolveAgain(ctx context.Context) (next time.Duration) {
	n := &u.resolver
	if n.resolve(ctx) == nil {
		u.conns.drop(func(i idleConn) bool { return n.dropped(i.conn.To) })
	}
	return wire.Now() + lookupEvery + rand.N(lookupEvery/10)
}
