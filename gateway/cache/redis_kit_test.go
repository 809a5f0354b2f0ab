package cache

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"aigateway/gateway/config"
)

// testNames are those of the prefix "gw".
var testNames = namesOf("gw")

// A server is a real Redis, on a port of its own, without a disk.
type server struct {
	t    testing.TB
	addr string
	args []string
	cmd  *exec.Cmd
}

func startServer(t testing.TB, args ...string) *server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skipf("%s: no redis-server here (apt-get install redis-server)", t.Name())
	}
	r := &server{t: t, addr: freeAddr(t), args: args}
	r.start()
	t.Cleanup(r.kill)
	return r
}

func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (r *server) start() {
	r.t.Helper()
	_, port, _ := net.SplitHostPort(r.addr)
	args := append([]string{"--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"}, r.args...)
	r.cmd = exec.Command("redis-server", args...)
	r.cmd.Dir = r.t.TempDir()
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	eventually(r.t, "redis starts", func() bool {
		reply, err := r.try("PING")
		return err == nil && (reply == "+PONG" || strings.HasPrefix(reply, "-NOAUTH"))
	})
}

func (r *server) kill() {
	if r.cmd != nil {
		r.cmd.Process.Kill()
		r.cmd.Wait()
		r.cmd = nil
	}
}

func (r *server) signal(s syscall.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.t.Fatal(err)
	}
}

// try sends one command and returns the first line of the reply, of a bulk string what is in it.
func (r *server) try(words ...string) (string, error) {
	c, err := net.DialTimeout("tcp", r.addr, time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(2 * time.Second))
	fmt.Fprintf(c, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(c, "$%d\r\n%s\r\n", len(w), w)
	}
	in := bufio.NewReader(c)
	line, err := in.ReadString('\n')
	if line = strings.TrimSpace(line); strings.HasPrefix(line, "$") && line != "$-1" {
		n, _ := strconv.Atoi(line[1:])
		text := make([]byte, n)
		_, err = io.ReadFull(in, text)
		return string(text), err
	}
	return line, err
}

func (r *server) do(words ...string) string {
	r.t.Helper()
	line, err := r.try(words...)
	if err != nil || strings.HasPrefix(line, "-") {
		r.t.Fatalf("%.80q: %s %v", words, line, err)
	}
	return line
}

// has reports whether the record of a text is in Redis.
func (r *server) has(text string) bool {
	r.t.Helper()
	return r.do("EXISTS", testNames.of(keyOf(text))) == ":1"
}

// size is the number of records, or what else is under our names or others', but for the mark.
func (r *server) size() int {
	r.t.Helper()
	n, err := strconv.Atoi(r.do("DBSIZE")[1:])
	if err != nil {
		r.t.Fatal(err)
	}
	if r.do("EXISTS", testNames.mark()) == ":1" {
		n--
	}
	return n
}

func eventually(t testing.TB, what string, f func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !f() {
		if time.Since(began) > 10*time.Second {
			t.Fatalf("not within 10 s: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(began)
}

// noLeak fails if a goroutine outlives what is begun after it.
func noLeak(t testing.TB) {
	t.Helper()
	current := goleak.IgnoreCurrent()
	slow := goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*call).DelayDo.func1") // sleeps for a second
	t.Cleanup(func() { goleak.VerifyNone(t, current, slow) })
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
