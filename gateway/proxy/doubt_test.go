package proxy

import (
	"testing"
	"time"

	"aigateway/gateway/wire"
)

// asks acquires a place n times, each given back before the next, and returns how often each upstream of the pools was meant.
func asks(t *testing.T, n int, method string, policy Policy, pools ...*Pool) map[*Upstream]int {
	t.Helper()
	proxy := &Proxy{}
	got := make(map[*Upstream]int)
	for range n {
		x := &Exchange{Request: Request{Head: &wire.RequestHead{Method: []byte(method)}, Policy: policy}}
		for _, p := range pools {
			x.Targets = append(x.Targets, Target{Pool: p})
		}
		x.hold.whole = true
		x.move(x.nextTarget())
		u, f := proxy.findPlace(x, x.pool)
		if u == nil && len(pools) > 1 {
			if s := proxy.consult(x, nobody); s.action != askNext {
				t.Fatalf("%v, and then %+v", f, s)
			}
			x.move(x.nextTarget())
			u, f = proxy.findPlace(x, x.pool)
		}
		if u == nil {
			t.Fatalf("nobody is asked: %v", f)
		}
		got[u]++
		x.pool.giveBack(u)
	}
	return got
}

// halfOpen has some upstreams of a pool be on trial.
func (p *Pool) halfOpen(which ...int) {
	for _, i := range which {
		b := &p.Upstreams[i].breaker
		b.mu.Lock()
		b.change(HalfOpen, wire.Now())
		b.mu.Unlock()
	}
	p.refresh(wire.Now())
}

// Who would be lost with a trial is none as long as there is somebody else, in the pool or behind it.
func TestTrialsAreNobodysLoss(t *testing.T) {
	p := poolOf("p2c", ones(2)...)
	p.halfOpen(0)
	if got := asks(t, 100, "POST", Safe, p); got[p.Upstreams[0]] > 0 {
		t.Errorf("%d POSTs were trials", got[p.Upstreams[0]])
	}
	for name, got := range map[string]map[*Upstream]int{"GET": asks(t, 100, "GET", Safe, p), "reattempt": asks(t, 100, "POST", Reattempt, p)} {
		if got[p.Upstreams[0]] == 0 {
			t.Error(name + ": nobody tries")
		}
	}
	p.sicken(1)
	if got := asks(t, 10, "POST", Safe, p); got[p.Upstreams[0]] != 10 {
		t.Error("the only one is passed by")
	}
	first, second := poolOf("p2c", 1), poolOf("p2c", 1)
	first.halfOpen(0)
	if got := asks(t, 10, "POST", Safe, first, second); got[second.Upstreams[0]] != 10 {
		t.Errorf("the fallback was asked %d times of 10", got[second.Upstreams[0]])
	}
	second.halfOpen(0)
	if got := asks(t, 10, "POST", Safe, first, second); got[first.Upstreams[0]] != 10 {
		t.Error("of two in doubt the first is not asked")
	}
}

// Who has refused rests, and one request tries when the rest is over; a good answer ends it.
func TestRest(t *testing.T) {
	p := poolOf("p2c", ones(2)...)
	u := p.Upstreams[0]
	now := wire.Now()
	u.rest(now, 0)
	if got := asks(t, 50, "POST", Safe, p); got[u] > 0 {
		t.Errorf("asked %d times in its rest", got[u])
	}
	if got := asks(t, 50, "POST", Usual, p); got[u] == 0 {
		t.Error("who obeys no refusals passes it by")
	}
	u.restsUntil.Store(int64(now - 1))
	if got := asks(t, 200, "POST", Safe, p); got[u] != 1 {
		t.Errorf("asked %d times after its rest, want once", got[u])
	}
	for i, want := range []time.Duration{2 * firstRest, 4 * firstRest, maxRest, maxRest} {
		u.rest(wire.Now(), 0)
		if got := time.Duration(u.restsUntil.Load()) - wire.Now(); got > want || got < want-time.Second {
			t.Errorf("rest %d is %v, want %v", i+2, got, want)
		}
	}
	u.rest(wire.Now(), time.Hour)
	if got := time.Duration(u.restsUntil.Load()) - wire.Now(); got > maxAskedOf {
		t.Errorf("it rests for %v", got)
	}
	p.judgeHead(u, 200, wire.Now(), wire.Now())
	if u.inDoubt() {
		t.Error("a good answer does not end it")
	}
	u.breaker.lastGood.Store(int64(wire.Now()))
	if u.rest(now, 0); u.inDoubt() {
		t.Error("it rests although somebody else was served meanwhile")
	}
}
