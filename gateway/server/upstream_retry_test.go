package server

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// When a request is sent again, and when never.

// A pooled connection that its upstream has closed is noticed before it is used: nothing fails, nothing runs
// twice.
func TestPooledConnectionClosedByUpstream(t *testing.T) {
	eachWay(t, func(t *testing.T, method string, second bool) {
		const pooled = 8
		var mu sync.Mutex
		var conns []*peer
		seen := &tally{}
		held, release := 0, make(chan struct{})
		up := startUpstream(t, func(_ int, c *peer) {
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			for {
				r := c.readRequest()
				if r.err != nil {
					return
				}
				seen.add(r.name())
				if r.name() == "hold" {
					mu.Lock()
					now := release
					if held++; held%pooled == 0 {
						close(release)
						release = make(chan struct{})
					}
					mu.Unlock()
					<-now
				}
				c.send("%s", answer(r.name()))
			}
		})
		g := startGateway(t, "PY_SERVICE_URL="+up.URL)
		c := g.client(second)
		for _, end := range []string{"fin", "rst", "half", "408"} {
			fillAtOnce(g, pooled)
			mu.Lock()
			if len(conns) < pooled {
				t.Errorf("only %d connections are pooled", len(conns))
			}
			for _, c := range conns {
				switch end {
				case "fin":
					c.Close()
				case "rst":
					c.abort()
				case "half":
					c.Conn.(interface{ CloseWrite() error }).CloseWrite()
				case "408":
					c.send("HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\nConnection: close\r\n\r\nlate")
					c.Close()
				}
			}
			conns = nil
			mu.Unlock()
			for i := range 10 {
				name := fmt.Sprintf("%s-%d", end, i)
				c.send("%s", ask(method, name))
				if r := c.readResponse(); r.status() != 200 || r.body != name {
					t.Errorf("%s: got %q, body %q, %v", name, r.first, r.body, r.err)
				}
				if n := seen.of(name); n != 1 {
					t.Errorf("%s was executed %d times", name, n)
				}
			}
		}
	})
}

// fillAtOnce makes n pooled connections: the upstream answers the requests named "hold" when all n are there.
func fillAtOnce(g *testGateway, n int) {
	g.t.Helper()
	var wg sync.WaitGroup
	for range n {
		c := g.dial()
		c.send("%s", ask("GET", "hold"))
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer c.Close()
			if r := c.readResponse(); r.body != "hold" {
				g.t.Errorf("cannot fill the pool: %q %v", r.first, r.err)
			}
		}()
	}
	wg.Wait()
}

// startBreaking starts an upstream whose first n connections are answered together, so that all of them are
// pooled, and which breaks each of these when it has read a second request on it; later connections work.
func startBreaking(t *testing.T, n int, breakIt func(c *peer)) (*scripted, *tally) {
	seen := &tally{}
	var all sync.WaitGroup
	all.Add(n)
	up := startUpstream(t, func(i int, c *peer) {
		if i < n {
			seen.add(c.readRequest().name())
			all.Done()
			all.Wait()
			c.send("%s", answer("hold"))
			r := c.readRequest()
			if r.err == nil {
				seen.add(r.name())
				breakIt(c)
			}
			return
		}
		for {
			r := c.readRequest()
			if r.err != nil {
				return
			}
			seen.add(r.name())
			c.send("%s", answer(r.name()))
		}
	})
	return up, seen
}

// A used connection that breaks after the request was read, before the first byte of an answer: what is
// idempotent is sent once more, and only once; a POST never is.
func TestUsedConnectionBreaks(t *testing.T) {
	ends := map[string]func(c *peer){
		"fin":        func(c *peer) { c.Close() },
		"rst":        func(c *peer) { c.abort() },
		"after 103":  func(c *peer) { c.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n") },
		"in a head":  func(c *peer) { c.send("HTTP/1.1 2") },
		"in garbage": func(c *peer) { c.send("\x00") },
	}
	for end, breakIt := range ends {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "PATCH"} {
			for _, pooled := range []int{1, 8} {
				t.Run(fmt.Sprintf("%s/%s/%d pooled", end, method, pooled), func(t *testing.T) {
					up, seen := startBreaking(t, pooled, breakIt)
					g := startGatewayFile(t, "pools: {p: {upstreams: [{url: \""+up.URL+"\"}]}}\nroutes: [{path: \"/infer/python\", pool: p}]\n")
					fillAtOnce(g, pooled)
					r := g.do(strings.Replace(ask("POST", "x"), "POST", method, 1))
					mayRepeat := method != "POST" && method != "PATCH" && (end == "fin" || end == "rst")
					switch n := seen.of("x"); {
					case !mayRepeat && n != 1:
						t.Errorf("sent %d times, want once", n)
					case mayRepeat && n > 2:
						t.Errorf("sent %d times, want at most twice", n)
					case mayRepeat && r.body != "x":
						t.Errorf("got %q %q after %d tries: a new connection would have worked", r.first, r.body, n)
					}
					if !mayRepeat {
						wantFault(t, r, 502, "bad_upstream_response", false)
					}
				})
			}
		}
	}
}

