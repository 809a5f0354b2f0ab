package behaviour

import (
	"aigateway/gateway/testkit"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"aigateway/gateway/proxy"
)

// A GET whose upstream is slow to answer goes to a second one as well.

// A pair is two upstreams of a pool that hedges. Requests are numbered in the order in which they come, to either.
type pair struct {
	*testGateway
	mu      sync.Mutex
	came    []int // to which upstream each request came
	arrived chan int
}

// startPair starts a gateway in front of a pair. act gets each request with its number; the connection is closed when
// it returns false.
func startPair(t *testing.T, hedge string, act func(p *pair, n int, c *testkit.Peer, r testkit.Message) bool, environ ...string) *pair {
	t.Helper()
	p := &pair{arrived: make(chan int, 1000)}
	var urls []string
	for which := range 2 {
		urls = append(urls, fmt.Sprintf("{url: %q}", testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
			for {
				r := c.ReadRequest()
				if r.Err != nil {
					return
				}
				p.mu.Lock()
				n := len(p.came)
				p.came = append(p.came, which)
				p.mu.Unlock()
				p.arrived <- n
				if !act(p, n, c, r) {
					return
				}
			}
		}).URL))
	}
	p.testGateway = startGatewayFile(t, "pools: {p: {balance: round_robin, "+hedge+"upstreams: ["+strings.Join(urls, ", ")+"]}}\n"+
		"routes: [{path: \"/infer/python\", pool: p}]\n", environ...)
	testkit.Eventually(t, "both are well", func() bool { return p.both((*proxy.Upstream).Healthy) })
	return p
}

func (p *pair) both(is func(*proxy.Upstream) bool) bool {
	ups := p.Parts().Proxy.Pool("p").Upstreams
	return is(ups[0]) && is(ups[1])
}

// wait waits until request n has come.
func (p *pair) wait(n int) {
	for end := time.After(testkit.Patience); ; {
		select {
		case m := <-p.arrived:
			if m >= n {
				return
			}
		case <-end:
			p.T.Errorf("request %d did not come", n)
			return
		}
	}
}

// requests is how many have come.
func (p *pair) requests() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.came)
}

// wantHedged checks that one request came to both upstreams and was counted as a hedge, and that nothing is left of it.
func (p *pair) wantHedged() {
	p.T.Helper()
	p.mu.Lock()
	came := append([]int(nil), p.came...)
	p.mu.Unlock()
	if len(came) != 2 || came[0] == came[1] {
		p.T.Errorf("the request came to %v, want both", came)
	}
	p.wantCounted(1)
	testkit.Eventually(p.T, "no place is taken", func() bool {
		return p.idle() && p.both(func(u *proxy.Upstream) bool { return u.Inflight() == 0 })
	})
}

func (p *pair) wantCounted(hedges int) {
	p.T.Helper()
	if page := p.page(); !strings.Contains(page, fmt.Sprintf("upstream_retries_total{reason=\"hedge\"} %d\n", hedges)) {
		p.T.Errorf("not counted as %d hedges", hedges)
	}
}

func (p *pair) page() string { return p.Do("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").Body }

// wantNoErrors checks that a cancelled attempt counts as no fault of its upstream's.
func (p *pair) wantNoErrors() {
	p.T.Helper()
	for line := range strings.Lines(p.page()) {
		if strings.HasPrefix(line, "upstream_errors_total{") && !strings.HasSuffix(line, " 0\n") {
			p.T.Errorf("counted: %s", line)
		}
	}
	if !p.both((*proxy.Upstream).Healthy) {
		p.T.Error("an upstream is not well")
	}
}

const hedge50 = "hedge: 50ms, "

