package proxy

import (
	"fmt"
	"testing"

	"aigateway/gateway/wire"
)

// prompt is the chained hashes of a prompt of n blocks; of the same name, a longer one begins as a shorter one does.
func prompt(name, n int) []uint64 {
	h := mix(uint64(name) + 1)
	var all []uint64
	for range n {
		h = mix(h)
		all = append(all, h)
	}
	return all
}

// pickPrompt picks an upstream for a prompt, and notes that it has read it.
func (p *Pool) pickPrompt(t *testing.T, prompt []uint64) *Upstream {
	t.Helper()
	u := p.peekPrompt(t, prompt)
	p.load.prefixes.note(prompt, u.place)
	return u
}

func (p *Pool) peekPrompt(t *testing.T, prompt []uint64) *Upstream {
	t.Helper()
	u, f := p.pickFor(&Request{Targets: []Target{{Pool: p}}, Prefix: prompt}, nil)
	if f != None {
		t.Fatal(f)
	}
	return u
}

// A conversation stays where it was read, however much it grows by, and a new one goes where its hash says.
func TestPromptsGoWhereTheyWereRead(t *testing.T) {
	p := poolOf(byPrefix, ones(8)...)
	const conversations = 100
	var at [conversations]*Upstream
	for n := 1; n <= 64; n += 1 + n/3 {
		for c := range conversations {
			u := p.pickPrompt(t, prompt(c, n))
			p.release(u)
			if at[c] == nil {
				at[c] = u
			}
			if at[c] != u {
				t.Errorf("conversation %d with %d blocks went from %d to %d", c, n, at[c].Index, u.Index)
			}
		}
	}
	again := poolOf(byPrefix, ones(8)...) // another replica, that has seen nothing
	for c := range conversations {
		u := again.peekPrompt(t, prompt(c, 1))
		if again.release(u); u.Index != at[c].Index {
			t.Errorf("replicas send conversation %d to %d and %d", c, at[c].Index, u.Index)
		}
	}
}

// The longest match is found wherever it ends, whoever has read how much.
func TestLongestMatch(t *testing.T) {
	p := poolOf(byPrefix, 1, 1, 1)
	for all := 1; all <= 64; all++ {
		for known := 0; known <= all; known++ {
			long := prompt(100*all+known, all)
			p.load.prefixes.note(long[:known], 1)
			p.load.prefixes.note(long[:known/2], 2)
			depth, found := p.picker.Load().longest(long)
			if depth != known || known > 1 && (found.n != 1 || found.who[0] != 1) {
				t.Errorf("%d of %d blocks: found %d, by %v", known, all, depth, found)
			}
		}
	}
}

// Who has read a prompt does not get it when it has too much to do, or says so, or cannot be asked.
func TestWhoHasReadItIsPassedBy(t *testing.T) {
	f := func(what string, passed bool, change func(p *Pool, u *Upstream)) {
		t.Helper()
		p := poolOf(byPrefix, 1, 1, 1, 1)
		long := prompt(3, 10)
		u := p.Upstreams[2]
		p.load.prefixes.note(long, u.place)
		change(p, u)
		p.addUp()
		times := 0
		for range 200 {
			got, fault := p.pickFor(&Request{Targets: []Target{{Pool: p}}, Prefix: append(long[:10:10], 1, 2)}, nil)
			if fault != None {
				t.Fatal(what, fault)
			}
			if got == u {
				times++
			}
			p.release(got)
		}
		if passed && times > 75 || !passed && times != 200 { // two draws of two may lead there
			t.Errorf("%s: it got %d of 200", what, times)
		}
	}
	hold := func(n int) func(p *Pool, u *Upstream) {
		return func(p *Pool, u *Upstream) {
			for range n {
				if !p.acquire(u) {
					t.Fatal("no place")
				}
			}
		}
	}
	says := func(l Load) func(p *Pool, u *Upstream) {
		l.Running = 1
		return func(_ *Pool, u *Upstream) { u.told.Store(&told{Load: l, left: fades, most: 100}) }
	}
	f("idle", false, func(*Pool, *Upstream) {})
	f("5 of 5 in flight", false, hold(5)) // at most 1.25 × 5/4 + 4
	f("6 of 6 in flight", true, hold(6))  // the mean is 1.5
	f("7 waiting", true, says(Load{Waiting: 7}))
	f("5 waiting", false, says(Load{Waiting: 5}))
	f("KV full", true, says(Load{KV: 0.95}))
	f("KV not full", false, says(Load{KV: 0.94}))
	f("sick", true, func(p *Pool, u *Upstream) { p.sicken(2) })
	f("full", true, func(p *Pool, u *Upstream) { u.limit.Store(0) })
	// All wait: nobody has more to do than the others, but 8 is a veto.
	f("6 waiting everywhere", false, func(p *Pool, u *Upstream) {
		for _, u := range p.Upstreams {
			says(Load{Waiting: 6})(p, u)
		}
	})
}

