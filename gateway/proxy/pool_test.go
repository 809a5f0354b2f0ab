package proxy

import (
	"fmt"
	"net/url"
	"slices"
	"testing"
	"time"

	"aigateway/gateway/config"
	"aigateway/gateway/wire"
)

var balances = []string{"p2c", leastRequests, roundRobin, hashed, byPrefix}

// poolOf is a pool of healthy upstreams with these weights.
func poolOf(balance string, weights ...int) *Pool {
	c := config.Pool{Name: "p", Explicit: true, Balance: config.Balance(balance), Hash: config.Hash{By: byClient}, MaxInflight: 1000, Queue: config.Queue{Size: 4, Wait: time.Second}}
	p := newPool(c)
	for i, w := range weights {
		u := newUpstream(config.Upstream{URL: &url.URL{Scheme: "http", Host: fmt.Sprintf("10.0.0.%d:80", i)}, Weight: w}, p, c)
		u.Index = i
		u.healthy.Store(true)
		u.probed.Store(true)
		p.Upstreams = append(p.Upstreams, u)
	}
	p.number(p.Upstreams)
	p.refresh(wire.Now())
	return p
}

// ones is n weights of 1.
func ones(n int) []int { return slices.Repeat([]int{1}, n) }

// sicken changes what is known of some upstreams of a pool.
func (p *Pool) sicken(which ...int) {
	for _, i := range which {
		p.Upstreams[i].healthy.Store(false)
	}
	p.refresh(wire.Now())
}

// openBreakers opens the breakers of some upstreams of a pool.
func (p *Pool) openBreakers(which ...int) {
	for _, i := range which {
		p.Upstreams[i].breaker.mu.Lock()
		p.Upstreams[i].breaker.open(wire.Now(), minBackoff)
		p.Upstreams[i].breaker.mu.Unlock()
	}
	p.refresh(wire.Now())
}