func TestHedgeWins(t *testing.T) {
	events := chunkedOf([]string{"data: 1\n\n", "data: 2\n\n"}, "Content-Type: text/event-stream")
	large := strings.Repeat("x", 300<<10)
	for name, f := range map[string]struct{ method, send, body string }{
		"short":       {"GET", testkit.Answer("second"), "second"},
		"HEAD":        {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n", ""},
		"events":      {"GET", events, "data: 1\n\ndata: 2\n\n"},
		"large":       {"GET", testkit.Answer(large), large},
		"after a 103": {"GET", "HTTP/1.1 103 Early Hints\r\n\r\n" + testkit.Answer("second"), "second"},
		"an error":    {"GET", "HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno", "no"},
	} {
		for _, cache := range []string{"false", "true"} {
			t.Run(name+"/cache "+cache, func(t *testing.T) {
				t.Parallel()
				ended := make(chan time.Time, 1)
				p := startPair(t, hedge50, func(_ *pair, n int, c *testkit.Peer, _ testkit.Message) bool {
					if n == 0 {
						if !c.Closed() {
							t.Error("the slow upstream's connection was not closed")
						}
						ended <- time.Now()
						return false
					}
					c.Send("%s", f.send)
					return true
				}, "CACHE_ENABLED="+cache)
				begun := time.Now()
				r := p.Do(testkit.Ask(f.method, "x"))
				if r.Err != nil || r.Body != f.body || r.Status() != map[bool]int{true: 500, false: 200}[f.body == "no"] {
					t.Errorf("got %q, %d bytes, %v", r.First, len(r.Body), r.Err)
				}
				got := time.Now()
				if d := got.Sub(begun); d < 50*time.Millisecond {
					t.Errorf("the hedge began within %v", d)
				}
				if d := (<-ended).Sub(got); d > time.Second {
					t.Errorf("the slow upstream was let go after %v", d)
				}
				p.wantHedged()
				p.wantNoErrors()
			})
		}
	}
}

func TestHedgeLoses(t *testing.T) {
	for name, second := range map[string]func(c *testkit.Peer){
		"silent":       nil,
		"in a head":    func(c *testkit.Peer) { c.Send("HTTP/1.1 200 O") },
		"closes":       func(*testkit.Peer) {},
		"resets":       func(c *testkit.Peer) { c.Abort() },
		"garbage":      func(c *testkit.Peer) { c.Send("garbage\r\n\r\n") },
		"unavailable":  func(c *testkit.Peer) { c.Send("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"); c.Closed() },
		"bad gateway":  func(c *testkit.Peer) { c.Send("HTTP/1.1 502 No\r\nContent-Length: 100\r\n\r\n"); c.Closed() },
		"too long":     func(c *testkit.Peer) { c.Send("HTTP/1.1 200 OK\r\nX: %s", strings.Repeat("x", 20<<10)); c.Closed() },
		"many interim": func(c *testkit.Peer) { c.Send("%s", strings.Repeat("HTTP/1.1 103 A\r\n\r\n", 1000)); c.Closed() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			failed, ended := make(chan struct{}), make(chan time.Time, 1)
			p := startPair(t, hedge50, func(p *pair, n int, c *testkit.Peer, _ testkit.Message) bool {
				switch {
				case n == 0:
					p.wait(1)
					if second != nil {
						<-failed
						testkit.Spin()
					}
					c.Send("%s", testkit.Answer("first"))
					return true
				case second != nil:
					second(c)
					close(failed)
				default:
					c.Closed()
				}
				ended <- time.Now()
				return false
			})
			r := p.Do(testkit.Ask("GET", "x"))
			if r.Status() != 200 || r.Body != "first" {
				t.Errorf("got %q %q, %v", r.First, r.Body, r.Err)
			}
			got := time.Now()
			if d := (<-ended).Sub(got); d > time.Second {
				t.Errorf("the hedge was let go after %v", d)
			}
			p.wantHedged()
			if second == nil {
				p.wantNoErrors()
			}
		})
	}
}

