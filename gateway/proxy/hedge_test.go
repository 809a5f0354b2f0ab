package proxy

import (
	"reflect"
	"testing"
	"time"

	"aigateway/gateway/config"
	"aigateway/gateway/wire"
)

// A hedge goes to somebody who is well, has a place, and has not been asked.
func TestPickWell(t *testing.T) {
	p := poolOf("p2c", 1, 1, 1, 1)
	a, b, c, d := p.Upstreams[0], p.Upstreams[1], p.Upstreams[2], p.Upstreams[3]
	b.healthy.Store(false)
	x := &Exchange{Request: Request{Head: &wire.RequestHead{}, Targets: []Target{{Pool: p}}}, Result: Result{Upstream: a}, tried: []*Upstream{d}}
	for range 100 {
		if u := p.pickHealthy(x); u != c {
			t.Fatalf("picked %v", u)
		}
		p.release(c)
	}
	if len(x.tried) != 1 || x.tried[0] != d {
		t.Errorf("tried is %v", x.tried)
	}
	c.limit.Store(1)
	if !p.acquire(c) {
		t.Fatal("no place")
	}
	if u := p.pickHealthy(x); u != nil {
		t.Errorf("picked %v, but nobody has a place", u)
	}
	for _, u := range []*Upstream{a, b, d} {
		if u.Inflight() != 0 {
			t.Error("a place was taken for nothing")
		}
	}
}

func TestPickWellAlloc(t *testing.T) {
	p := poolOf("round_robin", 1, 1, 1)
	p.Upstreams[1].healthy.Store(false)
	x := &Exchange{Request: Request{Head: &wire.RequestHead{}, Targets: []Target{{Pool: p}}}, Result: Result{Upstream: p.Upstreams[0]}, tried: make([]*Upstream, 0, 4)}
	if n := testing.AllocsPerRun(100, func() { p.release(p.pickHealthy(x)) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// What a refund gives back is what was spent.
func TestBudgetRefund(t *testing.T) {
	var b budget
	b.start()
	for range 10 * firstRetries {
		if !b.spend() {
			t.Fatal("the budget is spent")
		}
		b.refund()
	}
}

// Upstreams stay who they are when their pool begins to hedge.
func TestHedgeIsNoPartOfASpec(t *testing.T) {
	off, on := config.Pool{Name: "p", MaxInflight: 1}, config.Pool{Name: "p", MaxInflight: 1, Hedge: time.Second}
	if !reflect.DeepEqual(specOf(config.Upstream{}, off), specOf(config.Upstream{}, on)) {
		t.Error("another spec")
	}
}
