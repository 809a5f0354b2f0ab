package behaviour

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"aigateway/gateway/server"
	"aigateway/gateway/testkit"
)

// Requests that wait for a place at an upstream, or for an upstream.

// An engine is an upstream that can be drained and started again, at the same address.
type engine struct {
	t     *testing.T
	addr  string
	serve http.HandlerFunc
	sick  atomic.Bool // its page says so
	stop  func()
}

func newEngine(t *testing.T, serve http.HandlerFunc) *engine {
	e := &engine{t: t, addr: fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t)), serve: serve}
	t.Cleanup(func() {
		if e.stop != nil {
			e.stop()
		}
	})
	return e
}

func (e *engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path != "/healthz":
		e.serve(w, r)
	case e.sick.Load():
		w.WriteHeader(503)
	}
}

func (e *engine) start() {
	ln, err := net.Listen("tcp", e.addr)
	if err != nil {
		e.t.Fatal(err)
	}
	s := &http.Server{Handler: e}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(ln) }()
	e.stop = func() {
		_ = s.Shutdown(context.Background())
		<-done
		e.stop = nil
	}
}

// askAs sends a request on a connection of its own, for a client of that address, and returns the status and the body.
func (g *testGateway) askAs(name, client, fields string) (status int, body string, err error) {
	conn, err := net.Dial("tcp", g.Addr)
	if err != nil {
		return 0, "", err
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /infer/python?%s HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: %s\r\n%sContent-Length: 4\r\n\r\nbody", name, client, fields)
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, "", err
	}
	defer r.Body.Close()
	b := make([]byte, 1000)
	n, _ := r.Body.Read(b)
	return r.StatusCode, string(b[:n]), nil
}

func (g *testGateway) healthy() bool { return g.Parts().Proxy.Pool("p").Healthy() }

// A roll-out: all engines drain, for a while there are none, and then they come back; requests come all the time. None fails, none
// is done twice, and those of a client are done in their order, up to what is in flight at once. At its whole length there are none for
// half a minute.
func TestRollOut(t *testing.T) {
	t.Parallel()
	const clients, places = 6, 3
	each, pace, none := 60, 20*time.Millisecond, time.Duration(0)
	if testkit.Soak {
		each, pace, none = 400, 100*time.Millisecond, 30*time.Second
	}
	var mu sync.Mutex
	done := map[string]int{}
	order := make([][]int, clients)
	serve := func(w http.ResponseWriter, r *http.Request) {
		var client, n int
		fmt.Sscanf(r.URL.RawQuery, "c%d-%d", &client, &n)
		mu.Lock()
		done[r.URL.RawQuery]++
		order[client] = append(order[client], n)
		mu.Unlock()
		time.Sleep(2 * time.Millisecond)
		fmt.Fprint(w, r.URL.RawQuery)
	}
	var engines []*engine
	var urls []string
	for range places {
		e := newEngine(t, serve)
		e.start()
		engines, urls = append(engines, e), append(urls, "http://"+e.addr)
	}
	g := startGatewayFile(t, fileOfPool("    max_inflight: 1\n    queue: {size: 5000, wait: 5m}\n    waiting_room: {size: 5000}\n    health: {interval: 100ms}", urls...))
	testkit.Eventually(t, "all are healthy", func() bool { return strings.Count(g.Log.String(), "upstream is healthy") >= places })
	gone := make(chan struct{})
	allGone := sync.OnceFunc(func() { close(gone) })
	defer allGone()
	var all sync.WaitGroup
	for c := range clients {
		all.Go(func() {
			for n := range each {
				if n == each/2 {
					<-gone // however long a busy machine takes for that, half of all come while nobody is there
				}
				all.Go(func() {
					name := fmt.Sprintf("c%d-%d", c, n)
					if status, body, err := g.askAs(name, fmt.Sprint("203.0.113.", c), ""); status != 200 || body != name {
						t.Errorf("%s got %d %q, %v", name, status, body, err)
					}
				})
				time.Sleep(pace)
			}
		})
	}
	time.Sleep(200 * time.Millisecond)
	for _, e := range engines {
		e.sick.Store(true)
	}
	testkit.Eventually(t, "nobody is well, and all have done what they had", func() bool {
		n := int64(0)
		for _, u := range g.Parts().Proxy.Pool("p").Upstreams {
			n += u.Inflight()
		}
		return !g.healthy() && n == 0
	})
	for _, e := range engines {
		e.stop()
	}
	allGone()
	testkit.Eventually(t, "many wait", func() bool { return g.Parts().Proxy.Pool("p").Queue().Length > 100 })
	if r := g.Do("GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n"); r.Status() != 200 {
		t.Errorf("the gateway is not ready: %q", r.Body)
	}
	time.Sleep(none)
	for _, e := range engines {
		e.sick.Store(false)
		e.start()
	}
	all.Wait()
	if len(done) != clients*each {
		t.Errorf("%d of %d were done", len(done), clients*each)
	}
	for name, n := range done {
		if n != 1 {
			t.Errorf("%s was done %d times", name, n)
		}
	}
	// Each comes on a connection of its own, which a busy machine may accept late; without an order they would be half of all apart.
	slack := each / 4
	for c, got := range order {
		for at, n := range got {
			if n < at-slack || n > at+slack {
				t.Errorf("client %d: number %d was done as number %d: %v", c, n, at, got)
				break
			}
		}
	}
}

