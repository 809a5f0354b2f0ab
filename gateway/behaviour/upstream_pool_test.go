package behaviour

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

	"aigateway/gateway/server"
	"aigateway/gateway/testkit"
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
func startNaming(t *testing.T, change func(c *testkit.Peer, r testkit.Message) (done bool)) (*testkit.Upstream, *testkit.Tally) {
	t.Helper()
	seen := &testkit.Tally{}
	return testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for {
			r := c.ReadRequest()
			if r.Err != nil {
				return
			}
			seen.Add(r.Name())
			if change == nil || !change(c, r) {
				c.Send("%s", testkit.Answer(r.Name()))
			}
		}
	}), seen
}

// An upstream whose requests time out is left alone after a few of them, though its health page is fine, and is
// asked again after a while; while another is there, nobody waits for that.
func TestSilentUpstreamIsLeftAlone(t *testing.T) {
	t.Parallel()
	var silent atomic.Bool
	silent.Store(true)
	sick, sickSeen := startNaming(t, func(c *testkit.Peer, _ testkit.Message) bool {
		if silent.Load() {
			c.Closed()
			return true
		}
		return false
	})
	well, _ := startNaming(t, nil)
	g := startGatewayFile(t, fileOfPool("    balance: round_robin", sick.URL, well.URL), "RESPONSE_TIMEOUT=150ms")
	testkit.Eventually(t, "both were probed", func() bool { return strings.Count(g.Log.String(), "upstream is healthy") >= 2 })
	c := g.Dial()
	timeouts := 0
	for i := range 40 {
		c.Send("%s", testkit.Ask("POST", fmt.Sprint("n", i)))
		if r := c.ReadResponse(); r.Status() == 504 {
			timeouts++
		} else if r.Status() != 200 {
			t.Fatalf("request %d got %q", i, r.First)
		}
	}
	if timeouts == 0 || timeouts > 12 { // three at most, each time that it is tried again
		t.Errorf("%d of 40 requests timed out", timeouts)
	}
	silent.Store(false)
	before := sickSeen.Of("back")
	testkit.Eventually(t, "the upstream has requests again", func() bool {
		c.Send("%s", testkit.Ask("GET", "back"))
		c.ReadResponse()
		return sickSeen.Of("back") > before
	})
}

// 502, 503 and 504 speak against an upstream; 500 does not, which may be a request's own fault. They never shut a lone one, and
// one that others do better than is passed by.
func TestWhichAnswersAreStrikes(t *testing.T) {
	t.Parallel()
	for _, status := range []int{500, 502, 503, 504, 404} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			sick, seen := startNaming(t, func(c *testkit.Peer, _ testkit.Message) bool {
				c.Send("HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n", status)
				return true
			})
			well, _ := startNaming(t, nil)
			g := startGatewayFile(t, fileOfPool("", sick.URL))
			c := g.Dial()
			for range 30 {
				c.Send("%s", testkit.Ask("GET", "x"))
				if r := c.ReadResponse(); r.Status() != status {
					t.Errorf("alone: got %q", r.First)
				}
			}
			if page := g.Do("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").Body; !strings.Contains(page, `breaker_state{pool="p",upstream="`+sick.URL+`"} 0`) {
				t.Error("alone: breaker_state is not 0")
			}
			g = startGatewayFile(t, fileOfPool("    balance: round_robin\n    refusals: [429]", sick.URL, well.URL)) // who refuses is left alone before
			testkit.Eventually(t, "both were probed", func() bool { return strings.Count(g.Log.String(), "upstream is healthy") >= 2 })
			c = g.Dial()
			open := func() bool {
				c.Send("%s", testkit.Ask("POST", "x")) // a GET would be sent again
				c.ReadResponse()
				page := g.Do("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").Body
				return strings.Contains(page, `"state":"open","reason":"upstream_unavailable, while others of the pool answer"`)
			}
			if status >= 502 && status <= 504 {
				testkit.Eventually(t, "it is passed by", open)
				testkit.Eventually(t, "the log says why", func() bool {
					return strings.Contains(g.Log.String(), `"state":"open","reason":"upstream_unavailable, while`)
				})
				return
			}
			before := seen.Of("x")
			for range 100 {
				if open() {
					t.Fatal("it is passed by")
				}
			}
			if n := seen.Of("x") - before; n != 50 {
				t.Errorf("asked %d times of 100", n)
			}
		})
	}
}

