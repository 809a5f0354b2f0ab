package behaviour

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"aigateway/gateway/testkit"
)

// When a request is sent again, and when never.

// A pooled connection that its upstream has closed is noticed before it is used: nothing fails, nothing runs
// twice.
func TestPooledConnectionClosedByUpstream(t *testing.T) {
	t.Parallel()
	testkit.EachWay(t, func(t *testing.T, method string, second bool) {
		const pooled = 8
		var mu sync.Mutex
		var conns []*testkit.Peer
		seen := &testkit.Tally{}
		held, release := 0, make(chan struct{})
		up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			for {
				r := c.ReadRequest()
				if r.Err != nil {
					return
				}
				seen.Add(r.Name())
				if r.Name() == "hold" {
					mu.Lock()
					now := release
					if held++; held%pooled == 0 {
						close(release)
						release = make(chan struct{})
					}
					mu.Unlock()
					<-now
				}
				c.Send("%s", testkit.Answer(r.Name()))
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
					c.Abort()
				case "half":
					c.Conn.(interface{ CloseWrite() error }).CloseWrite()
				case "408":
					c.Send("HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\nConnection: close\r\n\r\nlate")
					c.Close()
				}
			}
			conns = nil
			mu.Unlock()
			for i := range 10 {
				name := fmt.Sprintf("%s-%d", end, i)
				c.Send("%s", testkit.Ask(method, name))
				if r := c.ReadResponse(); r.Status() != 200 || r.Body != name {
					t.Errorf("%s: got %q, body %q, %v", name, r.First, r.Body, r.Err)
				}
				if n := seen.Of(name); n != 1 {
					t.Errorf("%s was executed %d times", name, n)
				}
			}
		}
	})
}

// fillAtOnce makes n pooled connections: the upstream answers the requests named "hold" when all n are there.
func fillAtOnce(g *testGateway, n int) {
	g.T.Helper()
	var wg sync.WaitGroup
	for range n {
		c := g.Dial()
		c.Send("%s", testkit.Ask("GET", "hold"))
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer c.Close()
			if r := c.ReadResponse(); r.Body != "hold" {
				g.T.Errorf("cannot fill the pool: %q %v", r.First, r.Err)
			}
		}()
	}
	wg.Wait()
}

// startBreaking starts an upstream whose first n connections are answered together, so that all of them are
// pooled, and which breaks each of these when it has read a second request on it; later connections work.
func startBreaking(t *testing.T, n int, breakIt func(c *testkit.Peer)) (*testkit.Upstream, *testkit.Tally) {
	seen := &testkit.Tally{}
	var all sync.WaitGroup
	all.Add(n)
	up := testkit.StartUpstream(t, func(i int, c *testkit.Peer) {
		if i < n {
			seen.Add(c.ReadRequest().Name())
			all.Done()
			all.Wait()
			c.Send("%s", testkit.Answer("hold"))
			r := c.ReadRequest()
			if r.Err == nil {
				seen.Add(r.Name())
				breakIt(c)
			}
			return
		}
		for {
			r := c.ReadRequest()
			if r.Err != nil {
				return
			}
			seen.Add(r.Name())
			c.Send("%s", testkit.Answer(r.Name()))
		}
	})
	return up, seen
}

// A used connection that breaks after the request was read, before the first byte of an answer: what is
// idempotent is sent once more, and only once; a POST never is.
func TestUsedConnectionBreaks(t *testing.T) {
	t.Parallel()
	ends := map[string]func(c *testkit.Peer){
		"fin":        func(c *testkit.Peer) { c.Close() },
		"rst":        func(c *testkit.Peer) { c.Abort() },
		"after 103":  func(c *testkit.Peer) { c.Send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n") },
		"in a head":  func(c *testkit.Peer) { c.Send("HTTP/1.1 2") },
		"in garbage": func(c *testkit.Peer) { c.Send("\x00") },
	}
	for end, breakIt := range ends {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "PATCH"} {
			for _, pooled := range []int{1, 8} {
				t.Run(fmt.Sprintf("%s/%s/%d pooled", end, method, pooled), func(t *testing.T) {
					up, seen := startBreaking(t, pooled, breakIt)
					g := startGatewayFile(t, "pools: {p: {upstreams: [{url: \""+up.URL+"\"}]}}\nroutes: [{path: \"/infer/python\", pool: p}]\n")
					fillAtOnce(g, pooled)
					r := g.Do(strings.Replace(testkit.Ask("POST", "x"), "POST", method, 1))
					mayRepeat := method != "POST" && method != "PATCH" && (end == "fin" || end == "rst")
					switch n := seen.Of("x"); {
					case !mayRepeat && n != 1:
						t.Errorf("sent %d times, want once", n)
					case mayRepeat && n > 2:
						t.Errorf("sent %d times, want at most twice", n)
					case mayRepeat && r.Body != "x":
						t.Errorf("got %q %q after %d tries: a new connection would have worked", r.First, r.Body, n)
					}
					if !mayRepeat {
						testkit.WantFault(t, r, 502, "bad_upstream_response", false)
					}
				})
			}
		}
	}
}

// A new connection that breaks has had its one attempt.
func TestNewConnectionBreaks(t *testing.T) {
	t.Parallel()
	for end, breakIt := range map[string]func(c *testkit.Peer){
		"fin": func(c *testkit.Peer) { c.Close() },
		"rst": func(c *testkit.Peer) { c.Abort() },
	} {
		for _, method := range []string{"GET", "HEAD", "POST"} {
			t.Run(end+"/"+method, func(t *testing.T) {
				up, seen := testkit.StartOdd(t, func(c *testkit.Peer, _ testkit.Message) bool { breakIt(c); return false })
				g := startGateway(t, "PY_SERVICE_URL="+up.URL)
				r := g.Do(testkit.Ask(method, "odd"))
				if r.Status() != 502 || seen.Of("odd") != 1 {
					t.Errorf("got %q after %d attempts", r.First, seen.Of("odd"))
				}
			})
		}
	}
}