// An upstream that looks well and is not there any more costs no request either; somebody is told to wake it.
func TestWaitForOneThatIsGone(t *testing.T) {
	t.Parallel()
	var done atomic.Int64
	e := newEngine(t, func(w http.ResponseWriter, r *http.Request) { done.Add(1); fmt.Fprint(w, r.URL.RawQuery) })
	e.start()
	woken := &testkit.Tally{}
	waker := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		m := c.ReadRequest()
		woken.Add(m.First)
		c.Send("HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n")
	})
	g := startGatewayFile(t, fileOfPool(fmt.Sprintf("    waiting_room: {wait: 50s, wake: \"%s/start?a=b\"}\n    health: {interval: 50s}", waker.URL), "http://"+e.addr))
	testkit.Eventually(t, "it is healthy", g.healthy)
	e.stop()
	var all sync.WaitGroup
	for i := range 5 {
		all.Go(func() {
			name := fmt.Sprint("n", i)
			if status, body, err := g.askAs(name, "203.0.113.1", ""); status != 200 || body != name {
				t.Errorf("%s got %d %q, %v", name, status, body, err)
			}
		})
	}
	testkit.Eventually(t, "all wait", func() bool { return g.Parts().Proxy.Pool("p").Queue().Length == 5 })
	testkit.Eventually(t, "somebody is told", func() bool { return woken.Of("POST /start?a=b HTTP/1.1") == 1 })
	page := g.Do("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").Body
	if !strings.Contains(page, `queue_depth{pool="p",class="default"} 5`) {
		t.Error("queue_depth does not show them")
	}
	if health := g.Do("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").Body; !strings.Contains(health, `"waiting":{"batch":0,"default":5,"interactive":0}`) {
		t.Errorf("/healthz does not show them: %s", health)
	}
	e.start()
	all.Wait()
	if done.Load() != 5 || waker.Connections() != 1 {
		t.Errorf("%d were done, and %d calls made", done.Load(), waker.Connections())
	}
	testkit.Eventually(t, "they are counted", func() bool {
		page := g.Do("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").Body
		return strings.Contains(page, `queue_wait_seconds_count{pool="p",class="default"} 5`)
	})
}

