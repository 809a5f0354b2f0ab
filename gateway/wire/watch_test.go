package wire

import (
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// A visit is an exchange under watch: a client over loopback, and an upstream that counts its interruptions.
type visit struct {
	Watched
	conn     *ClientConn
	client   *net.TCPConn
	near     *recorder // the gateway's end of the client's connection
	upstream *UpstreamConn
	up       *recorder
}

func newVisit(t testing.TB) *visit {
	t.Helper()
	near, far := tcpPair(t)
	v := &visit{client: far, near: &recorder{Conn: near}, up: &recorder{silent: true}}
	v.conn = &ClientConn{socket: socket{Conn: v.near, fd: descriptor(near)}, listener: Listen(nil, testOptions, nil)}
	v.upstream = &UpstreamConn{socket: socket{Conn: v.up, fd: -1}}
	return v
}

func (v *visit) woken() int { return v.up.woken() + v.near.woken() }

const testTick = 2 * time.Millisecond

func newTestWatch(t testing.TB) *Watch {
	w := NewWatch(testTick)
	t.Cleanup(w.Close)
	return w
}

func TestWatchNoticesTheClientThatLeaves(t *testing.T) {
	f := func(name string, leave func(v *visit)) {
		t.Run(name, func(t *testing.T) {
			w, v := newTestWatch(t), newVisit(t)
			w.Add(&v.Watched, v.conn, v.upstream, nil)
			time.Sleep(3 * testTick)
			if v.Gone() || v.woken() > 0 {
				t.Fatal("gone before it left")
			}
			leave(v)
			eventually(t, "the client is gone", v.Gone)
			eventually(t, "both ends are woken", func() bool { return v.near.woken() == 1 && v.up.woken() == 1 })
			if !v.conn.interrupted.Load() {
				t.Error("the client's connection is not interrupted")
			}
			time.Sleep(5 * testTick)
			if v.woken() != 2 {
				t.Errorf("woken %d times", v.woken())
			}
			w.Remove(&v.Watched)
			if !v.Gone() {
				t.Error("gone is forgotten")
			}
			v.Reset()
			if v.Gone() {
				t.Error("gone after Reset")
			}
		})
	}
	f("close", func(v *visit) { _ = v.client.Close() })
	f("half-close", func(v *visit) { _ = v.client.CloseWrite() })
	f("reset", func(v *visit) { _ = v.client.SetLinger(0); _ = v.client.Close() })
	f("close behind pipelined bytes", func(v *visit) {
		_, _ = v.client.Write(make([]byte, 10_000))
		_ = v.client.Close()
	})
	f("reset behind pipelined bytes", func(v *visit) {
		_, _ = v.client.Write(make([]byte, 10_000))
		_ = v.client.SetLinger(0)
		_ = v.client.Close()
	})
}

// A client that only sends stays.
func TestWatchIgnoresBytes(t *testing.T) {
	w, v := newTestWatch(t), newVisit(t)
	w.Add(&v.Watched, v.conn, v.upstream, nil)
	_, _ = v.client.Write(make([]byte, 10_000))
	time.Sleep(10 * testTick)
	if v.Gone() || v.woken() > 0 {
		t.Error("a client that sent ahead counts as gone")
	}
	w.Remove(&v.Watched)
}

// A client that left before it came under watch is noticed too.
func TestWatchNoticesLate(t *testing.T) {
	w, v := newTestWatch(t), newVisit(t)
	_ = v.client.Close()
	w.Add(&v.Watched, v.conn, v.upstream, nil)
	eventually(t, "the client is gone", v.Gone)
	w.Remove(&v.Watched)
	w.Remove(&v.Watched) // twice is safe
}

// Somebody else noticed: the watch leaves the connections alone.
func TestWatchLeave(t *testing.T) {
	w, v := newTestWatch(t), newVisit(t)
	v.MarkGone()
	w.Add(&v.Watched, v.conn, v.upstream, nil)
	_ = v.client.Close()
	time.Sleep(10 * testTick)
	if !v.Gone() || v.woken() > 0 {
		t.Errorf("gone %v, woken %d", v.Gone(), v.woken())
	}
	w.Remove(&v.Watched)
}

// A connection without a descriptor cannot be watched, and does no harm.
func TestWatchInMemory(t *testing.T) {
	w := newTestWatch(t)
	c, _ := scriptedClient()
	var e Watched
	w.Add(&e, c, upstreamOf(&recorder{silent: true}), nil)
	time.Sleep(3 * testTick)
	if e.Gone() {
		t.Error("gone")
	}
	w.Remove(&e)
	if e.client != nil || e.work != nil {
		t.Error("what was removed is still held")
	}
}

func TestWatchWakesAReader(t *testing.T) {
	w, v := newTestWatch(t), newVisit(t)
	near, _ := tcpPair(t)
	up := upstreamOf(near)
	w.Add(&v.Watched, v.conn, up, nil)
	time.AfterFunc(5*testTick, func() { _ = v.client.Close() })
	within(t, patience, "Receive", func() {
		if n, err := up.Receive(make([]byte, 9), time.Hour); err == nil {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
	if !v.Gone() {
		t.Error("who wakes does not see why")
	}
	w.Remove(&v.Watched)
}

// Other work takes the place of what was watched, also if the client has left already.
func TestWatchReplace(t *testing.T) {
	w, v := newTestWatch(t), newVisit(t)
	second := &recorder{silent: true}
	w.Replace(&v.Watched, upstreamOf(second)) // not watched: nothing happens
	w.Add(&v.Watched, v.conn, v.upstream, nil)
	w.Replace(&v.Watched, upstreamOf(second))
	_ = v.client.Close()
	eventually(t, "the new work is woken", func() bool { return second.woken() == 1 })
	third := &recorder{silent: true}
	if w.Replace(&v.Watched, upstreamOf(third)); third.woken() != 1 {
		t.Error("work that comes too late is not woken")
	}
	w.Remove(&v.Watched)
	if v.up.woken() != 0 {
		t.Error("the old work was woken")
	}
}

// TestWatchRemoved: whoever is removed is never touched again, whatever goes on around, and those that stay
// are noticed when they leave.
func TestWatchRemoved(t *testing.T) {
	w := newTestWatch(t)
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			random := rand.New(rand.NewPCG(13, uint64(worker)))
			visits := make([]*visit, 6)
			for i := range visits {
				visits[i] = newVisit(t)
			}
			for range 150 {
				v := visits[random.IntN(len(visits))]
				if v.at.Load() == nil {
					w.Add(&v.Watched, v.conn, v.upstream, nil)
				} else {
					w.Remove(&v.Watched)
				}
				if random.IntN(10) == 0 {
					time.Sleep(time.Duration(random.IntN(3)) * testTick / 2)
				}
			}
			for i, v := range visits {
				if v.Gone() || v.woken() > 0 {
					t.Errorf("a client that stayed: gone %v, woken %d", v.Gone(), v.woken())
				}
				if v.at.Load() == nil && i%2 == 0 {
					w.Add(&v.Watched, v.conn, v.upstream, nil)
				} else if i%2 == 1 {
					w.Remove(&v.Watched)
				}
				_ = v.client.Close()
			}
			for i, v := range visits {
				if i%2 == 0 {
					eventually(t, "the watched client is gone", v.Gone)
					w.Remove(&v.Watched)
				}
			}
			time.Sleep(5 * testTick)
			for i, v := range visits {
				if i%2 == 1 && (v.Gone() || v.woken() > 0) {
					t.Errorf("a removed one: gone %v, woken %d", v.Gone(), v.woken())
				}
			}
		}()
	}
	wg.Wait()
	for i := range w.shards {
		if s := &w.shards[i]; len(s.entries) != 0 || len(s.polls) != 0 {
			t.Errorf("shard %d still holds %d entries, %d polls", i, len(s.entries), len(s.polls))
		}
	}
}

// TestWatchModel checks the bookkeeping of one shard against a set, step by step.
func TestWatchModel(t *testing.T) {
	w := &Watch{}
	random := rand.New(rand.NewPCG(14, 15))
	visits := make([]*visit, 40)
	for i := range visits {
		visits[i] = &visit{conn: &ClientConn{socket: socket{fd: 1000 + i}}}
	}
	under := map[*visit]bool{}
	for range 5000 {
		v := visits[random.IntN(len(visits))]
		if under[v] {
			w.Remove(&v.Watched)
			delete(under, v)
		} else {
			w.Add(&v.Watched, v.conn, nil, nil)
			under[v] = true
		}
		n := 0
		for i := range w.shards {
			s := &w.shards[i]
			if len(s.polls) != 2*len(s.entries) {
				t.Fatalf("%d polls, %d entries", len(s.polls), len(s.entries))
			}
			for j, e := range s.entries {
				if e.index != j || e.at.Load() != s || int(s.polls[2*j].Fd) != e.client.fd || s.polls[2*j+1].Fd != -1 {
					t.Fatalf("entry %d says %d, descriptor %d of %d", j, e.index, s.polls[2*j].Fd, e.client.fd)
				}
			}
			n += len(s.entries)
		}
		if n != len(under) {
			t.Fatalf("%d entries for %d under watch", n, len(under))
		}
	}
}

func TestWatchClose(t *testing.T) {
	before := goleak.IgnoreCurrent()
	w := NewWatch(testTick)
	v := newVisit(t)
	w.Add(&v.Watched, v.conn, v.upstream, nil)
	w.Close()
	goleak.VerifyNone(t, before)
	_ = v.client.Close()
	time.Sleep(3 * testTick)
	if v.Gone() {
		t.Error("watched after Close")
	}
	w.Remove(&v.Watched)
}
