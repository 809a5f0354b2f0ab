package cache

import (
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"aigateway/gateway/config"
	"aigateway/gateway/testkit"
)

func TestMain(m *testing.M) {
	testkit.Parallel("4") // what is about Redis waits for most of its time
	testkit.VerifyNoLeaks(m)
}

// testNames are those of the prefix "gw".
var testNames = namesOf("gw")

// A server is a Redis, and what of it is ours.
type server struct{ *testkit.Redis }

func startServer(t testing.TB, args ...string) *server {
	t.Helper()
	return &server{testkit.StartRedis(t, args...)}
}

// has reports whether the record of a text is in Redis.
func (r *server) has(text string) bool {
	r.T.Helper()
	return r.Do("EXISTS", testNames.of(keyOf(text))) == ":1"
}

// size is the number of records, or what else is under our names or others', but for the mark.
func (r *server) size() int {
	r.T.Helper()
	n, err := strconv.Atoi(r.Do("DBSIZE")[1:])
	if err != nil {
		r.T.Fatal(err)
	}
	if r.Do("EXISTS", testNames.mark()) == ":1" {
		n--
	}
	return n
}

func eventually(t testing.TB, what string, f func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !f() {
		if time.Since(began) > testkit.Patience {
			t.Fatalf("it did not come about that %s", what)
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(began)
}

// openShared opens a Store on Redis and waits until it trusts its memory.
func openShared(t testing.TB, addr string, change func(*RedisOptions)) *Store {
	t.Helper()
	o := RedisOptions{Redis: config.Redis{Prefix: "gw", Addrs: []string{addr}}, ReadTimeout: mostTimeout, OnState: func(s RedisState, err error) { t.Log(s, err) }}
	if change != nil {
		change(&o)
	}
	s := openTestStore(t, Options{Redis: &o})
	s.ready(t)
	return s
}

func (s *Store) ready(t testing.TB) time.Duration {
	t.Helper()
	return eventually(t, "redis is trusted and read", func() bool {
		st := s.Stats()
		return st.Redis.Trusted && !st.Redis.Resting
	})
}

// keep stores a record and waits until it is in both tiers.
func (s *Store) keep(t testing.TB, text string, body int) {
	t.Helper()
	k := keyOf(text)
	eventually(t, text+" is stored", func() bool {
		if !s.set(text, body) {
			return false
		}
		s.idle(t)
		_, ok := s.memory.get(nil, &k)
		return ok
	})
}

func (s *Store) idle(t testing.TB) {
	t.Helper()
	eventually(t, "the queue is empty", func() bool { return s.Stats().Redis.Queued == 0 })
}

// A detour is a proxy in front of Redis that can be told to swallow everything, in both directions, or to be slow.
type detour struct {
	addr    string
	swallow atomic.Bool
	delay   atomic.Int64 // nanoseconds, each way
	mu      sync.Mutex
	conns   []net.Conn
}

func startDetour(t testing.TB, to string) *detour {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &detour{addr: l.Addr().String()}
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			w.mu.Lock()
			w.conns = append(w.conns, in, out)
			w.mu.Unlock()
			wait.Go(func() { w.copy(in, out) })
			wait.Go(func() { w.copy(out, in) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		w.mu.Lock()
		for _, c := range w.conns {
			c.Close()
		}
		w.mu.Unlock()
		wait.Wait()
	})
	return w
}

func (w *detour) copy(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if w.swallow.Load() {
			continue
		}
		time.Sleep(time.Duration(w.delay.Load()))
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}