// A waiting room has its bounds, in number, bytes and time; who leaves it is out, and the fallback is asked first.
func TestWaitingRoomBounds(t *testing.T) {
	t.Parallel()
	nobody := testkit.Refusing(t)
	waiting := func(g *testGateway, n int64) {
		t.Helper()
		testkit.Eventually(t, fmt.Sprintf("%d wait", n), func() bool { return g.Parts().Proxy.Pool("p").Queue().Length == n })
	}
	g := startGatewayFile(t, fileOfPool("    waiting_room: {size: 2, wait: 50s}", nobody))
	a, b := g.Dial(), g.Dial()
	a.Send("%s", testkit.Ask("POST", "a"))
	b.Send("%s", testkit.Ask("POST", "b"))
	waiting(g, 2)
	r := g.Do(testkit.Ask("POST", "c"))
	if testkit.WantFault(t, r, 503, "no_upstream", false); r.Field("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	left := time.Now()
	a.Close()
	waiting(g, 1)
	testkit.WantQuick(t, "the place of a client that left", left, 5*time.Second)
	b.Close()
	waiting(g, 0)

	g = startGatewayFile(t, fileOfPool("    waiting_room: {wait: 50s}", nobody), "BODY_BUFFER_TOTAL=1048576")
	c := g.Dial()
	c.Send("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n%s", strings.Repeat("x", 500_000))
	waiting(g, 1)
	r = g.Do("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n" + strings.Repeat("x", 50_000))
	testkit.WantFault(t, r, 503, "no_upstream", false)
	c.Close()
	waiting(g, 0)

	g = startGatewayFile(t, fileOfPool("    waiting_room: {wait: 200ms}", nobody))
	begun := time.Now()
	testkit.WantFault(t, g.Do(testkit.Ask("POST", "late")), 503, "no_upstream", false)
	if took := time.Since(begun); took < 200*time.Millisecond {
		t.Errorf("it took %v", took)
	}
	page := g.Do("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").Body
	if !strings.Contains(page, `queue_shed_total{pool="p",reason="timeout"} 1`) {
		t.Error("it is not counted")
	}

	up, _ := startNaming(t, nil)
	g = startGatewayFile(t, fileOfPool("    fallback: python\n    waiting_room: {wait: 50s}", nobody), "PY_SERVICE_URL="+up.URL)
	if r := g.Do(testkit.Ask("POST", "x")); r.Status() != 200 || r.Body != "x" {
		t.Errorf("with a fallback: got %q", r.First)
	}
}

// Who shares an upstream's places: clients, by their classes, and for as long as they would wait themselves.
func TestTurns(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var order []string
	up := startHolding(t)
	g := startGatewayFile(t, fileOfPool("    max_inflight: 1\n    queue: {size: 64, wait: 50s}", up.URL))
	queue := func() int64 { return g.Parts().Proxy.Pool("p").Queue().Length }
	var all sync.WaitGroup
	ask := func(name, client, fields string) {
		t.Helper()
		before := queue()
		all.Go(func() {
			status, body, err := g.askAs("hold-"+name, client, fields)
			if status != 200 {
				t.Errorf("%s got %d %q, %v", name, status, body, err)
			}
			mu.Lock()
			order = append(order, name)
			mu.Unlock()
		})
		if name == "first" {
			testkit.Eventually(t, "the first one is there", func() bool { return up.seen.Of("hold-first") == 1 })
			return
		}
		testkit.Eventually(t, name+" waits", func() bool { return queue() == before+1 })
	}
	ask("first", "203.0.113.1", "")
	ask("a1", "203.0.113.1", "X-Priority: interactive\r\n") // which it may not ask for
	ask("a2", "203.0.113.1", "X-Priority: whatever\r\n")
	ask("batch", "203.0.113.3", "X-Priority: Batch\r\n")
	ask("a3", "203.0.113.1", "X-Request-Timeout-Ms: 49000\r\n")
	ask("b1", "203.0.113.2", "X-Request-Timeout-Ms: soon\r\n")
	begun := time.Now()
	if status, _, _ := g.askAs("late", "203.0.113.4", "X-Request-Timeout-Ms: 150\r\n"); status != 503 {
		t.Errorf("who would wait for 150 ms got %d", status)
	}
	if took := time.Since(begun); took < 150*time.Millisecond || took > 30*time.Second {
		t.Errorf("it waited %v", took)
	}
	for n := range 6 {
		up.free <- struct{}{}
		testkit.Eventually(t, "it has its turn", func() bool { mu.Lock(); defer mu.Unlock(); return len(order) == n+1 })
	}
	all.Wait()
	if want := []string{"first", "a1", "b1", "a2", "a3", "batch"}; !slices.Equal(order, want) {
		t.Errorf("the turns were %v, want %v", order, want)
	}
	if up.seen.Of("late") != 0 {
		t.Error("who did not wait was sent all the same")
	}
}

// Who waits while a reload takes the upstream away waits for the ones that come in its stead; whether it waits for a place or for an
// upstream.
func TestReloadServesWhoWaits(t *testing.T) {
	t.Parallel()
	up := startHolding(t)
	var arrived atomic.Int64
	other, _ := startNaming(t, func(*testkit.Peer, testkit.Message) bool { arrived.Add(1); return false })
	total := func() int { return int(arrived.Load()) }
	f := func(before string, length int64, urls ...string) {
		t.Helper()
		g := startGatewayFile(t, fileOfPool(before, urls...))
		var all sync.WaitGroup
		for i := range length + 1 {
			all.Go(func() {
				name := fmt.Sprint("hold-", i)
				if status, body, err := g.askAs(name, "203.0.113.1", ""); status != 200 || body != name {
					t.Errorf("%s got %d %q, %v", name, status, body, err)
				}
			})
		}
		testkit.Eventually(t, "all but one wait", func() bool { return g.Parts().Proxy.Pool("p").Queue().Length >= length })
		had := total()
		if err := g.Reload(testkit.Settings(t, fileOfPool(before, other.URL), nil)); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, "they go to the other one", func() bool { return total() >= had+int(length) })
		up.free <- struct{}{}
		all.Wait()
		pool := g.Parts().Proxy.Pool("p")
		if q := pool.Queue(); q.Length != 0 || pool.Upstreams[0].Inflight() != 0 {
			t.Errorf("%+v, %d in flight", q, pool.Upstreams[0].Inflight())
		}
	}
	f("    max_inflight: 1\n    queue: {size: 64, wait: 50s}", 5, up.URL)
	f("    balance: hash\n    max_inflight: 1\n    queue: {size: 64, wait: 50s}", 5, up.URL)
	f("    waiting_room: {wait: 50s}", 5, testkit.Refusing(t))
}