// A time-out is never followed by a second attempt.
func TestNothingIsRepeatedAfterATimeout(t *testing.T) {
	t.Parallel()
	testkit.EachWay(t, func(t *testing.T, method string, second bool) {
		up, seen := testkit.StartOdd(t, func(c *testkit.Peer, _ testkit.Message) bool { c.Closed(); return false })
		g := startGateway(t, "PY_SERVICE_URL="+up.URL, "RESPONSE_TIMEOUT=100ms")
		c := g.client(second)
		begun := time.Now()
		c.Send("%s", testkit.Ask(method, "odd"))
		testkit.WantFault(t, c.ReadResponse(), 504, "timeout_response", false)
		testkit.WantQuick(t, "the time-out", begun, 2*time.Second)
		if n := seen.Of("odd"); n != 1 {
			t.Errorf("sent %d times", n)
		}
		for chance := 1; ; chance++ {
			c.Send("%s", testkit.Ask(method, "next"))
			r := c.ReadResponse()
			if r.Body == "next" {
				break
			}
			if r.Status() != 504 || chance == 5 { // a machine that stands still is late, too
				t.Errorf("the next request got %q %q, %v", r.First, r.Body, r.Err)
				break
			}
		}
	})
}

// /infer goes to node when python cannot be reached, and when it stays silent: that attempt is over then. Once python may have
// executed a request, it goes there only if it may be executed twice.
func TestFallbackAsFarAsItIsSafe(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"GET", "POST"} {
		t.Run(method+" refused", func(t *testing.T) {
			node, seen := testkit.StartOdd(t, nil)
			g := startGateway(t, "PY_SERVICE_URL="+testkit.Refusing(t), "NODE_SERVICE_URL="+node.URL)
			c := g.Dial()
			for i := range 3 {
				name := fmt.Sprint("n", i)
				c.Send("%s", testkit.AskAt("/infer", method, name))
				if r := c.ReadResponse(); r.Body != name || seen.Of(name) != 1 {
					t.Errorf("got %q %q, %v; node saw it %d times", r.First, r.Body, r.Err, seen.Of(name))
				}
			}
			// Without a fallback of its own, the route to python is a 503: nobody can be reached, or the breaker has
			// seen enough of that.
			c.Send("%s", testkit.Ask(method, "x"))
			r, code := c.ReadResponse(), "upstream_unreachable"
			if strings.Contains(r.Body, `"no_upstream"`) {
				code = "no_upstream"
			}
			testkit.WantFault(t, r, 503, code, false)
		})
		for name, odd := range map[string]func(c *testkit.Peer){
			"500":     func(c *testkit.Peer) { c.Send("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n") },
			"garbage": func(c *testkit.Peer) { c.Send("garbage\r\n\r\n") },
			"closes":  func(c *testkit.Peer) {},
			"silent":  func(c *testkit.Peer) { c.Closed() },
		} {
			t.Run(method+" "+name, func(t *testing.T) {
				python, seen := testkit.StartOdd(t, func(c *testkit.Peer, _ testkit.Message) bool { odd(c); return false })
				node, nodeSeen := testkit.StartOdd(t, func(c *testkit.Peer, _ testkit.Message) bool { c.Send("%s", testkit.Answer("node")); return true })
				timeout := "1m"
				if name == "silent" {
					timeout = "1s"
				}
				g := startGateway(t, "PY_SERVICE_URL="+python.URL, "NODE_SERVICE_URL="+node.URL, "RESPONSE_TIMEOUT="+timeout)
				testkit.Eventually(t, "both are well", func() bool { return strings.Count(g.Log.String(), "upstream is healthy") >= 2 })
				r := g.Do(testkit.AskAt("/infer", method, "odd"))
				rescued := method == "GET" || name == "silent"
				if rescued && (r.Body != "node" || r.Field("X-Upstream-Attempts") != "2") || !rescued && r.Status() < 500 ||
					seen.Of("odd") != 1 || nodeSeen.Of("odd") == 1 != rescued {
					t.Errorf("got %q; python saw it %d times, node %d times", r.First, seen.Of("odd"), nodeSeen.Of("odd"))
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
				seen := &testkit.Tally{}
				up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
					for {
						r := c.ReadRequest()
						if r.Err != nil {
							return
						}
						if strings.Contains(r.First, "/sick") {
							c.Send("HTTP/1.1 500 Sick\r\nContent-Length: 0\r\n\r\n")
							continue
						}
						seen.Add(r.Name())
						c.Send("%s", testkit.Answer(r.Name()))
					}
				})
				g := startGatewayFile(t, fmt.Sprintf("pools: {p: {balance: %s, health: {path: %s}, upstreams: [{url: %q}, {url: %q}, {url: %q}]}}\n"+
					"routes: [{path: \"/infer/python\", pool: p}]\n", balance, health, testkit.Refusing(t), up.URL, testkit.Refusing(t)))
				c := g.Dial()
				for i := range 50 {
					method := "GET"
					if i%2 == 1 {
						method = "POST"
					}
					name := fmt.Sprint("n", i)
					c = wantOwn(t, g, c, method, name)
					if n := seen.Of(name); n != 1 {
						t.Errorf("%s was sent %d times", name, n)
					}
				}
			})
		}
	}
}
