package server

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Pools of several upstreams of which some are sick.

// fileOfPool is a file with a pool p of these upstreams for /infer/python; more goes into the pool.
func fileOfPool(more string, urls ...string) string {
	var list []string
	for _, u := range urls {
		list = append(list, fmt.Sprintf("{url: %q}", u))
	}
	return fmt.Sprintf("pools:\n  p:\n    upstreams: [%s]\n%s\nroutes: [{path: \"/infer/python\", pool: p}]\n", strings.Join(list, ", "), more)
}

// startNaming starts an upstream that answers with the names of its requests, or as change says.
func startNaming(t *testing.T, change func(c *peer, r message) (done bool)) (*scripted, *tally) {
	t.Helper()
	seen := &tally{}
	return startUpstream(t, func(_ int, c *peer) {
		for {
			r := c.readRequest()
			if r.err != nil {
				return
			}
			seen.add(r.name())
			if change == nil || !change(c, r) {
				c.send("%s", answer(r.name()))
			}
		}
	}), seen
}

// An upstream whose requests time out is left alone after a few of them, though its health page is fine, and is
// asked again after a while; while another is there, nobody waits for that.
func TestSilentUpstreamIsLeftAlone(t *testing.T) {
	var silent atomic.Bool
	silent.Store(true)
	sick, sickSeen := startNaming(t, func(c *peer, _ message) bool {
		if silent.Load() {
			c.closed()
			return true
		}
		return false
	})
	well, _ := startNaming(t, nil)
	g := startGatewayFile(t, fileOfPool("    balance: round_robin", sick.URL, well.URL), "RESPONSE_TIMEOUT=150ms")
	eventually(t, "both were probed", func() bool { return strings.Count(g.log.String(), "upstream is healthy") >= 2 })
	c := g.dial()
	timeouts := 0
	for i := range 40 {
		c.send("%s", ask("POST", fmt.Sprint("n", i)))
		if r := c.readResponse(); r.status() == 504 {
			timeouts++
		} else if r.status() != 200 {
			t.Fatalf("request %d got %q", i, r.first)
		}
	}
	if timeouts == 0 || timeouts > 12 { // three at most, each time that it is tried again
		t.Errorf("%d of 40 requests timed out", timeouts)
	}
	silent.Store(false)
	before := sickSeen.of("back")
	eventually(t, "the upstream has requests again", func() bool {
		c.send("%s", ask("GET", "back"))
		c.readResponse()
		return sickSeen.of("back") > before
	})
}

// 502, 503 and 504 speak against an upstream; 500 does not, which may be a request's own fault. They never shut a lone one, and
// one that others do better than is passed by.
func TestWhichAnswersAreStrikes(t *testing.T) {
	for _, status := range []int{500, 502, 503, 504, 404} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			sick, seen := startNaming(t, func(c *peer, _ message) bool {
				c.send("HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n", status)
				return true
			})
			well, _ := startNaming(t, nil)
			g := startGatewayFile(t, fileOfPool("", sick.URL))
			c := g.dial()
			for range 30 {
				c.send("%s", ask("GET", "x"))
				if r := c.readResponse(); r.status() != status {
					t.Errorf("alone: got %q", r.first)
				}
			}
			if page := g.do("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").body; !strings.Contains(page, `breaker_state{pool="p",upstream="`+sick.URL+`"} 0`) {
				t.Error("alone: breaker_state is not 0")
			}
			g = startGatewayFile(t, fileOfPool("    balance: round_robin", sick.URL, well.URL))
			eventually(t, "both were probed", func() bool { return strings.Count(g.log.String(), "upstream is healthy") >= 2 })
			c = g.dial()
			open := func() bool {
				c.send("%s", ask("GET", "x"))
				c.readResponse()
				page := g.do("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").body
				return strings.Contains(page, `"state":"open","reason":"upstream_unavailable, while others of the pool answer"`)
			}
			if status >= 502 && status <= 504 {
				eventually(t, "it is passed by", open)
				if log := g.log.String(); !strings.Contains(log, `"state":"open","reason":"upstream_unavailable, while`) {
					t.Errorf("the log does not say why: %s", log)
				}
				return
			}
			before := seen.of("x")
			for range 100 {
				if open() {
					t.Fatal("it is passed by")
				}
			}
			if n := seen.of("x") - before; n != 50 {
				t.Errorf("asked %d times of 100", n)
			}
		})
	}
}

