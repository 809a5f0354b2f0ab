package server

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Bodies are held until they are whole, or long enough and on their way: what a slow client does costs others nothing.

const smallPool = `
pools:
  python: {upstreams: [{url: "%s"}], max_inflight: 2, queue: {size: 1, wait: 10ms}}
`

// startSummer starts an upstream that answers every request with its framing and the sum of its body.
func startSummer(t *testing.T) *scripted {
	return startUpstream(t, func(_ int, c *peer) {
		for {
			r := c.readRequest()
			if r.err != nil {
				return
			}
			c.send("%s", answer(r.field("Content-Length")+r.field("Transfer-Encoding")+" "+digest(r.body)))
		}
	})
}

func digest(body string) string { return fmt.Sprintf("%d:%x", len(body), sha256.Sum256([]byte(body))) }

// pattern is a body in which every part is another.
func pattern(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%d,", i)
	}
	return b.String()[:n]
}

// holdsNothing waits until no body is held.
func (g *testGateway) holdsNothing() {
	g.t.Helper()
	eventually(g.t, "no memory is held for bodies", func() bool { return g.proxy.Holds().Held() == 0 })
}

// Uploads that do not come on hold no place, whatever their length and however they are framed.
func TestSlowUploadsHoldNoPlace(t *testing.T) {
	up := startSummer(t)
	g := startGatewayFile(t, fmt.Sprintf(smallPool, up.URL), "BODY_BUFFER=300000")
	for _, head := range []string{"Content-Length: 70000", "Content-Length: 16000000", "Transfer-Encoding: chunked"} {
		for range 4 {
			c := g.dial()
			first := strings.Repeat("x", 69000)
			if strings.HasPrefix(head, "T") {
				first = fmt.Sprintf("%x\r\n%s", 1<<20, first)
			}
			c.send("POST /infer/python HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n%s", head, first)
		}
	}
	eventually(t, "all wait", func() bool { return g.open[0].Load() == 12 && g.proxy.Holds().Held() >= 12<<16 })
	for i := range 47 {
		if m := g.do("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"); m.status() != 200 {
			t.Fatalf("request %d beside slow uploads: %q %s", i, m.first, m.body)
		}
	}
	if n := up.connections(); n != 1 {
		t.Errorf("the upstream has %d connections, want the one of those who do not wait", n)
	}
}

// Every length passes as it came; those that were held whole have a length.
func TestHeldBodiesPassWhole(t *testing.T) {
	up := startSummer(t)
	const held = 300_000
	g := startGateway(t, "PY_SERVICE_URL="+up.URL, fmt.Sprintf("BODY_BUFFER=%d", held))
	for _, n := range []int{1, 20 << 10, 64<<10 - 1, 64 << 10, 64<<10 + 1, 100_000, 164_000, held - 1, held, held + 1, 1 << 20, 3 << 20} {
		body := pattern(n)
		for _, chunk := range []int{0, 1000, 70_000} {
			t.Run(fmt.Sprintf("%d in %d", n, chunk), func(t *testing.T) {
				c := g.dial()
				want := fmt.Sprint(n)
				if chunk == 0 {
					go c.send("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", n, body)
				} else {
					var b strings.Builder
					for at := 0; at < n; at += chunk {
						k := min(chunk, n-at)
						fmt.Fprintf(&b, "%x\r\n%s\r\n", k, body[at:at+k])
					}
					go c.send("%s%s0\r\n\r\n", chunkedPost, b.String())
					if n >= held {
						want = "chunked"
					}
				}
				m := c.readResponse()
				if got := strings.TrimPrefix(m.body, want); m.status() != 200 || strings.TrimSpace(got) != digest(body) {
					// The end of a chunked body may have come with its last byte, or not.
					if n != held || strings.TrimSpace(strings.TrimPrefix(m.body, fmt.Sprint(n))) != digest(body) {
						t.Errorf("got %q, body %q, %v", m.first, m.body, m.err)
					}
				}
			})
		}
	}
	g.holdsNothing()
}