// A new connection that breaks has had its one attempt.
func TestNewConnectionBreaks(t *testing.T) {
	for end, breakIt := range map[string]func(c *peer){
		"fin": func(c *peer) { c.Close() },
		"rst": func(c *peer) { c.abort() },
	} {
		for _, method := range []string{"GET", "HEAD", "POST"} {
			t.Run(end+"/"+method, func(t *testing.T) {
				up, seen := startOdd(t, func(c *peer, _ message) bool { breakIt(c); return false })
				g := startGateway(t, "PY_SERVICE_URL="+up.URL)
				r := g.do(ask(method, "odd"))
				if r.status() != 502 || seen.of("odd") != 1 {
					t.Errorf("got %q after %d attempts", r.first, seen.of("odd"))
				}
			})
		}
	}
}

// A time-out is never followed by a second attempt.
func TestNothingIsRepeatedAfterATimeout(t *testing.T) {
	eachWay(t, func(t *testing.T, method string, second bool) {
		up, seen := startOdd(t, func(c *peer, _ message) bool { c.closed(); return false })
		g := startGateway(t, "PY_SERVICE_URL="+up.URL, "RESPONSE_TIMEOUT=100ms")
		c := g.client(second)
		begun := time.Now()
		c.send("%s", ask(method, "odd"))
		wantFault(t, c.readResponse(), 504, "timeout_response", false)
		wantQuick(t, "the time-out", begun, 2*time.Second)
		if n := seen.of("odd"); n != 1 {
			t.Errorf("sent %d times", n)
		}
		c.send("%s", ask(method, "next"))
		if r := c.readResponse(); r.body != "next" {
			t.Errorf("the next request got %q %q, %v", r.first, r.body, r.err)
		}
	})
}

// /infer goes to node when python cannot be reached, and never once python may have seen the request.
func TestFallbackOnlyBeforeTheRequestIsSeen(t *testing.T) {
	for _, method := range []string{"GET", "POST"} {
		t.Run(method+" refused", func(t *testing.T) {
			node, seen := startOdd(t, nil)
			g := startGateway(t, "PY_SERVICE_URL="+refusing(t), "NODE_SERVICE_URL="+node.URL)
			c := g.dial()
			for i := range 3 {
				name := fmt.Sprint("n", i)
				c.send("%s", askAt("/infer", method, name))
				if r := c.readResponse(); r.body != name || seen.of(name) != 1 {
					t.Errorf("got %q %q, %v; node saw it %d times", r.first, r.body, r.err, seen.of(name))
				}
			}
			// Without a fallback of its own, the route to python is a 503: nobody can be reached, or the breaker has
			// seen enough of that.
			c.send("%s", ask(method, "x"))
			r, code := c.readResponse(), "upstream_unreachable"
			if strings.Contains(r.body, `"no_upstream"`) {
				code = "no_upstream"
			}
			wantFault(t, r, 503, code, false)
		})
		for name, odd := range map[string]func(c *peer){
			"500":     func(c *peer) { c.send("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n") },
			"garbage": func(c *peer) { c.send("garbage\r\n\r\n") },
			"closes":  func(c *peer) {},
			"silent":  func(c *peer) { c.closed() },
		} {
			t.Run(method+" "+name, func(t *testing.T) {
				python, seen := startOdd(t, func(c *peer, _ message) bool { odd(c); return false })
				node, nodeSeen := startOdd(t, func(c *peer, _ message) bool { c.send("%s", answer("node")); return true })
				g := startGateway(t, "PY_SERVICE_URL="+python.URL, "NODE_SERVICE_URL="+node.URL, "RESPONSE_TIMEOUT=150ms")
				r := g.do(askAt("/infer", method, "odd"))
				if r.status() < 500 || seen.of("odd") != 1 || nodeSeen.of("odd") != 0 {
					t.Errorf("got %q; python saw it %d times, node %d times", r.first, seen.of("odd"), nodeSeen.of("odd"))
				}
			})
		}
	}
}

// One upstream of a pool that can be reached is enough, also when none looks healthy.
func TestOneUpstreamOfAPoolIsEnough(t *testing.T) {
	for _, health := range []string{"/healthz", "/sick"} {
		for _, balance := range []string{"p2c", "round_robin", "least_requests"} {
			t.Run(balance+health, func(t *testing.T) {
				t.Parallel()
				seen := &tally{}
				up := startUpstream(t, func(_ int, c *peer) {
					for {
						r := c.readRequest()
						if r.err != nil {
							return
						}
						if strings.Contains(r.first, "/sick") {
							c.send("HTTP/1.1 500 Sick\r\nContent-Length: 0\r\n\r\n")
							continue
						}
						seen.add(r.name())
						c.send("%s", answer(r.name()))
					}
				})
				g := startGatewayFile(t, fmt.Sprintf("pools: {p: {balance: %s, health: {path: %s}, upstreams: [{url: %q}, {url: %q}, {url: %q}]}}\n"+
					"routes: [{path: \"/infer/python\", pool: p}]\n", balance, health, refusing(t), up.URL, refusing(t)))
				c := g.dial()
				for i := range 50 {
					method := "GET"
					if i%2 == 1 {
						method = "POST"
					}
					name := fmt.Sprint("n", i)
					c = wantOwn(t, g, c, method, name)
					if n := seen.of(name); n != 1 {
						t.Errorf("%s was sent %d times", name, n)
					}
				}
			})
		}
	}
}