// Upstreams that swallow connections: when the breakers are open the answer is there at once, and each of them is
// probed once a second at most.
func TestBlackHoles(t *testing.T) {
	var mu sync.Mutex
	dialled := map[string][]time.Time{}
	dial := func(addr string) (net.Conn, error) {
		mu.Lock()
		dialled[addr] = append(dialled[addr], time.Now())
		mu.Unlock()
		time.Sleep(20 * time.Millisecond)
		return nil, os.ErrDeadlineExceeded
	}
	s := loadSettings(t, fileOfPool("", "http://10.255.0.1", "http://10.255.0.2", "http://10.255.0.3"), nil)
	g := serve(t, s, Options{Dial: dial}, nil)
	c := g.dial()
	opened := func() bool {
		c.send("%s", ask("GET", "x"))
		r := c.readResponse()
		return r.status() == 503 && strings.Contains(r.body, "no_upstream")
	}
	eventually(t, "the breakers open", opened)
	mu.Lock()
	clear(dialled)
	mu.Unlock()
	best, begun := time.Hour, time.Now()
	for time.Since(begun) < 2500*time.Millisecond {
		asked := time.Now()
		c.send("%s", ask("POST", "x"))
		r := c.readResponse()
		if best = min(best, time.Since(asked)); r.status() == 503 && r.field("Retry-After") < "1" {
			t.Errorf("%q without Retry-After", r.first)
		}
		time.Sleep(5 * time.Millisecond)
	}
	if best > 5*time.Millisecond {
		t.Errorf("the fastest answer took %v", best)
	}
	mu.Lock()
	defer mu.Unlock()
	for addr, times := range dialled {
		if !strings.HasPrefix(addr, "10.255.") {
			continue
		}
		for i := range len(times) - 1 {
			if apart := times[i+1].Sub(times[i]); apart < 900*time.Millisecond {
				t.Errorf("%s was dialled twice within %v: %v", addr, apart, times)
			}
		}
	}
}

// A pool that answers 502, 503 or 504 has its fallback asked, if the request may be repeated and the fallback is
// well; otherwise the client gets that answer.
func TestFallbackForAnUnavailablePool(t *testing.T) {
	f := func(method string, status int, second bool, want int) {
		t.Helper()
		python, seen := startNaming(t, func(c *peer, _ message) bool {
			c.send("HTTP/1.1 %d No\r\nContent-Length: 4\r\n\r\nbusy", status)
			return true
		})
		node, nodeSeen := startNaming(t, nil)
		fallback := node.URL
		if !second {
			fallback = refusing(t)
		}
		g := startGatewayFile(t, "routes: [{path: /both, pool: python, fallback: node}]",
			"PY_SERVICE_URL="+python.URL, "NODE_SERVICE_URL="+fallback)
		eventually(t, "the backends were probed", func() bool {
			return g.proxy.Pool("python").Healthy() && g.proxy.Pool("node").Healthy() == second
		})
		r := g.do(askAt("/both", method, "x"))
		asked := 0
		if want == 200 {
			asked = 1
		}
		if r.status() != want || seen.of("x") != 1 || nodeSeen.of("x") != asked {
			t.Errorf("%s, %d, fallback well %v: got %q %q; python was asked %d times, node %d", method, status, second,
				r.first, r.body, seen.of("x"), nodeSeen.of("x"))
		}
	}
	for _, status := range []int{502, 503, 504} {
		f("GET", status, true, 200)
		f("PUT", status, true, 200)
		f("POST", status, true, status)
		f("GET", status, false, status)
	}
	f("GET", 500, true, 500)
}