// A body below the least rate is 408, before it is held and after, in the dialect of its route.
func TestSlowBodiesAreRefused(t *testing.T) {
	var cut, whole atomic.Int64
	up := startUpstream(t, func(_ int, c *peer) {
		for {
			r := c.readRequest()
			if r.err != nil {
				if r.first != "" {
					cut.Add(1)
				}
				return
			}
			whole.Add(1)
			c.send("%s", answer("well"))
		}
	})
	window := func(g *Gateway) { g.bodyWindow = 400 * time.Millisecond }
	g := startChanged(t, Options{}, window, "PY_SERVICE_URL="+up.URL, "LLM_SERVICE_URL="+up.URL, "BODY_MIN_RATE=20000", unheld)
	long := strings.Repeat("x", 100<<10)
	for _, f := range []struct{ name, path, sent string }{
		{"nothing", "/infer/python", "Content-Length: 10000\r\n\r\n"},
		{"short", "/infer/python", "Content-Length: 10000\r\n\r\nabc"},
		{"short, OpenAI", "/v1/chat/completions", "Content-Length: 10000\r\n\r\nabc"},
		{"long", "/infer/python", "Content-Length: 2000000\r\n\r\nabc"},
		{"chunks", "/infer/python", "Transfer-Encoding: chunked\r\n\r\n8000\r\nabc"},
		{"with a place", "/infer/python", "Content-Length: 2000000\r\n\r\n" + long},
		{"with a place, OpenAI", "/v1/files", "Content-Length: 2000000\r\n\r\n" + long},
		{"chunks with a place", "/infer/python", "Transfer-Encoding: chunked\r\n\r\n80000\r\n" + long},
	} {
		t.Run(f.name, func(t *testing.T) {
			c := g.dial()
			c.send("POST %s HTTP/1.1\r\nHost: a\r\n%s", f.path, f.sent)
			stop := make(chan struct{})
			defer close(stop)
			go func() { // a byte at a time, never silent
				for {
					select {
					case <-stop:
						return
					case <-time.After(20 * time.Millisecond):
					}
					if _, err := c.Write([]byte("x")); err != nil {
						return
					}
				}
			}()
			m := c.readResponse()
			wantFault(t, m, 408, "body_too_slow", strings.HasPrefix(f.path, "/v1/"))
			if m.field("Connection") != "close" {
				t.Errorf("Connection is %q", m.field("Connection"))
			}
		})
	}
	g.holdsNothing()
	eventually(t, "the upstream has seen three cut requests", func() bool { return cut.Load() == 3 })
	if n := whole.Load(); n > 0 {
		t.Errorf("the upstream takes %d of them for whole", n)
	}
	var metrics strings.Builder
	g.metrics.WritePrometheus(&metrics)
	if strings.Contains(metrics.String(), `kind="body_too_slow"`) {
		t.Errorf("they count as errors of the upstream:\n%s", metrics.String())
	}
	if m := g.do(ask("GET", "next")); m.body != "well" {
		t.Errorf("after slow bodies: %q %s", m.first, m.body)
	}
}