// Upstreams that swallow connections: when the breakers are open the answer is there at once, and each of them is
// probed once a second at most.
func TestBlackHoles(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	dialled := map[string][]time.Time{}
	dial := func(addr string) (net.Conn, error) {
		mu.Lock()
		dialled[addr] = append(dialled[addr], time.Now())
		mu.Unlock()
		time.Sleep(20 * time.Millisecond)
		return nil, os.ErrDeadlineExceeded
	}
	s := testkit.Settings(t, fileOfPool("", "http://10.255.0.1", "http://10.255.0.2", "http://10.255.0.3"), nil)
	g := serve(t, s, server.Options{Dial: dial})
	c := g.Dial()
	opened := func() bool {
		c.Send("%s", testkit.Ask("GET", "x"))
		r := c.ReadResponse()
		return r.Status() == 503 && strings.Contains(r.Body, "no_upstream")
	}
	testkit.Eventually(t, "the breakers open", opened)
	mu.Lock()
	clear(dialled)
	mu.Unlock()
	best, begun := time.Hour, time.Now()
	for time.Since(begun) < 2500*time.Millisecond {
		asked := time.Now()
		c.Send("%s", testkit.Ask("POST", "x"))
		r := c.ReadResponse()
		if best = min(best, time.Since(asked)); r.Status() == 503 && r.Field("Retry-After") < "1" {
			t.Errorf("%q without Retry-After", r.First)
		}
		time.Sleep(5 * time.Millisecond)
	}
	if best >= 20*time.Millisecond { // which is what it takes to dial
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
		python, seen := startNaming(t, func(c *testkit.Peer, _ testkit.Message) bool {
			c.Send("HTTP/1.1 %d No\r\nContent-Length: 4\r\n\r\nbusy", status)
			return true
		})
		node, nodeSeen := startNaming(t, nil)
		fallback := node.URL
		if !second {
			fallback = testkit.Refusing(t)
		}
		g := startGatewayFile(t, "routes: [{path: /both, pool: python, fallback: node}]",
			"PY_SERVICE_URL="+python.URL, "NODE_SERVICE_URL="+fallback)
		testkit.Eventually(t, "the backends were probed", func() bool {
			return g.Parts().Proxy.Pool("python").Healthy() && g.Parts().Proxy.Pool("node").Healthy() == second
		})
		r := g.Do(testkit.AskAt("/both", method, "x"))
		asked := 0
		if want == 200 {
			asked = 1
		}
		if r.Status() != want || seen.Of("x") != 1 || nodeSeen.Of("x") != asked {
			t.Errorf("%s, %d, fallback well %v: got %q %q; python was asked %d times, node %d", method, status, second,
				r.First, r.Body, seen.Of("x"), nodeSeen.Of("x"))
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
	breaks, seen := startNaming(t, func(c *testkit.Peer, r testkit.Message) bool {
		if r.Name() == "odd" {
			c.Close()
			return true
		}
		return false
	})
	g := startGatewayFile(t, fileOfPool("    balance: round_robin", breaks.URL))
	_ = g.Do(testkit.Ask("GET", "warm"))
	r := g.Do(testkit.Ask("GET", "odd"))
	if r.Status() != 502 || seen.Of("odd") != 2 {
		t.Errorf("alone: got %q after %d attempts, want 502 after 2", r.First, seen.Of("odd"))
	}
	other, otherSeen := startNaming(t, nil)
	g = startGatewayFile(t, fileOfPool("    balance: round_robin", breaks.URL, other.URL))
	testkit.Eventually(t, "both were probed", func() bool { return strings.Count(g.Log.String(), "upstream is healthy") >= 2 })
	for range 4 {
		g.Do(testkit.Ask("GET", "warm"))
	}
	before := seen.Of("odd")
	for range 4 {
		if r := g.Do(testkit.Ask("GET", "odd")); r.Status() != 200 || r.Body != "odd" {
			// Only a connection that was never used may fail.
			t.Logf("got %q", r.First)
		}
	}
	if seen.Of("odd") > before+4 || otherSeen.Of("odd") < 2 {
		t.Errorf("the one that breaks was asked %d times, the other %d", seen.Of("odd")-before, otherSeen.Of("odd"))
	}
	if page := g.Do("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").Body; !strings.Contains(page, `upstream_retries_total{reason="reused_connection"} `) {
		t.Error("retries are not counted")
	}
}

// holding is an upstream that keeps requests named "hold…" until they are let go.
type holding struct {
	*testkit.Upstream
	seen *testkit.Tally
	free chan struct{} // a value lets one request go
}

func startHolding(t *testing.T) *holding {
	h := &holding{free: make(chan struct{}, 100)}
	h.Upstream, h.seen = startNaming(t, func(c *testkit.Peer, r testkit.Message) bool {
		if strings.HasPrefix(r.Name(), "hold") {
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
	t.Parallel()
	up := startHolding(t)
	g := startGatewayFile(t, fileOfPool("    max_inflight: 2\n    queue: {size: 2, wait: 15s}", up.URL))
	begin := func(name string) *testkit.Peer {
		c := g.Dial()
		c.Send("%s", testkit.Ask("POST", name))
		return c
	}
	waiting := func(n int64) {
		t.Helper()
		testkit.Eventually(t, fmt.Sprintf("%d wait", n), func() bool { return g.Parts().Proxy.Pool("p").Queue().Length == n })
	}
	a, b := begin("hold-a"), begin("hold-b")
	testkit.Eventually(t, "both are there", func() bool { return up.seen.Of("hold-a")+up.seen.Of("hold-b") == 2 })
	c := begin("c")
	waiting(1)
	d := begin("d")
	waiting(2)
	r := g.Do(testkit.Ask("GET", "one too many"[:3]))
	if testkit.WantFault(t, r, 503, "upstream_busy", false); r.Field("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	left := time.Now()
	c.Close()
	waiting(1)
	testkit.WantQuick(t, "the place of a client that left", left, 5*time.Second)
	e := begin("hold-e")
	waiting(2)
	up.free <- struct{}{} // one of a, b: d goes, then e
	if r := d.ReadResponse(); r.Body != "d" {
		t.Errorf("d got %q, %v", r.First, r.Err)
	}
	testkit.Eventually(t, "e has its turn", func() bool { return up.seen.Of("hold-e") == 1 })
	up.free <- struct{}{}
	up.free <- struct{}{}
	for _, p := range []*testkit.Peer{a, b, e} {
		if r := p.ReadResponse(); r.Status() != 200 {
			t.Errorf("got %q, %v", r.First, r.Err)
		}
	}
	if up.seen.Of("c") != 0 {
		t.Error("the request of the client that left was sent")
	}
	if q := g.Parts().Proxy.Pool("p").Queue(); q.Refused != 1 || q.Admitted != 2 || q.Late != 0 {
		t.Errorf("queue: %+v", q)
	}
}

// Who waits for too long is told so.
func TestQueueTimesOut(t *testing.T) {
	t.Parallel()
	up := startHolding(t)
	g := startGatewayFile(t, fileOfPool("    max_inflight: 1\n    queue: {wait: 100ms}", up.URL))
	a := g.Dial()
	a.Send("%s", testkit.Ask("GET", "hold"))
	testkit.Eventually(t, "it is there", func() bool { return up.seen.Of("hold") == 1 })
	begun := time.Now()
	testkit.WantFault(t, g.Do(testkit.Ask("GET", "late")), 503, "upstream_busy", false)
	if took := time.Since(begun); took < 100*time.Millisecond || took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	if up.seen.Of("late") != 0 {
		t.Error("it was sent all the same")
	}
	if page := g.Do("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").Body; !strings.Contains(page, `upstream_queue_waits_total{pool="p",outcome="timeout"} 1`) {
		t.Error("it is not counted")
	}
}

// A client that leaves while the gateway tries to connect ends the attempt.
func TestClientLeavesDuringConnect(t *testing.T) {
	t.Parallel()
	g := startGatewayFile(t, fileOfPool("    timeouts: {connect: 50s}", blackHole(t)))
	c := g.Dial()
	c.Send("%s", testkit.Ask("POST", "x"))
	testkit.Eventually(t, "the request is under way", func() bool { return !g.idle() })
	left := time.Now()
	c.Close()
	testkit.Eventually(t, "the request has ended", g.idle)
	testkit.WantQuick(t, "noticing", left, 5*time.Second)
}

// blackHole is the URL of a port that takes no further connection and refuses none: its backlog is full.
func blackHole(t testing.TB) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	syscall.CloseOnExec(fd)
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
	for range 10 {
		c, err := net.DialTimeout("tcp", addr, 200*time.Millisecond)
		if err != nil {
			if ne, ok := err.(net.Error); ok && ne.Timeout() {
				return "http://" + addr
			}
			t.Skipf("cannot make a port at which connecting hangs: %v", err)
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Skip("cannot make a port at which connecting hangs: the queue never fills")
	return ""
}

// Requests of one user go to one upstream, those of all users to all.
func TestHashByHeader(t *testing.T) {
	t.Parallel()
	var urls []string
	var mu sync.Mutex
	at := map[string][]int{} // user → upstreams
	for i := range 3 {
		up, _ := startNaming(t, func(_ *testkit.Peer, r testkit.Message) bool {
			mu.Lock()
			defer mu.Unlock()
			if user := r.Field("X-User"); !slices.Contains(at[user], i) {
				at[user] = append(at[user], i)
			}
			return false
		})
		urls = append(urls, up.URL)
	}
	g := startGatewayFile(t, fileOfPool("    balance: hash\n    hash: {by: header, name: x-USER}", urls...))
	testkit.Eventually(t, "all were probed", func() bool { return strings.Count(g.Log.String(), "upstream is healthy") >= 3 })
	c := g.Dial()
	used := map[int]bool{}
	for i := range 200 {
		user := fmt.Sprint("u", i%40)
		c.Send("GET /infer/python?%s HTTP/1.1\r\nHost: a\r\nX-User: %s\r\n\r\n", user, user)
		if r := c.ReadResponse(); r.Status() != 200 {
			t.Fatalf("got %q", r.First)
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
