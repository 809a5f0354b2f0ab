package proxy

import (
	"testing"
	"time"

	"aigateway/gateway/wire"
)

// What an attempt says about its upstream: out at once, a strike, or nothing.
func TestJudge(t *testing.T) {
	f := func(fault Fault, status int, strike, out bool) {
		t.Helper()
		p := poolOf("p2c", 1, 1)
		u := p.Upstreams[0]
		p.judge(u, fault, status, wire.Now())
		if got := u.breaker.strikes.Load() > 0; got != strike {
			t.Errorf("%v, %d: a strike is %v", fault, status, got)
		}
		if u.Healthy() == out {
			t.Errorf("%v, %d: out is %v", fault, status, !u.Healthy())
		}
		if n := len(p.roster.Load().seats); out != (n == 1) {
			t.Errorf("%v, %d: %d seats", fault, status, n)
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
	f(BrokenAnswer, 0, true, false)
	f(Truncated, 200, true, false)
	f(ClientGone, 0, false, false)
	f(BodyTooLarge, 0, false, false)
	f(BodyTimeout, 0, false, false)
	f(HeadTooLarge, 0, false, false)
	f(Exhausted, 0, false, false) // the gateway's own trouble
}

// A response time-out of one that has answered others meanwhile is a slow request, not a sick upstream; and who is
// alone is not taken out for one.
func TestASlowRequestIsNoHang(t *testing.T) {
	p := poolOf("p2c", 1, 1)
	u := p.Upstreams[0]
	began := wire.Now()
	time.Sleep(time.Millisecond) // the clock is to move on
	p.judge(u, None, 200, began)
	if p.judge(u, TimeoutResponse, 0, began); !u.Healthy() {
		t.Error("out by one slow request")
	}
	p = poolOf("p2c", 1)
	if p.judge(p.Upstreams[0], TimeoutResponse, 0, wire.Now()); !p.Upstreams[0].Healthy() {
		t.Error("the only one is out by one slow request")
	}
}

// One that is half open has a few requests at a time, next to those it has not answered since it was cut off; they
// close the breaker or open it again.
func TestTrials(t *testing.T) {
	for _, stuck := range []int64{0, 50} {
		p := poolOf("p2c", 1)
		u := p.Upstreams[0]
		u.inflight.Store(stuck)
		p.openBreakers(0)
		if got, f := p.pick(0, nil); got != nil || f != NoUpstream {
			t.Fatalf("an open breaker lets a request through: %v", f)
		}
		until, _ := u.breaker.shut()
		u.breaker.answered(until)
		p.refresh(until)
		for range trials {
			if got, f := p.pick(0, nil); got == nil {
				t.Fatalf("no trial with %d stuck: %v", stuck, f)
			}
		}
		p.refresh(until) // something else has changed
		if got, f := p.pick(0, nil); got != nil || f != Busy {
			t.Errorf("more than %d trials with %d stuck", trials, stuck)
		}
		for range trials {
			u.breaker.praise(until)
		}
		p.refresh(until)
		if u.limit.Load() != u.most {
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