// A request whose used connection breaks goes to another upstream, once.
func TestRetryGoesElsewhere(t *testing.T) {
	breaks, seen := startNaming(t, func(c *peer, r message) bool {
		if r.name() == "odd" {
			c.Close()
			return true
		}
		return false
	})
	g := startGatewayFile(t, fileOfPool("    balance: round_robin", breaks.URL))
	_ = g.do(ask("GET", "warm"))
	r := g.do(ask("GET", "odd"))
	if r.status() != 502 || seen.of("odd") != 2 {
		t.Errorf("alone: got %q after %d attempts, want 502 after 2", r.first, seen.of("odd"))
	}
	other, otherSeen := startNaming(t, nil)
	g = startGatewayFile(t, fileOfPool("    balance: round_robin", breaks.URL, other.URL))
	eventually(t, "both were probed", func() bool { return strings.Count(g.log.String(), "upstream is healthy") >= 2 })
	for range 4 {
		g.do(ask("GET", "warm"))
	}
	before := seen.of("odd")
	for range 4 {
		if r := g.do(ask("GET", "odd")); r.status() != 200 || r.body != "odd" {
			// Only a connection that was never used may fail.
			t.Logf("got %q", r.first)
		}
	}
	if seen.of("odd") > before+4 || otherSeen.of("odd") < 2 {
		t.Errorf("the one that breaks was asked %d times, the other %d", seen.of("odd")-before, otherSeen.of("odd"))
	}
	if page := g.do("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").body; !strings.Contains(page, `upstream_retries_total{reason="reused_connection"} `) {
		t.Error("retries are not counted")
	}
}

// holding is an upstream that keeps requests named "hold…" until they are let go.
type holding struct {
	*scripted
	seen *tally
	free chan struct{} // a value lets one request go
}

func startHolding(t *testing.T) *holding {
	h := &holding{free: make(chan struct{}, 100)}
	h.scripted, h.seen = startNaming(t, func(c *peer, r message) bool {
		if strings.HasPrefix(r.name(), "hold") {
			<-h.free
		}
		return false
	})
	t.Cleanup(func() { // before the upstream ends: cleanups run in reverse
		for range cap(h.free) {
			select {
			case h.free <- struct{}{}:
			default:
			}
		}
	})
	return h
}

