package proxy

import (
	"testing"
	"time"

	"aigateway/gateway/wire"
)

// What an attempt says about its upstream: out at once, a failure, or nothing.
func TestJudge(t *testing.T) {
	f := func(fault Fault, status int, failure, out bool) {
		t.Helper()
		p := poolOf("p2c", 1, 1)
		u := p.Upstreams[0]
		if now := wire.Now(); fault == None {
			p.judgeHead(u, status, now, now)
		} else {
			p.judge(u, fault, status, now)
		}
		if got := u.breaker.failures.sum(wire.Now()) > 0; got != failure {
			t.Errorf("%v, %d: a failure is %v", fault, status, got)
		}
		if u.Healthy() == out {
			t.Errorf("%v, %d: out is %v", fault, status, !u.Healthy())
		}
		if n := len(p.picker.Load().candidates); out != (n == 1) {
			t.Errorf("%v, %d: %d candidates", fault, status, n)
		}
	}
	f(None, 200, false, false)
	f(None, 404, false, false)
	f(None, 500, false, false) // it may be the request's own fault
	f(None, 502, true, false)
	f(None, 503, true, false)
	f(None, 504, true, false)
	f(Unreachable, 0, true, true)
	f(TimeoutConnect, 0, true, true)
	f(TLSFailed, 0, true, true)
	f(TimeoutResponse, 0, true, true) // nothing good came meanwhile
	f(TimeoutIdle, 0, true, false)
	f(BrokenResponse, 0, true, false)
	f(Truncated, 200, true, false)
	f(Unavailable, 503, true, false)
	f(ClientGone, 0, false, false)
	f(BodyTooLarge, 0, false, false)
	f(BodyTimeout, 0, false, false)
	f(BodySlow, 0, false, false)
	f(HeadTooLarge, 0, false, false)
	f(Exhausted, 0, false, false) // the gateway's own trouble
}

// A response time-out of one that has answered others meanwhile is a slow request, not a sick upstream, and no failure; one whose
// page has answered meanwhile is not taken out, nor is who is alone.
func TestASlowRequestIsNoHang(t *testing.T) {
	p := poolOf("p2c", 1, 1)
	u := p.Upstreams[0]
	began := time.Minute
	u.breaker.success(began + time.Second)
	if p.judge(u, TimeoutResponse, 0, began); !u.Healthy() || u.breaker.failures.sum(wire.Now()) > 0 {
		t.Error("out by one slow request")
	}
	p = poolOf("p2c", 1, 1)
	u = p.Upstreams[0]
	u.breaker.probeOK(began+time.Second, true)
	if p.judge(u, TimeoutResponse, 0, began); !u.Healthy() {
		t.Error("out by one slow request, though the page answers")
	}
	p = poolOf("p2c", 1)
	if p.judge(p.Upstreams[0], TimeoutResponse, 0, wire.Now()); !p.Upstreams[0].Healthy() {
		t.Error("the only one is out by one slow request")
	}
}

// Whose requests fail though its page answers is passed by if others fare much better, and only then: requests that fail
// wherever they go say nothing about where they went.
func TestWhoFailsAloneIsPassedBy(t *testing.T) {
	f := func(want bool, failed ...int) { // of ten attempts each
		t.Helper()
		p := poolOf("p2c", ones(len(failed))...)
		now := wire.Now()
		for i, n := range failed {
			for range n {
				p.Upstreams[i].breaker.failure(now, now, BrokenResponse)
			}
			for range 10 - n {
				p.Upstreams[i].breaker.success(now)
			}
		}
		u := p.Upstreams[0]
		if got := p.peersFareBetter(u, now); got != want {
			t.Errorf("%v failed: somebody fares better is %v", failed, got)
		}
		if !want {
			return
		}
		u.breaker.ejectClosed(now)
		p.refresh(now)
		if got, _ := p.pick(7, nil); got == u {
			t.Error("passed by, it was asked")
		}
		if got, _ := p.pick(7, p.Upstreams[1:]); got != u {
			t.Error("passed by, it is not the last resort")
		}
		for _, v := range p.Upstreams[1:] {
			v.limit.Store(0)
			v.inflight.Store(1)
			v.limit.Store(1)
		}
		if got, fault := p.pick(7, nil); got != u {
			t.Errorf("the others are full: %v", fault)
		}
		p.openBreakers(1, len(failed)-1)
		if got, fault := p.pick(7, nil); got != u {
			t.Errorf("the others are gone: %v", fault)
		}
	}
	f(false, 10)
	f(true, 10, 0)
	f(true, 10, 5)
	f(false, 10, 6)
	f(false, 10, 9, 10)
	f(true, 6, 10, 2)
	f(false, 6, 10, 4)
}

// One that is half open has a few requests at a time, next to those it has not answered since it was passed by; they
// close the breaker or open it again. It has all it may if nobody else is well.
func TestTrials(t *testing.T) {
	for _, stuck := range []int64{0, 50} {
		p := poolOf("p2c", 1, 1)
		u, other := p.Upstreams[0], p.Upstreams[1:]
		u.inflight.Store(stuck)
		u.breaker.ejectClosed(0)
		p.refresh(0)
		until, _ := u.breaker.openUntil()
		u.breaker.probeOK(until, true)
		p.refresh(until)
		for range trials {
			if got, f := p.pick(0, other); got != u {
				t.Fatalf("no trial with %d stuck: %v", stuck, f)
			}
		}
		p.refresh(until) // something else has changed
		if got, f := p.pick(0, other); got != nil || f != Busy {
			t.Errorf("more than %d trials with %d stuck", trials, stuck)
		}
		p.openBreakers(1)
		if got, f := p.pick(0, nil); got != u {
			t.Errorf("alone and half open, it has no place: %v", f)
		}
		for range trials {
			u.breaker.success(until)
		}
		p.refresh(until)
		if u.limit.Load() != u.maxInflight {
			t.Error("closed, it may not have what it may")
		}
	}
}

// Who is told of an upstream's health is told of changes only, and of nothing before the first probe.
func TestHealthIsToldOnce(t *testing.T) {
	p := poolOf("p2c", 1, 1)
	var told []bool
	p.onHealth = func(_ *Upstream, healthy bool) { told = append(told, healthy) }
	for range 3 {
		p.refresh(wire.Now())
	}
	p.sicken(1)
	p.sicken(1)
	p.openBreakers(1)
	p.Upstreams[1].healthy.Store(true)
	p.refresh(wire.Now())
	if len(told) != 1 || told[0] {
		t.Errorf("told %v", told)
	}
}
