package proxy

import (
	"testing"
	"testing/synctest"
	"time"
)

// readerOf is the reader of one upstream of a pool, which is told what it reads.
func readerOf(p *Pool, i int) *engineReader { return &engineReader{upstream: p.Upstreams[i]} }

// Our own count is the truth. What an engine says beside it is a correction: what others have given it, or what waits there and has not come back since; it
// fades over three readings that fail, and never counts for more than it can.
func TestFiguresAreACorrection(t *testing.T) {
	p := poolOf(byPrefix, 1, 1)
	r := readerOf(p, 0)
	u := p.Upstreams[0]
	f := func(what string, want int64) {
		t.Helper()
		if got := u.busy(); got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	hold := func(n int64) { u.inflight.Store(n) }
	hold(10)
	f("nothing is said", 10)
	r.tell(Load{Running: 10}, 10)
	f("it says what we know", 10)
	r.tell(Load{Running: 7, Waiting: 3}, 10)
	f("some of ours wait", 13)
	hold(8)
	f("two of ours are done", 9)
	hold(4)
	f("who waited is at work by now", 4)
	hold(10)
	r.tell(Load{Running: 12, Waiting: 3}, 10)
	f("others have given it five", 15)
	if all := p.load.told.Load(); all != 5 {
		t.Errorf("the pool knows of %d beside ours", all)
	}
	r.fade()
	f("a reading has failed", 13)
	r.fade()
	f("two have", 11)
	r.fade()
	f("three have", 10)
	if l, counts := u.Engine(); counts || l == nil || l.Waiting != 3 {
		t.Errorf("what it said last is %+v, %v", l, counts)
	}
	r.fade()
	hold(2)
	r.tell(Load{Running: 500_000, Waiting: 500_000}, 2)
	f("it says absurdly much", 2+spareLoad+2)
}

// Figures that stand still while the engine is at work, or leap from one reading to the next, are of no use, and used again when they are better.
func TestFiguresThatMakeNoSense(t *testing.T) {
	f := func(what string, say func(i int64) (l Load, ours int64), want bool) {
		t.Helper()
		p := poolOf(byPrefix, 1, 1)
		r := readerOf(p, 0)
		for i := range int64(12) {
			l, ours := say(i)
			r.tell(l, ours)
		}
		if _, counts := p.Upstreams[0].Engine(); counts != want {
			t.Errorf("%s: it counts %v", what, counts)
		}
		for i := range int64(6) {
			r.tell(Load{Running: 3, KV: 0.1 + float64(i)/100}, 3)
		}
		if _, counts := p.Upstreams[0].Engine(); !counts {
			t.Errorf("%s: it is not believed again", what)
		}
	}
	f("at work", func(i int64) (Load, int64) {
		return Load{Running: 20 + i%3, Waiting: i % 2, KV: 0.5 + float64(i)/100}, 12
	}, true)
	f("idle", func(int64) (Load, int64) { return Load{}, 0 }, true)
	f("idle, while ours come and go between the readings", func(i int64) (Load, int64) { return Load{}, i % 3 }, true)
	f("of another time", func(int64) (Load, int64) { return Load{Running: 64, Waiting: 50, KV: 0.99}, 3 }, false)
	f("of another time, without KV", func(i int64) (Load, int64) { return Load{Running: 4, Waiting: 2, KV: -1}, i % 5 }, false)
	f("long generations, without KV", func(i int64) (Load, int64) { return Load{Running: 4, KV: -1}, 4 }, true)
	f("leaping", func(i int64) (Load, int64) { return Load{Running: 64 * (i % 2), KV: float64(i) / 20}, 3 }, false)
	f("ours leap, and it follows", func(i int64) (Load, int64) { return Load{Running: 64 * (i % 2), KV: float64(i) / 20}, 64 * (i % 2) }, true)
	f("a burst of others", func(i int64) (Load, int64) { return Load{Running: 40 * (i / 6), KV: float64(i) / 20}, 3 }, true)
}

// An idle engine is not full, whatever it says of its cache.
func TestVetoes(t *testing.T) {
	f := func(l Load, want bool) {
		t.Helper()
		if got := (&told{Load: l}).vetoes(0); got != want {
			t.Errorf("%+v: %v", l, got)
		}
	}
	f(Load{Running: 1, Waiting: 7, KV: 0.94}, false)
	f(Load{Running: 1, Waiting: 8}, true)
	f(Load{Running: 1, KV: 0.95}, true)
	f(Load{KV: 1}, false)
	if (*told)(nil).vetoes(5) {
		t.Error("who says nothing has a veto")
	}
}

// An engine is asked once a second, half as often when it is slow, one question at a time, on one connection as long as that is good, and not at all when the
// pool does not want it any more.
func TestEnginesAreAskedInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &pipeEngine{t: t}
		p, err := New(poolConfig(byPrefix, "auto"), Options{MaxHeadBytes: 1 << 16, OnPanic: func(v any) { t.Error(v) }, Dial: e.dial,
			ReadLoad: func(engine string, page []byte) (Load, bool) {
				if engine != "auto" {
					t.Errorf("asked as %s", engine)
				}
				return Load{Engine: "vllm", Running: 1}, string(page) == "page"
			}})
		if err != nil {
			t.Fatal(err)
		}
		f := func(what string, within time.Duration, least, most int64) {
			t.Helper()
			before := e.asked.Load()
			time.Sleep(within)
			if n := e.asked.Load() - before; n < least || n > most {
				t.Errorf("%s: asked %d times in %v, want %d to %d", what, n, within, least, most)
			}
		}
		time.Sleep(time.Second)
		f("well", 20*time.Second, 17, 23)
		if n := e.readers.Load(); n != 1 {
			t.Errorf("%d connections", n)
		}
		e.delay.Store(int64(300 * time.Millisecond))
		time.Sleep(3 * time.Second)
		f("slow", 20*time.Second, 8, 12)
		if l, counts := p.Pool("llm").Upstreams[0].Engine(); l == nil || !counts {
			t.Error("a slow page counts for nothing")
		}
		e.delay.Store(int64(time.Minute))
		time.Sleep(9 * time.Second)
		if _, counts := p.Pool("llm").Upstreams[0].Engine(); counts {
			t.Error("what was said 9 s ago still counts")
		}
		e.delay.Store(0)
		e.status.Store(404)
		time.Sleep(20 * time.Second)
		f("no such page", time.Minute, 5, 8)
		if a, b := e.times("/metrics"), e.times("/prometheus/metrics"); a == 0 || b == 0 {
			t.Errorf("asked %d times for the one page and %d for the other", a, b)
		}
		e.status.Store(200)
		time.Sleep(15 * time.Second)
		f("it is there again", 10*time.Second, 8, 12)
		retire, err := p.Reload(poolConfig("p2c", "none"))
		if err != nil {
			t.Fatal(err)
		}
		retire()
		time.Sleep(2 * time.Second)
		f("nobody wants to know", 20*time.Second, 0, 0)
		if l, _ := p.Pool("llm").Upstreams[0].Engine(); l != nil {
			t.Error("it is shown all the same")
		}
		retire, err = p.Reload(poolConfig(byPrefix, "auto"))
		if err != nil {
			t.Fatal(err)
		}
		retire()
		time.Sleep(2 * time.Second)
		f("wanted again", 10*time.Second, 8, 12)
		p.Close()
		e.close()
	})
}