// Requests that find the pool full wait in their order, up to the size of the queue and for its time; a client
// that leaves frees its place at once.
func TestQueue(t *testing.T) {
	up := startHolding(t)
	g := startGatewayFile(t, fileOfPool("    max_inflight: 2\n    queue: {size: 2, wait: 15s}", up.URL))
	begin := func(name string) *peer {
		c := g.dial()
		c.send("%s", ask("POST", name))
		return c
	}
	waiting := func(n int64) {
		t.Helper()
		eventually(t, fmt.Sprintf("%d wait", n), func() bool { return g.proxy.Pool("p").Queue().Length == n })
	}
	a, b := begin("hold-a"), begin("hold-b")
	eventually(t, "both are there", func() bool { return up.seen.of("hold-a")+up.seen.of("hold-b") == 2 })
	c := begin("c")
	waiting(1)
	d := begin("d")
	waiting(2)
	r := g.do(ask("GET", "one too many"[:3]))
	if wantFault(t, r, 503, "upstream_busy", false); r.field("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	left := time.Now()
	c.Close()
	waiting(1)
	wantQuick(t, "the place of a client that left", left, 5*time.Second)
	e := begin("hold-e")
	waiting(2)
	up.free <- struct{}{} // one of a, b: d goes, then e
	if r := d.readResponse(); r.body != "d" {
		t.Errorf("d got %q, %v", r.first, r.err)
	}
	eventually(t, "e has its turn", func() bool { return up.seen.of("hold-e") == 1 })
	up.free <- struct{}{}
	up.free <- struct{}{}
	for _, p := range []*peer{a, b, e} {
		if r := p.readResponse(); r.status() != 200 {
			t.Errorf("got %q, %v", r.first, r.err)
		}
	}
	if up.seen.of("c") != 0 {
		t.Error("the request of the client that left was sent")
	}
	if q := g.proxy.Pool("p").Queue(); q.Refused != 1 || q.Admitted != 2 || q.Late != 0 {
		t.Errorf("queue: %+v", q)
	}
}

// Who waits for too long is told so.
func TestQueueTimesOut(t *testing.T) {
	up := startHolding(t)
	g := startGatewayFile(t, fileOfPool("    max_inflight: 1\n    queue: {wait: 100ms}", up.URL))
	a := g.dial()
	a.send("%s", ask("GET", "hold"))
	eventually(t, "it is there", func() bool { return up.seen.of("hold") == 1 })
	begun := time.Now()
	wantFault(t, g.do(ask("GET", "late")), 503, "upstream_busy", false)
	if took := time.Since(begun); took < 100*time.Millisecond || took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	if up.seen.of("late") != 0 {
		t.Error("it was sent all the same")
	}
	if page := g.do("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").body; !strings.Contains(page, `upstream_queue_waits_total{pool="p",outcome="timeout"} 1`) {
		t.Error("it is not counted")
	}
}

// A client that leaves while the gateway tries to connect ends the attempt.
func TestClientLeavesDuringConnect(t *testing.T) {
	g := startGatewayFile(t, fileOfPool("    timeouts: {connect: 19s}", blackHole(t)))
	c := g.dial()
	c.send("%s", ask("POST", "x"))
	eventually(t, "the request is under way", func() bool { return !g.idle() })
	left := time.Now()
	c.Close()
	eventually(t, "the request has ended", g.idle)
	wantQuick(t, "noticing", left, 5*time.Second)
}

// blackHole is the URL of a port that takes no further connection and refuses none: its backlog is full.
func blackHole(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	for range 5 {
		conn, err := net.DialTimeout("tcp", addr, 300*time.Millisecond)
		if err != nil {
			return "http://" + addr
		}
		t.Cleanup(func() { conn.Close() })
	}
	t.Skip("cannot fill a backlog here")
	return ""
}

// Requests of one user go to one upstream, those of all users to all.
func TestHashByHeader(t *testing.T) {
	var urls []string
	var mu sync.Mutex
	at := map[string][]int{} // user → upstreams
	for i := range 3 {
		up, _ := startNaming(t, func(_ *peer, r message) bool {
			mu.Lock()
			defer mu.Unlock()
			if user := r.field("X-User"); !slices.Contains(at[user], i) {
				at[user] = append(at[user], i)
			}
			return false
		})
		urls = append(urls, up.URL)
	}
	g := startGatewayFile(t, fileOfPool("    balance: hash\n    hash: {by: header, name: x-USER}", urls...))
	eventually(t, "all were probed", func() bool { return strings.Count(g.log.String(), "upstream is healthy") >= 3 })
	c := g.dial()
	used := map[int]bool{}
	for i := range 200 {
		user := fmt.Sprint("u", i%40)
		c.send("GET /infer/python?%s HTTP/1.1\r\nHost: a\r\nX-User: %s\r\n\r\n", user, user)
		if r := c.readResponse(); r.status() != 200 {
			t.Fatalf("got %q", r.first)
		}
	}
	for user, all := range at {
		if len(all) != 1 {
			t.Errorf("%s was at %v", user, all)
		}
		used[all[0]] = true
	}
	if len(used) != 3 {
		t.Errorf("only %d upstreams were used", len(used))
	}
}