// The table forgets whom it has to, the oldest first, and never grows; another process has other entries.
func TestTableForgets(t *testing.T) {
	p := poolOf(byPrefix, 1, 1)
	r := p.picker.Load()
	old := prompt(1, 1)
	p.load.prefixes.note(old, 0)
	p.load.prefixes.note(old, 1)
	if depth, found := r.longest(old); depth != 1 || found.n != 2 {
		t.Errorf("found %d, %v", depth, found)
	}
	p.load.prefixes.forget(0)
	if depth, found := r.longest(old); depth != 1 || found.n != 1 || found.who[0] != 1 {
		t.Errorf("after one is forgotten: found %d, %v", depth, found)
	}
	kept := prompt(2, 64)
	for i := range 8 * prefixSets { // four times what it holds
		p.load.prefixes.note(prompt(1000+i, 4), 0)
		if i%1024 == 0 {
			p.load.prefixes.note(kept, 1)
		}
	}
	if depth, _ := r.longest(kept); depth != 64 {
		t.Errorf("of what was in use, %d of 64 blocks are left", depth)
	}
	if depth, _ := r.longest(old); depth != 0 {
		t.Error("what was not in use is still there")
	}
	p.load.prefixes.note(prompt(5, 64), maxPlaces) // no room for such a place
	if depth, _ := r.longest(prompt(5, 64)); depth != 0 {
		t.Error("a place that there is not has read something")
	}
}

// A reload keeps what is known of those who stay, and not of those who go.
func TestPlacesAfterReload(t *testing.T) {
	old := poolOf(byPrefix, 1, 1, 1)
	for i, u := range old.Upstreams {
		if int(u.place) != i {
			t.Errorf("upstream %d has place %d", i, u.place)
		}
		old.load.prefixes.note(prompt(i, 5), u.place)
	}
	p := poolOf(byPrefix, 1, 1, 1)
	p.load.prefixes = old.load.prefixes
	fresh := p.Upstreams[:1:1]
	p.Upstreams = append(fresh, old.Upstreams[1:]...) // 0 has gone
	p.number(fresh)
	p.refresh(wire.Now())
	r := p.picker.Load()
	if fresh[0].place != 0 {
		t.Errorf("the new one has place %d", fresh[0].place)
	}
	for i := range p.Upstreams {
		depth, found := r.longest(prompt(i, 5))
		if i == 0 && depth != 0 || i > 0 && (depth != 5 || r.candidates[found.who[0]].Upstream != p.Upstreams[i]) {
			t.Errorf("prompt %d: %d, %v", i, depth, found)
		}
	}
}

// A pool that did not go by prefix before a reload gives all its upstreams places of their own; of more than there are places, the last are not remembered.
func TestPlacesOfAll(t *testing.T) {
	p := &Pool{load: load{prefixes: newPrefixes()}}
	for range maxPlaces + 2 {
		p.Upstreams = append(p.Upstreams, new(Upstream))
	}
	p.number(p.Upstreams)
	for i, u := range p.Upstreams {
		if int(u.place) != min(i, maxPlaces) {
			t.Fatalf("upstream %d has place %d", i, u.place)
		}
		u.place = 0
	}
	p.Upstreams = p.Upstreams[:3]
	p.number(nil)
	for i, u := range p.Upstreams {
		if int(u.place) != i {
			t.Errorf("upstream %d has place %d", i, u.place)
		}
	}
}

func TestAllocPrefix(t *testing.T) {
	p := poolOf(byPrefix, ones(8)...)
	x := &Request{Targets: []Target{{Pool: p}}, Prefix: prompt(1, 64)}
	if n := testing.AllocsPerRun(100, func() {
		u, _ := p.pickFor(x, nil)
		p.load.prefixes.note(x.Prefix, u.place)
		p.release(u)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkPrefix takes a place at an upstream for a prompt and gives it back, beside the other ways to balance: of a conversation that
// has grown by a block, and of one that nobody knows, among few conversations, which the processor has at hand, and among many, which fill the table.
// note is what follows a 200.
func BenchmarkPrefix(b *testing.B) {
	const conversations = 2048
	for _, blocks := range []int{4, 64} {
		p := poolOf(byPrefix, ones(8)...)
		known, unknown := make([][]uint64, conversations), make([][]uint64, conversations)
		for i := range conversations {
			known[i], unknown[i] = prompt(i, blocks), prompt(conversations+i, blocks)
			p.load.prefixes.note(known[i][:blocks-1], uint16(i%8))
		}
		run := func(name string, p *Pool, prompts [][]uint64) {
			b.Run(fmt.Sprintf("%s/blocks=%d", name, blocks), func(b *testing.B) {
				x := &Request{Targets: []Target{{Pool: p}}, ClientKey: []byte("203.0.113.9")}
				for i := 0; b.Loop(); i++ {
					x.Prefix = prompts[i%len(prompts)]
					u, _ := p.pickFor(x, nil)
					p.release(u)
				}
			})
		}
		for _, balance := range []string{"p2c", hashed} {
			run("balance="+balance, poolOf(balance, ones(8)...), known)
		}
		run("balance=prefix/known=true/conversations=32", p, known[:32])
		run("balance=prefix/known=true/conversations=2048", p, known)
		run("balance=prefix/known=false/conversations=32", p, unknown[:32])
		run("balance=prefix/known=false/conversations=2048", p, unknown)
	}
	for _, blocks := range []int{4, 64} {
		b.Run(fmt.Sprintf("note/blocks=%d", blocks), func(b *testing.B) {
			t := newPrefixes()
			all := make([][]uint64, conversations)
			for i := range all {
				all[i] = prompt(i, blocks)
			}
			for i := 0; b.Loop(); i++ {
				t.note(all[i%conversations], uint16(i%8))
			}
		})
	}
}
