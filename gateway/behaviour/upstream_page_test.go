package behaviour

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"aigateway/gateway/server"
	"aigateway/gateway/testkit"
)

// startPaged starts an upstream whose health page at that path is as page sends it; it answers requests with their names, and
// everything else with 404 and a long body. The tally counts paths.
func startPaged(t *testing.T, path string, page func(p *testkit.Peer)) (url string, seen *testkit.Tally) {
	t.Helper()
	seen = &testkit.Tally{}
	url = startPlain(t, func(p *testkit.Peer) {
		for {
			r := p.ReadRequest()
			if r.Err != nil {
				return
			}
			_, at, _ := strings.Cut(r.First, " ")
			at, _, _ = strings.Cut(at, " ")
			seen.Add(at)
			switch {
			case at == path:
				page(p)
				return
			case strings.HasPrefix(at, "/infer"), strings.HasPrefix(at, "/v1/"):
				p.Send("%s", testkit.Answer(r.Name()))
			default:
				p.Send("HTTP/1.1 404 Not Found\r\nContent-Length: 200000\r\n\r\n%s", strings.Repeat("n", 200000))
			}
		}
	})
	return url, seen
}

// startPlain starts an upstream that does that on each connection, probes included.
func startPlain(t *testing.T, do func(p *testkit.Peer)) (url string) {
	t.Helper()
	var mu sync.Mutex
	var open []*testkit.Peer
	ln := listenLoopback(t)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			p := testkit.NewPeer(t, conn)
			mu.Lock()
			open = append(open, p)
			mu.Unlock()
			all.Go(func() {
				defer conn.Close()
				do(p)
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for _, p := range open {
			p.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return "http://" + ln.Addr().String()
}

// Probes accept what requests accept, and the head alone is the verdict.
func TestHealthPages(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	f := func(name string, well bool, page func(p *testkit.Peer)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up, seen := startPaged(t, "/healthz", page)
			g := startGatewayFile(t, fileOfPool("    health: {interval: 100ms}", up))
			testkit.Eventually(t, "it was probed thrice", func() bool { return seen.Of("/healthz") >= 3 })
			testkit.Eventually(t, "its state is right", func() bool { return g.Parts().Proxy.Pool("p").Healthy() == well })
			for range 3 { // and a lone one is asked whatever its page answers
				if r := g.Do(testkit.Ask("GET", "x")); r.Status() != 200 {
					t.Errorf("got %q", r.First)
				}
			}
		})
	}
	f("1 MB", true, func(p *testkit.Peer) { p.Send("HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n%s", long) })
	f("chunks without end", true, func(p *testkit.Peer) {
		p.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for p.More("1\r\nx\r\n") {
		}
	})
	f("until the close, without one", true, func(p *testkit.Peer) {
		p.Send("HTTP/1.1 200 OK\r\n\r\n")
		for p.More("x") {
		}
	})
	f("a head, then nothing", true, func(p *testkit.Peer) { p.Send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"); p.Closed() })
	f("two equal lengths", true, func(p *testkit.Peer) { p.Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok") })
	f("404 and 1 MB", true, func(p *testkit.Peer) { p.Send("HTTP/1.1 404 No\r\nContent-Length: 1048576\r\n\r\n%s", long) })
	f("HTTP/1.0", true, func(p *testkit.Peer) { p.Send("HTTP/1.0 200 OK\r\n\r\nok") })
	f("no reason", true, func(p *testkit.Peer) { p.Send("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n") })
	f("cut body", true, func(p *testkit.Peer) { p.Send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nok") })
	f("204", true, func(p *testkit.Peer) { p.Send("HTTP/1.1 204 No Content\r\n\r\n") })
	f("302", true, func(p *testkit.Peer) {
		p.Send("HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n")
	})
	f("103 first", true, func(p *testkit.Peer) {
		p.Send("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	})
	f("a head of 8 KB", true, func(p *testkit.Peer) { p.Send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: %s\r\n\r\n", long[:8192]) })
	f("in pieces", true, func(p *testkit.Peer) {
		for _, b := range []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") {
			p.Send("%c", b)
		}
	})
	f("500", false, func(p *testkit.Peer) { p.Send("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n") })
	f("503 and 1 MB", false, func(p *testkit.Peer) { p.Send("HTTP/1.1 503 No\r\nContent-Length: 1048576\r\n\r\n%s", long) })
	f("garbage", false, func(p *testkit.Peer) { p.Send("garbage\r\n\r\n") })
	f("length and chunks", false, func(p *testkit.Peer) {
		p.Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok")
	})
}

// The page of the pool llm is at /health, and where that is 404 at /healthz, which is then asked first.
func TestThePageOfEngines(t *testing.T) {
	t.Parallel()
	ok := func(p *testkit.Peer) { p.Send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") }
	f := func(path string, health, healthz int) {
		t.Helper()
		up, seen := startPaged(t, path, ok)
		g := startGatewayFile(t, "pools: {llm: {health: {interval: 100ms}}}", "LLM_SERVICE_URL="+up)
		testkit.Eventually(t, "it is well", g.Parts().Proxy.Pool("llm").Healthy)
		testkit.Eventually(t, "it was probed again", func() bool { return seen.Of("/health")+seen.Of("/healthz") >= 5 })
		if a, b := seen.Of("/health"), seen.Of("/healthz"); health < 2 && a != health || healthz < 2 && b != healthz {
			t.Errorf("the page at %s: /health was asked for %d times, /healthz %d", path, a, b)
		}
	}
	f("/health", 5, 0)
	f("/healthz", 1, 4)
	f("/neither", 2, 2) // and 404 is a sign of life
	up, seen := startPaged(t, "/sick", ok)
	startGatewayFile(t, "pools: {llm: {health: {path: /sick, interval: 100ms}}}", "LLM_SERVICE_URL="+up)
	testkit.Eventually(t, "what is stated is asked for", func() bool { return seen.Of("/sick") >= 2 })
	if n := seen.Of("/health") + seen.Of("/healthz"); n > 0 {
		t.Errorf("what is stated is not all that is asked for: %d", n)
	}
}

// A page that answers ends the open state at once, and everything gets through.
func TestAGoodPageEndsTheOpenState(t *testing.T) {
	t.Parallel()
	var away atomic.Bool
	up := startPlain(t, func(p *testkit.Peer) {
		for {
			r := p.ReadRequest()
			if r.Err != nil || away.Load() {
				return
			}
			p.Send("%s", testkit.Answer(r.Name()))
		}
	})
	g := startGatewayFile(t, fileOfPool("    health: {interval: 100ms}", up))
	testkit.Eventually(t, "it is well", g.Parts().Proxy.Pool("p").Healthy)
	away.Store(true)
	state := func() string {
		_, s, _ := strings.Cut(g.Do("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").Body, `"state":"`)
		s, _, _ = strings.Cut(s, `"`)
		return s
	}
	testkit.Eventually(t, "it is open", func() bool { return g.Do(testkit.Ask("POST", "x")).Status() == 503 })
	if log := g.Log.String(); !strings.Contains(log, `"reason":"probe: bad_upstream_response"`) && !strings.Contains(log, `"reason":"bad_upstream_response"`) {
		t.Errorf("the log does not say why: %s", log)
	}
	away.Store(false)
	back := time.Now()
	testkit.Eventually(t, "it is closed", func() bool { s := state(); return s == "closed" || s == "slow_start" })
	testkit.WantQuick(t, "closing", back, 5*time.Second)
	inParallel(20, func(i int) {
		if r := g.Do(testkit.Ask("POST", fmt.Sprint("n", i))); r.Status() != 200 {
			t.Errorf("closed: got %q", r.First)
		}
	})
}

// Why an upstream is not healthy is in the log: what its page answered, or what an attempt found.
func TestTheLogSaysWhy(t *testing.T) {
	up, _ := startPaged(t, "/healthz", func(p *testkit.Peer) { p.Send("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n") })
	g := startGatewayFile(t, fileOfPool("", up, testkit.Refusing(t)))
	for _, why := range []string{"probe: /healthz answered 503", "probe: upstream_unreachable"} {
		testkit.Eventually(t, why, func() bool { return strings.Contains(g.Log.String(), `"reason":"`+why+`"`) })
	}
}

// Pools that nobody has named are neither probed nor shown nor counted; routes to them answer.
func TestPoolsThatNobodyNamed(t *testing.T) {
	t.Parallel()
	up, seen := startPaged(t, "/healthz", func(p *testkit.Peer) { p.Send("%s", testkit.Answer("ok")) })
	s := testkit.Settings(t, "", []string{"RATE_LIMIT_ENABLED=false", "CACHE_ENABLED=false"})
	for _, p := range s.Pools {
		p.Upstreams[0].URL.Host = strings.TrimPrefix(up, "http://")
	}
	g := serve(t, s, server.Options{})
	for range 5 {
		if r := g.Do(testkit.AskAt("/infer", "POST", "x")); r.Status() != 200 {
			t.Errorf("got %q", r.First)
		}
	}
	for _, page := range []string{"/healthz", "/metrics", "/dashboard/data"} {
		if body := g.Do("GET " + page + " HTTP/1.1\r\nHost: a\r\n\r\n").Body; strings.Contains(body, `"python"`) || strings.Contains(body, `"node"`) {
			t.Errorf("%s shows a pool that nobody has named:\n%s", page, body)
		}
	}
	if log := g.Log.String(); strings.Contains(log, "healthy") {
		t.Errorf("the log tells of one: %s", log)
	}
	if n := seen.Of("/healthz"); n > 0 {
		t.Errorf("it was probed %d times", n)
	}
	// Named by a reload, it is probed and shown.
	if err := g.Reload(testkit.Settings(t, "", []string{"PY_SERVICE_URL=" + up})); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "it is shown as well", func() bool {
		return strings.Contains(g.Do("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").Body, `"python":{"url":"`+up+`","healthy":true`)
	})
	// Nobody there: an answer, and not a breaker for good.
	g = startGateway(t)
	for range 20 {
		if r := g.Do(testkit.Ask("POST", "x")); r.Status() != 503 {
			t.Errorf("got %q", r.First)
		}
	}
}
