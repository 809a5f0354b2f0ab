package behaviour

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"aigateway/gateway/testkit"
)

// reload puts a file into force, with the environment that startGatewayFile got.
func (g *testGateway) reload(file string, environ ...string) {
	g.T.Helper()
	if err := g.Reload(testkit.Settings(g.T, file, environ)); err != nil {
		g.T.Fatal(err)
	}
}

// askFor asks for a path on a connection of its own.
func (g *testGateway) askFor(path string) testkit.Message {
	g.T.Helper()
	return g.Do("GET " + path + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
}

// poolFile is a file with a route to a pool of these upstreams.
func poolFile(path string, urls ...string) string {
	var list []string
	for _, u := range urls {
		list = append(list, fmt.Sprintf("{url: %q}", u))
	}
	return fmt.Sprintf("pools: {p: {upstreams: [%s]}}\nroutes: [{path: %q, pool: p}]\n", strings.Join(list, ", "), path)
}

// Routes and pools are swapped together; what was begun ends where it began, and then the removed upstream's
// connection ends too.
func TestReloadSwaps(t *testing.T) {
	old, next := startStepper(t, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"), testkit.StartRecorder(t)
	g := startGatewayFile(t, poolFile("/a", old.URL))
	c := g.Dial()
	c.Send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
	upstream := <-old.begun
	g.reload(poolFile("/b", next.URL))
	if m := g.askFor("/a"); m.Status() != 404 {
		t.Errorf("the old route: %q", m.First)
	}
	if m := g.askFor("/b"); m.Body != "GET /b HTTP/1.1" {
		t.Errorf("the new route: %q, body %q", m.First, m.Body)
	}
	if u := g.Parts().Proxy.Pool("p").Upstreams; len(u) != 1 || u[0].URL != next.URL {
		t.Errorf("the pool has %v", u)
	}
	upstream.Send("one")
	if m := c.ReadResponse(); m.Body != "one" {
		t.Errorf("the request from before: %q, body %q, %v", m.First, m.Body, m.Err)
	}
	if !upstream.Closed() {
		t.Error("the connection to the removed upstream stays open")
	}
	c.Send("GET /b HTTP/1.1\r\nHost: a\r\n\r\n") // the client's goes on
	if m := c.ReadResponse(); m.Body != "GET /b HTTP/1.1" {
		t.Errorf("the next request: %q, body %q, %v", m.First, m.Body, m.Err)
	}
	for _, series := range []string{
		`http_requests_total{route="/b",method="GET",code="200"} 2`,
		fmt.Sprintf(`upstream_requests_total{pool="p",upstream=%q,code="200"} 2`, next.URL),
	} { // a request is counted behind its answer
		testkit.Eventually(t, "the metrics have "+series, func() bool { return strings.Contains(g.askFor("/metrics").Body, series+"\n") })
	}
	if metrics := g.askFor("/metrics").Body; strings.Contains(metrics, old.URL) || strings.Contains(metrics, `"/a"`) {
		t.Error("the metrics still have what was removed")
	}
	if health := g.askFor("/healthz").Body; strings.Contains(health, old.URL) || !strings.Contains(health, next.URL) {
		t.Errorf("/healthz shows %s", health)
	}
}

// An idle connection to an upstream that goes is closed at once.
func TestReloadDrains(t *testing.T) {
	ended := make(chan bool, 1)
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		c.ReadRequest()
		c.Send("%s", testkit.Answer("ok"))
		ended <- c.Closed()
	})
	g := startGatewayFile(t, poolFile("/a", up.URL))
	g.askFor("/a")
	began := time.Now()
	g.reload("")
	if !<-ended {
		t.Error("something comes over the connection")
	}
	if d := time.Since(began); d > 3*time.Second {
		t.Errorf("the idle connection was closed %v later: it has aged out", d)
	}
}

// What stays the same keeps its connections, its health and its limits.
func TestReloadKeeps(t *testing.T) {
	up, other := testkit.StartRecorder(t), testkit.StartRecorder(t)
	env := []string{"RATE_LIMIT_ENABLED=true", "GLOBAL_RPS=0", "GLOBAL_BURST=1000", "CLIENT_RPS=0", "CLIENT_BURST=4"}
	g := startGatewayFile(t, poolFile("/a", up.URL), env...)
	testkit.Eventually(t, "the upstream is healthy", g.Parts().Proxy.Pool("p").Healthy)
	was := g.Parts().Proxy.Pool("p").Upstreams[0]
	for i, file := range []string{
		poolFile("/a", up.URL),
		poolFile("/a", up.URL, other.URL),
		poolFile("/*", up.URL) + "  - {path: /b, pool: p, limit: {client_rps: 1, client_burst: 100}}\n",
	} {
		if m := g.askFor("/a"); m.Status() != 200 {
			t.Fatalf("request %d: %q", i, m.First)
		}
		file = strings.Replace(file, "[{path: \"/a\", pool: p}]", "\n  - {path: \"/a\", pool: p}", 1)
		file = strings.Replace(file, "[{path: \"/*\", pool: p}]", "\n  - {path: \"/*\", pool: p}", 1)
		g.reload(file, env...)
		if now := g.Parts().Proxy.Pool("p").Upstreams[0]; now != was || !now.Healthy() {
			t.Errorf("reload %d: another upstream %v, healthy %v", i, now != was, now.Healthy())
		}
	}
	if m := g.askFor("/a"); m.Status() != 200 || m.Field("RateLimit") == "" {
		t.Errorf("the fourth request: %q, %q", m.First, m.Head)
	}
	if m := g.askFor("/a"); m.Status() != 429 {
		t.Errorf("the fifth request: %q; a reload has given tokens away", m.First)
	}
	if n := up.Connections(); n != 1 {
		t.Errorf("%d connections to the upstream that stayed", n)
	}
}

