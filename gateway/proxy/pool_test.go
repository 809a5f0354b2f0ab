package proxy

import "testing"

// poolOf is a pool of healthy upstreams with these weights.
func poolOf(balance string, weights ...int) *Pool {
	p := &Pool{Name: "p", balance: balance}
	for i, w := range weights {
		u := &Upstream{weight: w, Index: i}
		u.healthy.Store(true)
		u.probed.Store(true)
		p.Upstreams = append(p.Upstreams, u)
	}
	return p
}

// shares picks n times, each request done before the next, and returns the share of each upstream in percent.
func shares(p *Pool, n int) []int {
	got := make([]int, len(p.Upstreams))
	for range n {
		got[p.pick(nil).Index]++
	}
	for i := range got {
		got[i] = (got[i]*100 + n/2) / n
	}
	return got
}

// With nothing to do, each upstream has the share that its weight says.
func TestSharesFollowWeights(t *testing.T) {
	f := func(balance string, weights, want []int) {
		t.Helper()
		for i, got := range shares(poolOf(balance, weights...), 20000) {
			if got < want[i]-3 || got > want[i]+3 {
				t.Errorf("%s, weights %v: upstream %d has %d %%, want %d", balance, weights, i, got, want[i])
			}
		}
	}
	for _, balance := range []string{"p2c", leastRequests, roundRobin} {
		f(balance, []int{1}, []int{100})
		f(balance, []int{1, 1}, []int{50, 50})
		f(balance, []int{2, 1}, []int{67, 33})
		f(balance, []int{1, 1, 1, 1}, []int{25, 25, 25, 25})
		f(balance, []int{6, 3, 1}, []int{60, 30, 10})
	}
}

// The busy have to wait for their turn, by what they have to do for their weight.
func TestTheLessBusyIsPicked(t *testing.T) {
	for _, balance := range []string{"p2c", leastRequests} {
		p := poolOf(balance, 1, 1)
		p.Upstreams[0].inflight.Store(5)
		if got := shares(p, 1000); got[1] != 100 {
			t.Errorf("%s: %v", balance, got)
		}
		p = poolOf(balance, 10, 1)
		p.Upstreams[0].inflight.Store(5)
		p.Upstreams[1].inflight.Store(1)
		if got := shares(p, 1000); got[0] != 100 {
			t.Errorf("%s by weight: %v", balance, got)
		}
	}
	// Of many, two are looked at: the busiest is never picked, the idle one more often than its share.
	p := poolOf("p2c", 1, 1, 1, 1)
	for i := range p.Upstreams {
		p.Upstreams[i].inflight.Store(int64(i))
	}
	if got := shares(p, 20000); got[3] != 0 || got[0] < 40 {
		t.Errorf("p2c of four: %v", got)
	}
}

// The sick are left out while one is well, those tried in any case, and a pool that looks all sick is used all
// the same.
func TestWhoIsLeftOut(t *testing.T) {
	for _, balance := range []string{"p2c", leastRequests, roundRobin} {
		p := poolOf(balance, 1, 1, 1)
		p.Upstreams[0].healthy.Store(false)
		if got := shares(p, 3000); got[0] != 0 || got[1] < 40 || got[2] < 40 {
			t.Errorf("%s with one sick: %v", balance, got)
		}
		if u := p.pick(p.Upstreams[1:]); u != p.Upstreams[0] {
			t.Errorf("%s: the sick one is not the last resort", balance)
		}
		if u := p.pick(p.Upstreams); u != nil {
			t.Errorf("%s: picked one that was tried", balance)
		}
		for _, u := range p.Upstreams {
			u.healthy.Store(false)
		}
		if got := shares(p, 3000); got[0] < 25 || !p.Sick() || p.Healthy() {
			t.Errorf("%s with all sick: %v", balance, got)
		}
	}
}

func TestAllocPick(t *testing.T) {
	for _, balance := range []string{"p2c", leastRequests, roundRobin} {
		for _, n := range []int{1, 3, 100} {
			weights := make([]int, n)
			for i := range weights {
				weights[i] = 1
			}
			p := poolOf(balance, weights...)
			if got := testing.AllocsPerRun(100, func() { p.pick(nil) }); got != 0 {
				t.Errorf("%s of %d: %v allocations", balance, n, got)
			}
		}
	}
}

func BenchmarkPick(b *testing.B) {
	for name, n := range map[string]int{"upstreams=3": 3, "upstreams=100": 100} {
		for _, balance := range []string{"p2c", leastRequests, roundRobin} {
			b.Run("balance="+balance+"/"+name, func(b *testing.B) {
				weights := make([]int, n)
				for i := range weights {
					weights[i] = 1
				}
				p := poolOf(balance, weights...)
				for b.Loop() {
					p.pick(nil)
				}
			})
		}
	}
}