// A client over TLS may pause for longer than a part of the window, and is refused as another is.
func TestBodyRateUnderTLS(t *testing.T) {
	up := startSummer(t)
	cert := newTestCert(t, "gateway.example")
	window := func(g *Gateway) { g.bodyWindow = 2 * time.Second }
	g := startChanged(t, Options{}, window, append(cert.environ(), "PY_SERVICE_URL="+up.URL, "BODY_MIN_RATE=1000")...)
	for _, whole := range []bool{true, false} {
		c := g.dial().over(cert.client(t))
		c.send("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
		c.send("%s", strings.Repeat("x", 50_000))
		if !whole {
			wantFault(t, c.readResponse(), 408, "body_too_slow", false)
			continue
		}
		time.Sleep(700 * time.Millisecond) // more than one part of four
		c.send("%s", strings.Repeat("x", 50_000))
		if m := c.readResponse(); m.status() != 200 {
			t.Errorf("a pause: %q %s, %v", m.first, m.body, m.err)
		}
	}
}

// What is held, and how fast a body must come, follows a reload, for connections that are open too.
func TestHeldBodiesFollowAReload(t *testing.T) {
	up := startSummer(t)
	window := func(g *Gateway) { g.bodyWindow = 400 * time.Millisecond }
	g := startChanged(t, Options{}, window, "PY_SERVICE_URL="+up.URL, "BODY_MIN_RATE=0")
	ask := func(c *peer, then time.Duration) message {
		c.send("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345")
		time.Sleep(then)
		c.send("67890")
		return c.readResponse()
	}
	c := g.dial()
	if m := ask(c, 600*time.Millisecond); m.status() != 200 { // more than the window: nobody minds
		t.Errorf("without a rate: %q %s, %v", m.first, m.body, m.err)
	}
	if err := g.Reload(loadSettings(t, "", []string{"PY_SERVICE_URL=" + up.URL, "BODY_MIN_RATE=1000000"})); err != nil {
		t.Fatal(err)
	}
	c.send("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345")
	wantFault(t, c.readResponse(), 408, "body_too_slow", false)
	if err := g.Reload(loadSettings(t, "", []string{"PY_SERVICE_URL=" + up.URL, "BODY_MIN_RATE=0", "BODY_BUFFER_TOTAL=100000", unheld})); err != nil {
		t.Fatal(err)
	}
	holder := g.dial()
	holder.send("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 64000\r\n\r\n%s", strings.Repeat("x", 60_000))
	eventually(t, "it is held", func() bool { return g.proxy.Holds().Held() == 64_000 })
	c = g.dial()
	c.send("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n\r\n")
	wantFault(t, c.readResponse(), 503, "bodies_full", false)
}

// An upstream that takes the body slowly slows the client, who is not to blame.
func TestSlowUpstreamIsNotTheClientsFault(t *testing.T) {
	up := startUpstream(t, func(_ int, c *peer) {
		r := c.readHead()
		time.Sleep(1500 * time.Millisecond) // several windows
		c.send("%s", answer(fmt.Sprint(len(c.readBody(r, false).body))))
	})
	const size = 32 << 20 // more than the kernel holds
	window := func(g *Gateway) { g.bodyWindow = 200 * time.Millisecond }
	g := startChanged(t, Options{}, window, "PY_SERVICE_URL="+up.URL, "BODY_MIN_RATE=10000", fmt.Sprintf("MAX_BODY_BYTES=%d", size))
	c := g.dial()
	go c.send("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat("x", size))
	if m := c.readResponse(); m.status() != 200 || m.body != fmt.Sprint(size) {
		t.Errorf("got %q %s, %v", m.first, m.body, m.err)
	}
}

// All bodies together have a bound: beyond it 503, before 100 Continue, but for those that are short. It ends with
// the requests, however they do.
func TestHeldBodiesTogetherAreBounded(t *testing.T) {
	up := startSummer(t)
	g := startGateway(t, "PY_SERVICE_URL="+up.URL, "LLM_SERVICE_URL="+up.URL, "BODY_BUFFER_TOTAL=1048576")
	holder := g.dial()
	body := pattern(1_040_000)
	holder.send("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body[:1_030_000])
	eventually(t, "the body is held", func() bool { return g.proxy.Holds().Held() > 1_000_000 })
	for _, head := range []string{"Content-Length: 100000\r\n", "Content-Length: 100000\r\nExpect: 100-continue\r\n"} {
		c := g.dial()
		c.send("POST /infer/python HTTP/1.1\r\nHost: a\r\n%s\r\n", head)
		m := c.readHead() // no 100 before it
		m = c.readBody(m, true)
		wantFault(t, m, 503, "bodies_full", false)
		if m.field("Retry-After") == "" {
			t.Error("there is no Retry-After")
		}
	}
	c := g.dial()
	go c.send("POST /v1/files HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n30d40\r\n%s\r\n0\r\n\r\n", strings.Repeat("x", 200_000))
	wantFault(t, c.readResponse(), 503, "bodies_full", true)
	short := pattern(60_000)
	for range 10 {
		if m := g.do(fmt.Sprintf("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(short), short)); m.status() != 200 {
			t.Errorf("a short body beside long ones: %q %s", m.first, m.body)
		}
	}
	holder.send("%s", body[1_030_000:])
	if m := holder.readResponse(); m.body != fmt.Sprintf("%d %s", len(body), digest(body)) {
		t.Errorf("the one that was held: %q %s", m.first, m.body)
	}
	g.holdsNothing()
	for _, leave := range []func(*peer){func(c *peer) { c.Close() }, (*peer).abort} {
		c := g.dial()
		c.send("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n%s", body[:900_000])
		eventually(t, "the body is held", func() bool { return g.proxy.Holds().Held() > 800_000 })
		leave(c)
		g.holdsNothing()
	}
}

// While an upload is streamed, or its answer awaited, its beginning is not held.
func TestSentBodiesAreNotHeld(t *testing.T) {
	begun, finish := make(chan struct{}, 1), make(chan struct{})
	up := startUpstream(t, func(_ int, c *peer) {
		r := c.readHead()
		c.r.Discard(900_000)
		begun <- struct{}{}
		<-finish
		if r.field("Content-Length") != "900000" {
			c.r.Discard(2_000_000 - 900_000)
		}
		c.send("%s", answer("done"))
	})
	g := startGateway(t, "PY_SERVICE_URL="+up.URL)
	for _, n := range []int{900_000, 2_000_000} {
		c := g.dial()
		c.send("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", n, strings.Repeat("x", min(n, 1_500_000)))
		<-begun
		g.holdsNothing()
		c.send("%s", strings.Repeat("x", n-min(n, 1_500_000)))
		finish <- struct{}{}
		if m := c.readResponse(); m.body != "done" {
			t.Errorf("%d bytes: %q %v", n, m.first, m.err)
		}
	}
}

// A body that is held can be sent again, all of it.
func TestHeldBodyIsSentAgain(t *testing.T) {
	var breaks atomic.Int64
	up := startUpstream(t, func(_ int, c *peer) {
		for i := 0; ; i++ {
			r := c.readHead()
			if r.err != nil {
				return
			}
			if i > 0 { // the connection was good for one request
				breaks.Add(1)
				return
			}
			c.send("%s", answer(digest(c.readBody(r, false).body)))
		}
	})
	g := startGateway(t, "LLM_SERVICE_URL="+up.URL)
	body := pattern(700_000)
	for i := range 3 {
		g.do("GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n")
		m := g.do(fmt.Sprintf("PUT /v1/files HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
		if m.body != digest(body) {
			t.Errorf("round %d: %q %s, %v", i, m.first, m.body, m.err)
		}
	}
	if breaks.Load() == 0 {
		t.Error("no request was sent again")
	}
	g.holdsNothing()
}

// An upstream that answers without reading a body that is held has its answer passed on, and not a fault.
func TestEarlyAnswerToAHeldBody(t *testing.T) {
	up := startUpstream(t, func(_ int, c *peer) {
		c.readHead()
		c.send("HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno")
		for { // reads nothing until the gateway has gone
			if _, err := c.Write([]byte("!")); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
	g := startGateway(t, "PY_SERVICE_URL="+up.URL)
	for range 5 {
		c := g.dial()
		c.send("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n%s", strings.Repeat("x", 1_000_000))
		begun := time.Now()
		if m := c.readResponse(); m.status() != 401 || m.body != "no" {
			t.Errorf("got %q %s, %v", m.first, m.body, m.err)
		}
		wantQuick(t, "the answer", begun, 5*time.Second)
	}
	g.holdsNothing()
}