// A reload that changes how the upstream is asked makes another upstream of it, and one that cannot be done
// changes nothing.
func TestReloadChanges(t *testing.T) {
	up := testkit.StartRecorder(t)
	file := poolFile("/a", up.URL)
	g := startGatewayFile(t, file)
	was := g.Parts().Proxy.Pool("p").Upstreams[0]
	g.reload(strings.Replace(file, "p: {", "p: {timeouts: {idle: 7s}, ", 1))
	if g.Parts().Proxy.Pool("p").Upstreams[0] == was {
		t.Error("an upstream with other timeouts is the same")
	}
	s := testkit.Settings(t, "", nil)
	s.Pools[0].Upstreams = nil
	if g.Reload(s) == nil {
		t.Error("a pool without upstreams is taken")
	}
	if m := g.askFor("/a"); m.Status() != 200 {
		t.Errorf("after a reload that failed: %q", m.First)
	}
	g.reload(file, "RATE_LIMIT_ENABLED=true", "CLIENT_RPS=0", "CLIENT_BURST=1")
	if a, b := g.askFor("/a").Status(), g.askFor("/a").Status(); a != 200 || b != 429 {
		t.Errorf("a limit that a reload brought: %d, %d", a, b)
	}
	g.reload(file)
	if m := g.askFor("/a"); m.Status() != 200 || m.Field("RateLimit") != "" {
		t.Errorf("a limit that a reload took: %q, %q", m.First, m.Head)
	}
	g.reload(file, "MAX_BODY_BYTES=3")
	if m := g.Do("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd"); m.Status() != 413 {
		t.Errorf("a body over the limit that a reload brought: %q", m.First)
	}
}

// Twenty reloads under load, and no request fails: on connections that stay and on new ones, short and long.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	serve := func(_ int, c *testkit.Peer) {
		for c.ReadRequest().Err == nil {
			c.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
			testkit.Spin()
			c.Send("3\r\ntwo\r\n0\r\n\r\n")
		}
	}
	ups := []*testkit.Upstream{testkit.StartUpstream(t, serve), testkit.StartUpstream(t, serve), testkit.StartUpstream(t, serve)}
	// The pool loses one upstream and gets another with each reload; limits, weights and routes change too.
	file := func(i int) string {
		return fmt.Sprintf("pools:\n  p: {balance: %s, upstreams: [{url: %q, weight: %d}, {url: %q}]}\n"+
			"routes:\n  - {path: /a, pool: p, limit: {client_rps: %d, client_burst: 1000000}}\n  - {path: \"/n%d/*\", pool: p}\n",
			[]string{"p2c", "round_robin", "least_requests"}[i%3], ups[i%3].URL, 1+i%2, ups[(i+1)%3].URL, 1000000+i, i)
	}
	env := []string{"RATE_LIMIT_ENABLED=true", "GLOBAL_RPS=1000000", "GLOBAL_BURST=1000000", "CLIENT_RPS=1000000", "CLIENT_BURST=1000000"}
	g := startGatewayFile(t, file(0), env...)
	var stop atomic.Bool
	var done atomic.Int64
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			c := g.Dial()
			for !stop.Load() {
				if i%2 == 0 { // on a connection of its own
					c.Close()
					c = g.Dial()
				}
				_ = c.SetDeadline(time.Now().Add(testkit.Patience))
				c.Send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
				if m := c.ReadResponse(); m.Status() != 200 || m.Body != "onetwo" || m.Err != nil {
					t.Errorf("%q, body %q, %v", m.First, m.Body, m.Err)
					return
				}
				done.Add(1)
			}
		})
	}
	for i := 1; i <= 20; i++ {
		before := done.Load()
		g.reload(file(i), env...)
		testkit.Eventually(t, "requests go on", func() bool { return done.Load() > before+20 || t.Failed() })
		if m := g.askFor(fmt.Sprintf("/n%d/x", i)); m.Status() != 200 {
			t.Errorf("the route of reload %d: %q", i, m.First)
		}
	}
	stop.Store(true)
	wg.Wait()
	t.Logf("%d requests", done.Load())
}