// The first attempt fails once the hedge is under way: then it is the one.
func TestHedgeStandsIn(t *testing.T) {
	const late = "hedge: 500ms, timeouts: {response: 700ms}, "
	for name, f := range map[string]struct {
		hedge, counted string
		fail           func(c *testkit.Peer) // and wait until the gateway has noticed
	}{
		"closes":      {hedge50, "bad_upstream_response", func(c *testkit.Peer) { c.CloseWrite(); c.Closed() }},
		"cut":         {hedge50, "bad_upstream_response", func(c *testkit.Peer) { c.Send("HTTP/1.1 200 O"); c.CloseWrite(); c.Closed() }},
		"garbage":     {hedge50, "bad_upstream_response", func(c *testkit.Peer) { c.Send("garbage\r\n\r\n"); c.Closed() }},
		"silent":      {late, "timeout_response", func(c *testkit.Peer) { c.Closed() }},
		"unavailable": {hedge50, "", func(c *testkit.Peer) { c.Send("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"); testkit.Spin() }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			failed := make(chan struct{})
			p := startPair(t, f.hedge, func(p *pair, n int, c *testkit.Peer, _ testkit.Message) bool {
				if n > 0 {
					<-failed
					c.Send("%s", testkit.Answer("second"))
					return true
				}
				p.wait(1)
				f.fail(c)
				close(failed)
				return false
			})
			if r := p.Do(testkit.Ask("GET", "x")); r.Status() != 200 || r.Body != "second" {
				t.Errorf("got %q %q, %v", r.First, r.Body, r.Err)
			}
			p.wantHedged()
			if f.counted != "" && !strings.Contains(p.page(), `kind="`+f.counted+`"} 1`) {
				t.Errorf("%s was not counted", f.counted)
			}
		})
	}
}

// Both fail: the first one's failure is the client's, and nobody is asked a third time.
func TestHedgeFailsToo(t *testing.T) {
	for name, f := range map[string]struct {
		send   string
		status int
	}{
		"close":       {"", 502},
		"garbage":     {"garbage\r\n\r\n", 502},
		"unavailable": {"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno", 503},
		"silent":      {"-", 504},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startPair(t, hedge50+"timeouts: {response: 200ms}, ", func(p *pair, n int, c *testkit.Peer, _ testkit.Message) bool {
				if n == 0 {
					p.wait(1)
				}
				if f.send == "-" {
					c.Closed()
				} else {
					c.Send("%s", f.send)
				}
				return false
			})
			if r := p.Do(testkit.Ask("GET", "x")); r.Status() != f.status {
				t.Errorf("got %q %q, %v", r.First, r.Body, r.Err)
			}
			p.wantHedged()
		})
	}
}

// Both answer at the same moment, again and again: each client gets one answer, and its own.
func TestHedgeDraws(t *testing.T) {
	t.Parallel()
	const clients, requests = 4, 100
	p := startPair(t, "hedge: 1ms, ", func(_ *pair, n int, c *testkit.Peer, r testkit.Message) bool {
		time.Sleep(time.Duration(n%4) * time.Millisecond)
		c.Send("%s", testkit.Answer(r.Name()))
		return true
	})
	p.T.Cleanup(p.settle)
	var wg sync.WaitGroup
	for i := range clients {
		c := p.Dial()
		wg.Go(func() {
			for k := range requests {
				name := fmt.Sprintf("n%d-%d", i, k)
				c.Send("%s", testkit.Ask("GET", name))
				if r := c.ReadResponse(); r.Body != name {
					t.Errorf("%s: got %q %q, %v", name, r.First, r.Body, r.Err)
				}
			}
		})
	}
	wg.Wait()
	testkit.Eventually(t, "no place is taken", func() bool {
		return p.both(func(u *proxy.Upstream) bool { return u.Inflight() == 0 })
	})
	p.wantNoErrors()
}