// What an upstream has seen is not sent again out of a waiting room.
func TestWaitingRoomSendsNothingTwice(t *testing.T) {
	t.Parallel()
	var got atomic.Int64
	silent := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		c.ReadRequest()
		got.Add(1)
		c.Closed()
	})
	second := newEngine(t, func(http.ResponseWriter, *http.Request) {})
	second.start()
	g := startGatewayFile(t, fmt.Sprintf(`
pools:
  p: {upstreams: [{url: %q}], fallback: q, waiting_room: {wait: 50s}, timeouts: {response: 200ms}}
  q: {upstreams: [{url: "http://%s"}], health: {interval: 50s}}
routes: [{path: /infer/python, pool: p, retry: safe}]
`, silent.URL, second.addr))
	testkit.Eventually(t, "both are healthy", func() bool { return g.healthy() && g.Parts().Proxy.Pool("q").Healthy() })
	second.stop()
	begun := time.Now()
	if status, body, _ := g.askAs("x", "203.0.113.1", ""); status < 500 {
		t.Errorf("got %d %q", status, body)
	}
	testkit.WantQuick(t, "the answer", begun, 20*time.Second)
	if got.Load() != 1 {
		t.Errorf("it was sent %d times", got.Load())
	}
}

// With keys, tenants share by the weights of their keys, and classes are those of the keys: a request may be less urgent, not more.
func TestTurnsOfKeys(t *testing.T) {
	t.Parallel()
	up := startHolding(t)
	keys := keyFile("sk-a , weight: 1", "sk-b , weight: 3", "sk-batch , priority: batch", "sk-urgent , priority: interactive")
	g := serve(t, keyed(t, keys, fileOfPool("    max_inflight: 1\n    queue: {size: 64, wait: 50s}", up.URL)), server.Options{})
	var mu sync.Mutex
	var order []string
	var all sync.WaitGroup
	sent := 0
	ask := func(key, fields string) {
		t.Helper()
		name := fmt.Sprint("hold-", sent)
		all.Go(func() {
			if status, body, err := g.askAs(name, "203.0.113.1", withKey("sk-"+key)+"\r\n"+fields); status != 200 {
				t.Errorf("%s got %d %q, %v", key, status, body, err)
			}
			mu.Lock()
			order = append(order, key)
			mu.Unlock()
		})
		n := sent
		sent++
		testkit.Eventually(t, "it is there", func() bool {
			return n == 0 && up.seen.Of(name) == 1 || n > 0 && g.Parts().Proxy.Pool("p").Queue().Length == int64(n)
		})
	}
	ask("a", "") // which finds a free place
	for range 2 {
		ask("a", "")
	}
	for range 6 {
		ask("b", "")
	}
	ask("batch", "X-Priority: interactive\r\n")
	ask("urgent", "X-Priority: batch\r\n")
	ask("urgent", "")
	for n := range sent {
		up.free <- struct{}{}
		testkit.Eventually(t, "it has its turn", func() bool { mu.Lock(); defer mu.Unlock(); return len(order) == n+1 })
	}
	all.Wait()
	if got, want := strings.Join(order, " "), "a urgent a b b b a b b b batch urgent"; got != want {
		t.Errorf("the turns were\n%s, want\n%s", got, want)
	}
}