// shares picks n times, each request done before the next and with a key of its own, and returns the share of
// each upstream in percent.
func shares(p *Pool, n int) []int {
	got := make([]int, len(p.Upstreams))
	for i := range n {
		u, _ := p.pick(mix(uint64(i)), nil)
		got[u.Index]++
		p.release(u)
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
	for _, balance := range balances {
		f(balance, []int{1}, []int{100})
		f(balance, []int{1, 1}, []int{50, 50})
		f(balance, []int{2, 1}, []int{67, 33})
		f(balance, []int{1, 1, 1, 1}, []int{25, 25, 25, 25})
		f(balance, []int{6, 3, 1}, []int{60, 30, 10})
		f(balance, []int{1000, 1000}, []int{50, 50})
	}
}

// Turns are spread: of weights 2 and 1, nobody has three in a row.
func TestTurnsAreSpread(t *testing.T) {
	p := poolOf(roundRobin, 4, 2, 1)
	var turns []uint16
	for range 2 {
		turns = append(turns, p.picker.Load().rotation...)
	}
	for i := range len(turns) - 2 {
		if turns[i] == turns[i+1] && turns[i] == turns[i+2] {
			t.Fatalf("three turns in a row: %v", turns)
		}
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
	// Of a hundred, least_requests looks at some: the busier half is hardly ever picked.
	p = poolOf(leastRequests, ones(100)...)
	for i := range p.Upstreams {
		p.Upstreams[i].inflight.Store(int64(i))
	}
	busy := 0
	for range 10000 {
		u, _ := p.pick(0, nil)
		if p.release(u); u.Index >= 50 {
			busy++
		}
	}
	if busy > 400 { // 1 in 64 is due
		t.Errorf("the busier half was picked %d times of 10000", busy)
	}
}

// The sick are left out while one is well, those tried in any case, and a pool that looks all sick is used all
// the same.
func TestWhoIsLeftOut(t *testing.T) {
	for _, balance := range balances {
		p := poolOf(balance, 1, 1, 1)
		p.sicken(0)
		if got := shares(p, 3000); got[0] != 0 || got[1] < 40 || got[2] < 40 {
			t.Errorf("%s with one sick: %v", balance, got)
		}
		if u, _ := p.pick(7, p.Upstreams[1:]); u != p.Upstreams[0] {
			t.Errorf("%s: the sick one is not the last resort", balance)
		}
		if u, f := p.pick(7, p.Upstreams); u != nil || f != NoUpstream {
			t.Errorf("%s: picked one that was tried", balance)
		}
		p = poolOf(balance, 1, 1, 1)
		p.sicken(0, 1, 2)
		if got := shares(p, 3000); got[0] < 25 || !p.Sick() || p.Healthy() {
			t.Errorf("%s with all sick: %v", balance, got)
		}
		p.openBreakers(0, 1)
		if got := shares(p, 3000); got[2] != 100 {
			t.Errorf("%s with all sick and two breakers open: %v", balance, got)
		}
		p.openBreakers(2)
		if u, f := p.pick(7, nil); u != nil || f != NoUpstream {
			t.Errorf("%s: picked behind an open breaker", balance)
		}
	}
	// Nearly all: one of twenty is not enough to bear the load of all.
	p := poolOf("p2c", ones(20)...)
	p.sicken(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19)
	if got := shares(p, 20000); got[0] > 10 {
		t.Errorf("one of twenty is well and gets %d %%", got[0])
	}
	p.Upstreams[1].healthy.Store(true)
	p.refresh(wire.Now())
	if got := shares(p, 20000); got[0] < 45 || got[1] < 45 {
		t.Errorf("two of twenty are well and get %d %% and %d %%", got[0], got[1])
	}
}

// An upstream has as many requests as it may, and then the others have them, until all are full.
func TestAFullUpstreamIsPassedBy(t *testing.T) {
	for _, balance := range balances {
		p := poolOf(balance, 100, 1, 1)
		for _, u := range p.Upstreams {
			u.maxInflight = 10
		}
		p.refresh(wire.Now())
		for range 30 {
			if u, f := p.pick(7, nil); u == nil {
				t.Fatalf("%s: %v with places left", balance, f)
			}
		}
		for _, u := range p.Upstreams {
			if u.inflight.Load() != 10 {
				t.Errorf("%s: upstream %d has %d requests", balance, u.Index, u.inflight.Load())
			}
		}
		if u, f := p.pick(7, nil); u != nil || f != Busy {
			t.Errorf("%s: a full pool gave %v", balance, f)
		}
	}
}

// A key stays with its upstream; when one goes, only its keys move; a hot key spills over.
func TestHash(t *testing.T) {
	p := poolOf(hashed, 1, 1, 1, 1)
	where := func() (all [2000]int) {
		for i := range all {
			u, _ := p.pick(hashOf(fmt.Sprint("user-", i)), nil)
			all[i] = u.Index
			p.release(u)
		}
		return all
	}
	before := where()
	if where() != before {
		t.Fatal("a key does not stay")
	}
	p.sicken(2)
	for i, at := range where() {
		if before[i] != 2 && at != before[i] {
			t.Fatalf("key %d moved from %d to %d, though 2 went", i, before[i], at)
		}
	}
	p.Upstreams[2].healthy.Store(true)
	p.refresh(wire.Now())
	if where() != before {
		t.Error("keys do not come back")
	}
	for range 400 {
		p.pick(99, nil)
	}
	for _, u := range p.Upstreams {
		if n := u.inflight.Load(); n < 10 || n > 130 {
			t.Errorf("of 400 requests with one key, upstream %d has %d", u.Index, n)
		}
	}
}

func TestHashKey(t *testing.T) {
	var head wire.RequestHead
	if v := head.Scan([]byte("GET"), []byte("/a"), []byte("HTTP/1.1"), []byte("Host: a\r\nX-User: eve\r\n\r\n")); v != wire.None {
		t.Fatal(v)
	}
	x := &Exchange{Request: Request{Head: &head, Target: []byte("/a?q=1&user=eve&user=bob"), ClientKey: []byte("eve")}}
	f := func(by, name, want string) {
		t.Helper()
		w := uint64(0)
		if want != "" {
			w = hashOf(want)
		}
		if got := x.hashKey(&Pool{balance: hashed, hashBy: by, hashName: name}); got != w {
			t.Errorf("by %s %s: not hashed by %q", by, name, want)
		}
	}
	f(byClient, "", "eve")
	f(byHeader, "x-user", "eve")
	f(byHeader, "x-other", "")
	f(byQuery, "user", "eve")
	f(byQuery, "q", "1")
	f(byQuery, "use", "")
	f(byPath, "", "/a")
	if x.hashKey(&Pool{balance: "p2c", hashBy: byClient}) != 0 {
		t.Error("a pool that does not hash has a key")
	}
}

// An upstream that comes back has a small share at first, and its own in the end.
func TestSlowStart(t *testing.T) {
	p := poolOf("p2c", 1, 1)
	back := 10 * time.Second
	p.Upstreams[0].recoveredAt.Store(int64(back))
	f := func(after time.Duration, least, most int) {
		t.Helper()
		p.refresh(back + after)
		if got := shares(p, 20000); got[0] < least || got[0] > most {
			t.Errorf("%v after: %d %%, want %d to %d", after, got[0], least, most)
		}
	}
	// The idle one of two is as likely to be asked as its weight says.
	f(0, 5, 13)
	f(slowStart/2, 29, 38)
	f(slowStart, 47, 53)
}

func TestAllocPick(t *testing.T) {
	for _, balance := range balances {
		for _, n := range []int{1, 3, 100} {
			p := poolOf(balance, ones(n)...)
			key := uint64(0)
			if got := testing.AllocsPerRun(100, func() {
				key = mix(key)
				u, _ := p.pick(key, nil)
				p.judgeHead(u, 200, 0, wire.Now())
				p.release(u)
			}); got != 0 {
				t.Errorf("%s of %d: %v allocations", balance, n, got)
			}
		}
	}
}

// BenchmarkPick takes a place at an upstream and gives it back.
func BenchmarkPick(b *testing.B) {
	for _, n := range []int{3, 100} {
		for _, balance := range balances {
			b.Run(fmt.Sprintf("balance=%s/upstreams=%d", balance, n), func(b *testing.B) {
				p := poolOf(balance, ones(n)...)
				key := uint64(0)
				for b.Loop() {
					key = mix(key)
					u, _ := p.pick(key, nil)
					p.release(u)
				}
			})
		}
	}
}

// BenchmarkRefresh makes a new picker, as each change of health does.
func BenchmarkRefresh(b *testing.B) {
	for _, n := range []int{3, 100} {
		for _, balance := range balances {
			b.Run(fmt.Sprintf("balance=%s/upstreams=%d", balance, n), func(b *testing.B) {
				p := poolOf(balance, ones(n)...)
				for b.Loop() {
					p.refresh(wire.Now())
				}
			})
		}
	}
}
