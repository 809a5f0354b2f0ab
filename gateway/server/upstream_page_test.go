package server

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// startPaged starts an upstream whose health page at that path is as page sends it; it answers requests with their names, and
// everything else with 404 and a long body. The tally counts paths.
func startPaged(t *testing.T, path string, page func(p *peer)) (url string, seen *tally) {
	t.Helper()
	seen = &tally{}
	url = startPlain(t, func(p *peer) {
		for {
			r := p.readRequest()
			if r.err != nil {
				return
			}
			_, at, _ := strings.Cut(r.first, " ")
			at, _, _ = strings.Cut(at, " ")
			seen.add(at)
			switch {
			case at == path:
				page(p)
				return
			case strings.HasPrefix(at, "/infer"), strings.HasPrefix(at, "/v1/"):
				p.send("%s", answer(r.name()))
			default:
				p.send("HTTP/1.1 404 Not Found\r\nContent-Length: 200000\r\n\r\n%s", strings.Repeat("n", 200000))
			}
		}
	})
	return url, seen
}

// startPlain starts an upstream that does that on each connection, probes included.
func startPlain(t *testing.T, do func(p *peer)) (url string) {
	t.Helper()
	var mu sync.Mutex
	var open []*peer
	ln := listenLoopback(t)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			p := newPeer(t, conn)
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
	f := func(name string, well bool, page func(p *peer)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up, seen := startPaged(t, "/healthz", page)
			g := startGatewayFile(t, fileOfPool("    health: {interval: 100ms}", up))
			eventually(t, "it was probed thrice", func() bool { return seen.of("/healthz") >= 3 })
			eventually(t, "its state is right", func() bool { return g.proxy.Pool("p").Healthy() == well })
			for range 3 { // and a lone one is asked whatever its page answers
				if r := g.do(ask("GET", "x")); r.status() != 200 {
					t.Errorf("got %q", r.first)
				}
			}
		})
	}
	f("1 MB", true, func(p *peer) { p.send("HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n%s", long) })
	f("chunks without end", true, func(p *peer) {
		p.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for p.more("1\r\nx\r\n") {
		}
	})
	f("until the close, without one", true, func(p *peer) {
		p.send("HTTP/1.1 200 OK\r\n\r\n")
		for p.more("x") {
		}
	})
	f("a head, then nothing", true, func(p *peer) { p.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"); p.closed() })
	f("two equal lengths", true, func(p *peer) { p.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok") })
	f("404 and 1 MB", true, func(p *peer) { p.send("HTTP/1.1 404 No\r\nContent-Length: 1048576\r\n\r\n%s", long) })
	f("HTTP/1.0", true, func(p *peer) { p.send("HTTP/1.0 200 OK\r\n\r\nok") })
	f("no reason", true, func(p *peer) { p.send("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n") })
	f("cut body", true, func(p *peer) { p.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nok") })
	f("204", true, func(p *peer) { p.send("HTTP/1.1 204 No Content\r\n\r\n") })
	f("302", true, func(p *peer) { p.send("HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n") })
	f("103 first", true, func(p *peer) { p.send("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") })
	f("a head of 8 KB", true, func(p *peer) { p.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: %s\r\n\r\n", long[:8192]) })
	f("in pieces", true, func(p *peer) {
		for _, b := range []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") {
			p.send("%c", b)
		}
	})
	f("500", false, func(p *peer) { p.send("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n") })
	f("503 and 1 MB", false, func(p *peer) { p.send("HTTP/1.1 503 No\r\nContent-Length: 1048576\r\n\r\n%s", long) })
	f("garbage", false, func(p *peer) { p.send("garbage\r\n\r\n") })
	f("length and chunks", false, func(p *peer) {
		p.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok")
	})
}

// more sends, and tells whether the other end may still want it.
func (p *peer) more(s string) bool {
	_, err := p.Conn.Write([]byte(s))
	return err == nil
}

// The page of the pool llm is at /health, and where that is 404 at /healthz, which is then asked first.
func TestThePageOfEngines(t *testing.T) {
	ok := func(p *peer) { p.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") }
	f := func(path string, health, healthz int) {
		t.Helper()
		up, seen := startPaged(t, path, ok)
		g := startGatewayFile(t, "pools: {llm: {health: {interval: 100ms}}}", "LLM_SERVICE_URL="+up)
		eventually(t, "it is well", g.proxy.Pool("llm").Healthy)
		eventually(t, "it was probed again", func() bool { return seen.of("/health")+seen.of("/healthz") >= 5 })
		if a, b := seen.of("/health"), seen.of("/healthz"); health < 2 && a != health || healthz < 2 && b != healthz {
			t.Errorf("the page at %s: /health was asked for %d times, /healthz %d", path, a, b)
		}
	}
	f("/health", 5, 0)
	f("/healthz", 1, 4)
	f("/neither", 2, 2) // and 404 is a sign of life
	up, seen := startPaged(t, "/sick", ok)
	startGatewayFile(t, "pools: {llm: {health: {path: /sick, interval: 100ms}}}", "LLM_SERVICE_URL="+up)
	eventually(t, "what is stated is asked for", func() bool { return seen.of("/sick") >= 2 })
	if n := seen.of("/health") + seen.of("/healthz"); n > 0 {
		t.Errorf("what is stated is not all that is asked for: %d", n)
	}
}

// A page that answers ends the open state at once, and everything gets through.
func TestAGoodPageEndsTheOpenState(t *testing.T) {
	var away atomic.Bool
	up := startPlain(t, func(p *peer) {
		for {
			r := p.readRequest()
			if r.err != nil || away.Load() {
				return
			}
			p.send("%s", answer(r.name()))
		}
	})
	g := startGatewayFile(t, fileOfPool("    health: {interval: 100ms}", up))
	eventually(t, "it is well", g.proxy.Pool("p").Healthy)
	away.Store(true)
	state := func() string {
		_, s, _ := strings.Cut(g.do("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").body, `"state":"`)
		s, _, _ = strings.Cut(s, `"`)
		return s
	}
	eventually(t, "it is open", func() bool { return g.do(ask("POST", "x")).status() == 503 })
	if log := g.log.String(); !strings.Contains(log, `"reason":"probe: bad_upstream_response"`) && !strings.Contains(log, `"reason":"bad_upstream_response"`) {
		t.Errorf("the log does not say why: %s", log)
	}
	away.Store(false)
	back := time.Now()
	eventually(t, "it is closed", func() bool { s := state(); return s == "closed" || s == "slow_start" })
	wantQuick(t, "closing", back, 5*time.Second)
	inParallel(20, func(i int) {
		if r := g.do(ask("POST", fmt.Sprint("n", i))); r.status() != 200 {
			t.Errorf("closed: got %q", r.first)
		}
	})
}

// Why an upstream is not healthy is in the log: what its page answered, or what an attempt found.
func TestTheLogSaysWhy(t *testing.T) {
	up, _ := startPaged(t, "/healthz", func(p *peer) { p.send("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n") })
	g := startGatewayFile(t, fileOfPool("", up, refusing(t)))
	for _, why := range []string{"probe: /healthz answered 503", "probe: upstream_unreachable"} {
		eventually(t, why, func() bool { return strings.Contains(g.log.String(), `"reason":"`+why+`"`) })
	}
}

// Pools that nobody has named are neither probed nor shown nor counted; routes to them answer.
func TestPoolsThatNobodyNamed(t *testing.T) {
	up, seen := startPaged(t, "/healthz", func(p *peer) { p.send("%s", answer("ok")) })
	s := loadSettings(t, "", []string{"RATE_LIMIT_ENABLED=false", "CACHE_ENABLED=false"})
	for _, p := range s.Pools {
		p.Upstreams[0].URL.Host = strings.TrimPrefix(up, "http://")
	}
	g := serve(t, s, Options{}, nil)
	for range 5 {
		if r := g.do(askAt("/infer", "POST", "x")); r.status() != 200 {
			t.Errorf("got %q", r.first)
		}
	}
	for _, page := range []string{"/healthz", "/metrics", "/dashboard/data"} {
		if body := g.do("GET " + page + " HTTP/1.1\r\nHost: a\r\n\r\n").body; strings.Contains(body, `"python"`) || strings.Contains(body, `"node"`) {
			t.Errorf("%s shows a pool that nobody has named:\n%s", page, body)
		}
	}
	if log := g.log.String(); strings.Contains(log, "healthy") {
		t.Errorf("the log tells of one: %s", log)
	}
	if n := seen.of("/healthz"); n > 0 {
		t.Errorf("it was probed %d times", n)
	}
	// Named by a reload, it is probed and shown.
	if err := g.Reload(loadSettings(t, "", []string{"PY_SERVICE_URL=" + up})); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is shown as well", func() bool {
		return strings.Contains(g.do("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").body, `"python":{"url":"`+up+`","healthy":true`)
	})
	// Nobody there: an answer, and not a breaker for good.
	g = startGateway(t)
	for range 20 {
		if r := g.do(ask("POST", "x")); r.status() != 503 {
			t.Errorf("got %q", r.first)
		}
	}
}
