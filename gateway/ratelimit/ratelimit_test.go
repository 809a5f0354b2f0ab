package ratelimit

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func newLimiter(t testing.TB, o Options) *Limiter {
	t.Helper()
	if o.MaxClients == 0 {
		o.MaxClients = 1000
	}
	if o.Cleanup == 0 {
		o.Cleanup = 10 * time.Minute
	}
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestAdmit(t *testing.T) {
	l := newLimiter(t, Options{Global: Rate{10, 5}, Client: Rate{1, 3}, Routes: []Rate{{100, 2}}})
	f := func(now time.Duration, class int, client string, cost int, want string) {
		t.Helper()
		v := l.Class(class).Admit(now, []byte(client), cost)
		wait := v.Wait.Round(time.Microsecond).String()
		if v.Wait == Never {
			wait = "never"
		}
		if got := fmt.Sprintf("%v %s %d %s", v.OK, v.Scope, v.Remaining, wait); got != want {
			t.Errorf("%v: class %d, %s, %d: got %q, want %q", now, class, client, cost, got, want)
		}
	}
	f(0, 0, "a", 1, "true none 2 1s")
	f(0, 0, "a", 2, "true none 0 1s")
	f(0, 0, "a", 1, "false client 0 1s")
	f(0, 0, "a", 4, "false client 0 never")
	f(0, 1, "a", 1, "true none 1 10ms") // a bucket of its own
	f(0, 0, "b", 2, "false global 1 100ms")
	f(0, 0, "b", 1, "true none 2 1s") // nothing was taken from b
	f(0, 0, "b", 1, "false global 0 100ms")
	f(0, 0, "c", 3, "false global 0 300ms")
	f(100*time.Millisecond, 0, "c", 1, "true none 2 1s")
	f(100*time.Millisecond, 0, "c", 1, "false global 0 100ms")
	f(time.Second, 0, "c", 3, "false client 2 100ms") // the refused request of c has cost it nothing
	f(1100*time.Millisecond, 0, "c", 3, "true none 0 1s")

	want := Stats{Clients: 4, Bytes: l.clients.size(), DroppedClient: 3, DroppedGlobal: 4}
	if got := l.Stats(time.Second); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestNilAdmits(t *testing.T) {
	var l *Limiter
	if !l.Admit(0, nil, 1e9).OK || !l.Class(3).Admit(0, nil, 1).OK {
		t.Error("refused")
	}
	l.Class(0).Refund(nil, 1)
	if s := l.Stats(0); s != (Stats{}) {
		t.Errorf("%+v", s)
	}
	if p := l.Class(0).AppendPolicy(nil); p != nil {
		t.Errorf("%q", p)
	}
	if p := l.Class(0).AppendLimit(nil, Verdict{OK: true}); p != nil {
		t.Errorf("%q", p)
	}
}

func TestGiveBack(t *testing.T) {
	l := newLimiter(t, Options{Global: Rate{0, 5}, Client: Rate{0, 3}})
	l.Admit(0, []byte("a"), 3)
	l.Class(0).Refund([]byte("a"), 2)
	l.Class(0).Refund([]byte("unknown"), 0)
	if v := l.Admit(0, []byte("a"), 2); !v.OK || v.Remaining != 0 {
		t.Errorf("%+v", v)
	}
	if v := l.Admit(0, []byte("b"), 2); !v.OK {
		t.Errorf("%+v: the global tokens did not come back", v)
	}
	if v := l.Admit(0, []byte("b"), 1); v.Scope != Global {
		t.Errorf("%+v: more than the global tokens came back", v)
	}
}

func TestOptions(t *testing.T) {
	f := func(change func(*Options), want string) {
		t.Helper()
		o := Options{Global: Rate{200, 100}, Client: Rate{20, 40}, MaxClients: 10, Cleanup: time.Minute}
		change(&o)
		_, err := New(o)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	f(func(o *Options) {}, "")
	f(func(o *Options) { o.Client = Rate{500, 1000} }, "") // more than global is odd, not wrong
	f(func(o *Options) { o.Global.Burst = 0 }, "all clients together: cannot limit to a burst of 0")
	f(func(o *Options) { o.Client.PerSecond = -1 }, "one client in class 0: cannot limit to -1 per second")
	f(func(o *Options) { o.Routes = []Rate{{1, 1}, {1, -1}} }, "one client in class 2: cannot limit to a burst of -1")
	f(func(o *Options) { o.Routes = make([]Rate, 256); fill(o.Routes, Rate{1, 1}) }, "at most 255 routes")
	f(func(o *Options) { o.Routes = make([]Rate, 255); fill(o.Routes, Rate{1, 1}) }, "")
	f(func(o *Options) { o.MaxClients = 0 }, "cannot make room for 0 clients")
	f(func(o *Options) { o.MaxClients = 1 << 40 }, "cannot make room for")
	f(func(o *Options) { o.Cleanup = 0 }, "cannot forget a client after 0s")
}

func fill(rates []Rate, r Rate) {
	for i := range rates {
		rates[i] = r
	}
}

// Whichever limit is in the way, as many are admitted by 64 goroutines as there are tokens, and each refusal is counted.
func TestExactAdmit(t *testing.T) {
	f := func(global, client int64, clients int, want int64) {
		t.Helper()
		l := newLimiter(t, Options{Global: Rate{0, global}, Client: Rate{0, client}})
		var admitted atomic.Int64
		together(64, func(i int) {
			key := []byte{byte(i % clients)}
			for range 2000 {
				if l.Admit(0, key, 1).OK {
					admitted.Add(1)
				}
			}
		})
		if got := admitted.Load(); got != want {
			t.Errorf("global %d, %d clients of %d: %d admitted, want %d", global, clients, client, got, want)
		}
		s := l.Stats(0)
		if refused := int64(s.DroppedClient + s.DroppedGlobal); refused != 64*2000-want {
			t.Errorf("%d counted as refused, want %d", refused, 64*2000-want)
		}
	}
	f(1e6, 100, 1, 100)
	f(1e6, 100, 64, 6400)
	f(1000, 1e6, 1, 1000)
	f(1000, 1e6, 64, 1000)
	f(1000, 100, 10, 1000)
	f(1000, 300, 7, 1000)
}

// One client asks for 50 times its limit. Nineteen others ask for theirs and get it, though the limits of all twenty together
// are just what the global limit admits.
func TestAbuserLeavesTheOthersTheirShare(t *testing.T) {
	const clients, perSecond, seconds = 20, 20, 30
	l := newLimiter(t, Options{Global: Rate{clients * perSecond, clients * 2}, Client: Rate{perSecond, 2}})
	admitted := make([]int, clients)
	const interval = time.Second / perSecond
	for tick := range time.Duration(seconds * perSecond) {
		for client := range time.Duration(clients) {
			times, now := 1, tick*interval+client*interval/clients
			if client == 0 {
				times = 50
			}
			for range times {
				if l.Admit(now, []byte{byte(client)}, 1).OK {
					admitted[client]++
				}
			}
		}
	}
	const fair = seconds * perSecond
	for client, n := range admitted {
		if n < fair || n > fair+1 {
			t.Errorf("client %d: %d admitted, want %d", client, n, fair)
		}
	}
	if s := l.Stats(0); s.DroppedGlobal != 0 || s.DroppedClient < 49*fair-1 {
		t.Errorf("%+v", s)
	}
}

// A clock as a gateway has it: the real one, monotonic, under 64 goroutines.
func TestRealClock(t *testing.T) {
	l := newLimiter(t, Options{Global: Rate{1e9, 1e9}, Client: Rate{10_000, 50}})
	base := time.Now()
	var admitted atomic.Int64
	together(64, func(int) {
		for time.Since(base) < 100*time.Millisecond {
			if l.Admit(time.Since(base), []byte("a"), 1).OK {
				admitted.Add(1)
			}
		}
	})
	most := 50 + int64(time.Since(base).Seconds()*10_000)
	if got := admitted.Load(); got > most || got < 100 {
		t.Errorf("%d admitted, want at most %d and more than 100", got, most)
	}
}

// A request that stood still between reading the clock and asking for tokens is judged by the time it is, not by its own.
func TestAdmitLate(t *testing.T) {
	for _, c := range []struct {
		name string
		real time.Duration // when the late request really asks; it thinks it is at 0
		ok   bool
	}{
		{"its token is there by now", 41 * time.Millisecond, true},
		{"its token is not there yet", 39 * time.Millisecond, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var clock time.Duration
			l, err := New(Options{
				Global: Rate{1000, 1000}, Client: Rate{100, 1}, MaxClients: 10, Cleanup: time.Minute,
				Now: func() time.Duration { return clock },
			})
			if err != nil {
				t.Fatal(err)
			}
			if v := l.Admit(30*time.Millisecond, []byte("a"), 1); !v.OK {
				t.Fatalf("the first request got %+v", v)
			}
			clock = c.real
			if v := l.Admit(0, []byte("a"), 1); v.OK != c.ok {
				t.Errorf("the late request got %+v, want OK %v", v, c.ok)
			}
			dropped := l.Stats(clock).DroppedClient
			if (dropped == 0) != c.ok || dropped > 1 {
				t.Errorf("%d requests count as refused", dropped)
			}
		})
	}
}