// What is never sent to a second upstream, however long the answer takes.
func TestNeverHedged(t *testing.T) {
	f := func(name, hedge, request, before string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startPair(t, hedge, func(_ *pair, _ int, c *testkit.Peer, _ testkit.Message) bool {
				c.Send("%s", before)
				time.Sleep(150 * time.Millisecond)
				c.Send("%s", testkit.Answer("slow"))
				return true
			})
			if r := p.Do(request); r.Body != "slow" || p.requests() != 1 {
				t.Errorf("got %q %q, %v after %d attempts", r.First, r.Body, r.Err, p.requests())
			}
			p.wantCounted(0)
		})
	}
	const hedge20 = "hedge: 20ms, "
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "QUERY"} {
		f(method, hedge20, strings.Replace(testkit.Ask("POST", "x"), "POST", method, 1), "")
	}
	f("DELETE without a body", hedge20, testkit.Ask("DELETE", "x"), "")
	f("GET with a body", hedge20, "GET /infer/python?x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", "")
	f("GET with chunks", hedge20, "GET /infer/python?x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", "")
	f("WebSocket", hedge20, "GET /infer/python?x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "")
	f("after a byte", hedge20, testkit.Ask("GET", "x"), "HTTP/1.1 103 A\r\n\r\n")
	f("off", "", testkit.Ask("GET", "x"), "")
}

// A pool hedges no more of its traffic than it retries: a fifth, and 20 to begin with.
func TestHedgesAreBounded(t *testing.T) {
	t.Parallel()
	const requests = 50
	p := startPair(t, "hedge: 5ms, ", func(_ *pair, _ int, c *testkit.Peer, _ testkit.Message) bool {
		time.Sleep(30 * time.Millisecond)
		c.Send("%s", testkit.Answer("x"))
		return true
	})
	c := p.Dial()
	p.T.Cleanup(p.settle)
	for range requests {
		c.Send("%s", testkit.Ask("GET", "x"))
		if r := c.ReadResponse(); r.Body != "x" {
			t.Fatalf("got %q %q, %v", r.First, r.Body, r.Err)
		}
	}
	if hedges := p.requests() - requests; hedges < 1 || hedges > 20+requests/5 {
		t.Errorf("%d requests were hedged %d times", requests, hedges)
	}
}

// There is nobody else: nothing is spent.
func TestHedgeNeedsAnother(t *testing.T) {
	t.Parallel()
	seen := &testkit.Tally{}
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for {
			r := c.ReadRequest()
			if r.Err != nil {
				return
			}
			seen.Add(r.Name())
			time.Sleep(30 * time.Millisecond)
			c.Send("%s", testkit.Answer(r.Name()))
		}
	})
	for name, other := range map[string]string{"alone": "", "the other is sick": fmt.Sprintf(", {url: %q}", testkit.Refusing(t))} {
		t.Run(name, func(t *testing.T) {
			g := startGatewayFile(t, fmt.Sprintf("pools: {p: {hedge: 5ms, upstreams: [{url: %q}%s]}}\n"+
				"routes: [{path: \"/infer/python\", pool: p}]\n", up.URL, other))
			testkit.Eventually(t, "all are probed", func() bool {
				for _, u := range g.Parts().Proxy.Pool("p").Upstreams {
					if !u.Probed() {
						return false
					}
				}
				return true
			})
			c := g.Dial()
			t.Cleanup(g.settle)
			for i := range 30 {
				name := fmt.Sprint(name[:1], i)
				c.Send("%s", testkit.Ask("GET", name))
				if r := c.ReadResponse(); r.Body != name || seen.Of(name) != 1 {
					t.Errorf("got %q %q, %v after %d attempts", r.First, r.Body, r.Err, seen.Of(name))
				}
			}
		})
	}
}

// Who leaves takes both attempts along, and so does the end of the grace.
func TestHedgeIsLeft(t *testing.T) {
	for name, leave := range map[string]func(p *pair, c *testkit.Peer){
		"fin":      func(_ *pair, c *testkit.Peer) { c.Close() },
		"rst":      func(_ *pair, c *testkit.Peer) { c.Abort() },
		"shutdown": func(p *pair, _ *testkit.Peer) { p.End(10 * time.Millisecond) },
	} {
		for _, cache := range []string{"false", "true"} {
			t.Run(name+"/cache "+cache, func(t *testing.T) {
				t.Parallel()
				ended := make(chan time.Time, 2)
				p := startPair(t, hedge50, func(_ *pair, n int, c *testkit.Peer, _ testkit.Message) bool {
					if !c.Closed() {
						t.Error("not closed")
					}
					ended <- time.Now()
					return false
				}, "CACHE_ENABLED="+cache)
				c := p.Dial()
				c.Send("%s", testkit.Ask("GET", "x"))
				p.wait(1)
				begun := time.Now()
				leave(p, c)
				for range 2 {
					if d := (<-ended).Sub(begun); d > time.Second {
						t.Errorf("an upstream was let go after %v", d)
					}
				}
				testkit.Eventually(t, "nothing is under way", func() bool {
					return p.idle() && p.both(func(u *proxy.Upstream) bool { return u.Inflight() == 0 && u.Breaker() == proxy.Closed })
				})
			})
		}
	}
}

// One fetch for all who wait, at two upstreams: the answer of the faster one is everybody's, and is stored.
func TestHedgeOfAFlight(t *testing.T) {
	for name, send := range map[string]string{
		"whole":  "HTTP/1.1 200 OK\r\n" + fresh + "\r\nContent-Length: 6\r\n\r\nsecond",
		"stream": chunkedOf([]string{"sec", "ond"}, fresh),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			release := make(chan struct{})
			p := startPair(t, hedge50, func(_ *pair, n int, c *testkit.Peer, _ testkit.Message) bool {
				if n == 0 {
					c.Closed()
					return false
				}
				<-release
				c.Send("%s", send)
				return true
			}, "CACHE_ENABLED=true")
			clients := p.crowd(20, same(testkit.Ask("GET", "x")))
			p.wait(1)
			close(release)
			all(clients, func(i int, r testkit.Message) {
				if r.Body != "second" {
					t.Errorf("client %d got %q %q, %v", i, r.First, r.Body, r.Err)
				}
			})
			if r := p.Do(testkit.Ask("GET", "x")); r.Field("X-Cache") != "HIT" || r.Body != "second" {
				t.Errorf("stored: %q %q", r.Field("X-Cache"), r.Body)
			}
			p.wantHedged()
			p.wantNoErrors()
		})
	}
}

// The same over TLS, where a read that ends before an answer has come is not the last one.
func TestHedgeOverTLS(t *testing.T) {
	t.Parallel()
	for _, faster := range []int64{1, 2} {
		t.Run(fmt.Sprint("request ", faster), func(t *testing.T) {
			_, ca := startTLS(t)
			var came atomic.Int64
			both := make(chan struct{})
			handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/healthz" {
					return
				}
				n := came.Add(1)
				if n == 2 {
					close(both)
				}
				select {
				case <-both:
				case <-r.Context().Done():
				}
				if n == faster {
					_, _ = io.WriteString(w, "faster")
					return
				}
				<-r.Context().Done()
			})
			var urls []string
			for range 2 {
				s := httptest.NewTLSServer(handler)
				t.Cleanup(s.Close)
				urls = append(urls, s.URL)
			}
			g := startGatewayReading(t, fmt.Sprintf("pools: {p: {hedge: 50ms, tls: {ca_file: %q, server_name: example.com}, upstreams: [{url: %q}, {url: %q}]}}\n"+
				"routes: [{path: \"/infer/python\", pool: p}]\n", ca, urls[0], urls[1]))
			testkit.Eventually(t, "both are well", func() bool {
				ups := g.Parts().Proxy.Pool("p").Upstreams
				return ups[0].Healthy() && ups[1].Healthy()
			})
			if r := g.Do(testkit.Ask("GET", "x")); r.Body != "faster" || came.Load() != 2 {
				t.Errorf("got %q %q, %v after %d attempts", r.First, r.Body, r.Err, came.Load())
			}
		})
	}
}
