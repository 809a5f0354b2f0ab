package behaviour

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"aigateway/gateway/server"
	"aigateway/gateway/testkit"
)

// Bodies are held until they are whole, or long enough and on their way: what a slow client does costs others nothing.

const smallPool = `
pools:
  python: {upstreams: [{url: "%s"}], max_inflight: 2, queue: {size: 1, wait: 10ms}}
`

// startSummer starts an upstream that answers every request with its framing and the sum of its body.
func startSummer(t *testing.T) *testkit.Upstream {
	return testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for {
			r := c.ReadRequest()
			if r.Err != nil {
				return
			}
			c.Send("%s", testkit.Answer(r.Field("Content-Length")+r.Field("Transfer-Encoding")+" "+digest(r.Body)))
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
	g.T.Helper()
	testkit.Eventually(g.T, "no memory is held for bodies", func() bool { return g.Parts().Proxy.Holds().Held() == 0 })
}

// Uploads that do not come on hold no place, whatever their length and however they are framed.
func TestSlowUploadsHoldNoPlace(t *testing.T) {
	up := startSummer(t)
	g := startGatewayFile(t, fmt.Sprintf(smallPool, up.URL), "BODY_BUFFER=300000")
	for _, head := range []string{"Content-Length: 70000", "Content-Length: 16000000", "Transfer-Encoding: chunked"} {
		for range 4 {
			c := g.Dial()
			first := strings.Repeat("x", 69000)
			if strings.HasPrefix(head, "T") {
				first = fmt.Sprintf("%x\r\n%s", 1<<20, first)
			}
			c.Send("POST /infer/python HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n%s", head, first)
		}
	}
	testkit.Eventually(t, "all wait", func() bool { return g.Parts().Open == 12 && g.Parts().Proxy.Holds().Held() >= 12<<16 })
	for i := range 47 {
		if m := g.Do("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"); m.Status() != 200 {
			t.Fatalf("request %d beside slow uploads: %q %s", i, m.First, m.Body)
		}
	}
	if n := up.Connections(); n != 1 {
		t.Errorf("the upstream has %d connections, want the one of those who do not wait", n)
	}
}

// Every length passes as it came; those that were held whole have a length.
func TestHeldBodiesPassWhole(t *testing.T) {
	t.Parallel()
	up := startSummer(t)
	const held = 300_000
	g := startGateway(t, "PY_SERVICE_URL="+up.URL, fmt.Sprintf("BODY_BUFFER=%d", held))
	for _, n := range []int{1, 20 << 10, 64<<10 - 1, 64 << 10, 64<<10 + 1, 100_000, 164_000, held - 1, held, held + 1, 1 << 20, 3 << 20} {
		body := pattern(n)
		for _, chunk := range []int{0, 1000, 70_000} {
			t.Run(fmt.Sprintf("%d in %d", n, chunk), func(t *testing.T) {
				c := g.Dial()
				want := fmt.Sprint(n)
				if chunk == 0 {
					go c.Send("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", n, body)
				} else {
					var b strings.Builder
					for at := 0; at < n; at += chunk {
						k := min(chunk, n-at)
						fmt.Fprintf(&b, "%x\r\n%s\r\n", k, body[at:at+k])
					}
					go c.Send("%s%s0\r\n\r\n", chunkedPost, b.String())
					if n >= held {
						want = "chunked"
					}
				}
				m := c.ReadResponse()
				if got := strings.TrimPrefix(m.Body, want); m.Status() != 200 || strings.TrimSpace(got) != digest(body) {
					// The end of a chunked body may have come with its last byte, or not.
					if n != held || strings.TrimSpace(strings.TrimPrefix(m.Body, fmt.Sprint(n))) != digest(body) {
						t.Errorf("got %q, body %q, %v", m.First, m.Body, m.Err)
					}
				}
			})
		}
	}
	g.holdsNothing()
}

// An upstream that takes a held body slowly gets all of it, once, however much the kernel takes ahead of it; so does the next one, if the
// first goes away in the middle.
func TestHeldBodyToASlowUpstream(t *testing.T) {
	t.Parallel()
	for _, n := range []int{200_000, 8_000_000} {
		body := pattern(n)
		var tried atomic.Int32
		serve := func(_ int, c *testkit.Peer) {
			if strings.Contains(c.ReadHead().First, "/healthz") {
				c.Send("%s", testkit.Answer("well"))
				return
			}
			if tried.Add(1) == 1 {
				_, _ = c.R.Discard(100_000)
				c.Abort()
				return
			}
			got := make([]byte, n)
			for at := 0; at < n; {
				k, err := c.R.Read(got[at:min(n, at+30_000)])
				if at += k; err != nil {
					t.Error(err)
					return
				}
			}
			c.Send("%s", testkit.Answer(digest(string(got))))
		}
		g := startGatewayFile(t, fmt.Sprintf("pools: {p: {upstreams: [{url: %q}, {url: %q}]}}\nroutes: [{path: \"/infer/python\", pool: p, retry: reattempt}]\n",
			testkit.StartUpstream(t, serve).URL, testkit.StartUpstream(t, serve).URL), "BODY_BUFFER=9000000")
		testkit.Eventually(t, "both are healthy", func() bool { return strings.Count(g.Log.String(), "upstream is healthy") >= 2 })
		c := g.Dial()
		go c.Send("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", n, body)
		if m := c.ReadResponse(); m.Status() != 200 || m.Body != digest(body) || tried.Load() != 2 {
			t.Errorf("%d bytes: got %q, body %q, %v, after %d attempts", n, m.First, m.Body, m.Err, tried.Load())
		}
		g.holdsNothing()
	}
}

// A body below the least rate is 408, before it is held and after, in the dialect of its route.
func TestSlowBodiesAreRefused(t *testing.T) {
	t.Parallel()
	var cut, whole atomic.Int64
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for {
			r := c.ReadRequest()
			if r.Err != nil {
				if r.First != "" {
					cut.Add(1)
				}
				return
			}
			whole.Add(1)
			c.Send("%s", testkit.Answer("well"))
		}
	})
	window := server.Options{BodyWindow: 400 * time.Millisecond}
	g := serve(t, testkit.Settings(t, "", []string{"PY_SERVICE_URL=" + up.URL, "LLM_SERVICE_URL=" + up.URL, "BODY_MIN_RATE=20000", unheld}), window)
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
			c := g.Dial()
			c.Send("POST %s HTTP/1.1\r\nHost: a\r\n%s", f.path, f.sent)
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
			m := c.ReadResponse()
			testkit.WantFault(t, m, 408, "body_too_slow", strings.HasPrefix(f.path, "/v1/"))
			if m.Field("Connection") != "close" {
				t.Errorf("Connection is %q", m.Field("Connection"))
			}
		})
	}
	g.holdsNothing()
	testkit.Eventually(t, "the upstream has seen three cut requests", func() bool { return cut.Load() == 3 })
	if n := whole.Load(); n > 0 {
		t.Errorf("the upstream takes %d of them for whole", n)
	}
	var metrics strings.Builder
	g.Parts().Metrics.WritePrometheus(&metrics)
	if strings.Contains(metrics.String(), `kind="body_too_slow"`) {
		t.Errorf("they count as errors of the upstream:\n%s", metrics.String())
	}
	if m := g.Do(testkit.Ask("GET", "next")); m.Body != "well" {
		t.Errorf("after slow bodies: %q %s", m.First, m.Body)
	}
}

// A client over TLS may pause for longer than a part of the window, and is refused as another is.
func TestBodyRateUnderTLS(t *testing.T) {
	t.Parallel()
	up := startSummer(t)
	cert := newTestCert(t, "gateway.example")
	window := server.Options{BodyWindow: 2 * time.Second}
	g := serve(t, testkit.Settings(t, "", append(cert.environ(), "PY_SERVICE_URL="+up.URL, "BODY_MIN_RATE=1000")), window)
	for _, whole := range []bool{true, false} {
		c := g.Dial().Over(cert.client(t))
		c.Send("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
		c.Send("%s", strings.Repeat("x", 50_000))
		if !whole {
			testkit.WantFault(t, c.ReadResponse(), 408, "body_too_slow", false)
			continue
		}
		time.Sleep(700 * time.Millisecond) // more than one part of four
		c.Send("%s", strings.Repeat("x", 50_000))
		if m := c.ReadResponse(); m.Status() != 200 {
			t.Errorf("a pause: %q %s, %v", m.First, m.Body, m.Err)
		}
	}
}

// What is held, and how fast a body must come, follows a reload, for connections that are open too.
func TestHeldBodiesFollowAReload(t *testing.T) {
	t.Parallel()
	up := startSummer(t)
	window := server.Options{BodyWindow: 400 * time.Millisecond}
	g := serve(t, testkit.Settings(t, "", []string{"PY_SERVICE_URL=" + up.URL, "BODY_MIN_RATE=0"}), window)
	ask := func(c *testkit.Peer, then time.Duration) testkit.Message {
		c.Send("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345")
		time.Sleep(then)
		c.Send("67890")
		return c.ReadResponse()
	}
	c := g.Dial()
	if m := ask(c, 600*time.Millisecond); m.Status() != 200 { // more than the window: nobody minds
		t.Errorf("without a rate: %q %s, %v", m.First, m.Body, m.Err)
	}
	if err := g.Reload(testkit.Settings(t, "", []string{"PY_SERVICE_URL=" + up.URL, "BODY_MIN_RATE=1000000"})); err != nil {
		t.Fatal(err)
	}
	c.Send("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345")
	testkit.WantFault(t, c.ReadResponse(), 408, "body_too_slow", false)
	if err := g.Reload(testkit.Settings(t, "", []string{"PY_SERVICE_URL=" + up.URL, "BODY_MIN_RATE=0", "BODY_BUFFER_TOTAL=100000", unheld})); err != nil {
		t.Fatal(err)
	}
	holder := g.Dial()
	holder.Send("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 64000\r\n\r\n%s", strings.Repeat("x", 60_000))
	testkit.Eventually(t, "it is held", func() bool { return g.Parts().Proxy.Holds().Held() == 64_000 })
	c = g.Dial()
	c.Send("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n\r\n")
	testkit.WantFault(t, c.ReadResponse(), 503, "bodies_full", false)
}

// An upstream that takes the body slowly slows the client, who is not to blame.
func TestSlowUpstreamIsNotTheClientsFault(t *testing.T) {
	t.Parallel()
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		r := c.ReadHead()
		time.Sleep(1500 * time.Millisecond) // several windows
		c.Send("%s", testkit.Answer(fmt.Sprint(len(c.ReadBody(r, false).Body))))
	})
	const size = 32 << 20 // more than the kernel holds
	window := server.Options{BodyWindow: 200 * time.Millisecond}
	g := serve(t, testkit.Settings(t, "", []string{"PY_SERVICE_URL=" + up.URL, "BODY_MIN_RATE=10000", fmt.Sprintf("MAX_BODY_BYTES=%d", size)}), window)
	c := g.Dial()
	go c.Send("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat("x", size))
	if m := c.ReadResponse(); m.Status() != 200 || m.Body != fmt.Sprint(size) {
		t.Errorf("got %q %s, %v", m.First, m.Body, m.Err)
	}
}

// All bodies together have a bound: beyond it 503, before 100 Continue, but for those that are short. It ends with
// the requests, however they do.
func TestHeldBodiesTogetherAreBounded(t *testing.T) {
	up := startSummer(t)
	g := startGateway(t, "PY_SERVICE_URL="+up.URL, "LLM_SERVICE_URL="+up.URL, "BODY_BUFFER_TOTAL=1048576")
	holder := g.Dial()
	body := pattern(1_040_000)
	holder.Send("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body[:1_030_000])
	testkit.Eventually(t, "the body is held", func() bool { return g.Parts().Proxy.Holds().Held() > 1_000_000 })
	for _, head := range []string{"Content-Length: 100000\r\n", "Content-Length: 100000\r\nExpect: 100-continue\r\n"} {
		c := g.Dial()
		c.Send("POST /infer/python HTTP/1.1\r\nHost: a\r\n%s\r\n", head)
		m := c.ReadHead() // no 100 before it
		m = c.ReadBody(m, true)
		testkit.WantFault(t, m, 503, "bodies_full", false)
		if m.Field("Retry-After") == "" {
			t.Error("there is no Retry-After")
		}
	}
	c := g.Dial()
	go c.Send("POST /v1/files HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n30d40\r\n%s\r\n0\r\n\r\n", strings.Repeat("x", 200_000))
	testkit.WantFault(t, c.ReadResponse(), 503, "bodies_full", true)
	short := pattern(60_000)
	for range 10 {
		if m := g.Do(fmt.Sprintf("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(short), short)); m.Status() != 200 {
			t.Errorf("a short body beside long ones: %q %s", m.First, m.Body)
		}
	}
	holder.Send("%s", body[1_030_000:])
	if m := holder.ReadResponse(); m.Body != fmt.Sprintf("%d %s", len(body), digest(body)) {
		t.Errorf("the one that was held: %q %s", m.First, m.Body)
	}
	g.holdsNothing()
	for _, leave := range []func(*testkit.Peer){func(c *testkit.Peer) { c.Close() }, (*testkit.Peer).Abort} {
		c := g.Dial()
		c.Send("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n%s", body[:900_000])
		testkit.Eventually(t, "the body is held", func() bool { return g.Parts().Proxy.Holds().Held() > 800_000 })
		leave(c)
		g.holdsNothing()
	}
}

// While an upload is streamed, or its answer awaited, its beginning is not held.
func TestSentBodiesAreNotHeld(t *testing.T) {
	begun, finish := make(chan struct{}, 1), make(chan struct{})
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		r := c.ReadHead()
		c.R.Discard(900_000)
		begun <- struct{}{}
		<-finish
		if r.Field("Content-Length") != "900000" {
			c.R.Discard(2_000_000 - 900_000)
		}
		c.Send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\ndone") // a long upload must not meet its end
	})
	g := startGateway(t, "PY_SERVICE_URL="+up.URL)
	for _, n := range []int{900_000, 2_000_000} {
		c := g.Dial()
		c.Send("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", n, strings.Repeat("x", min(n, 1_500_000)))
		<-begun
		g.holdsNothing()
		c.Send("%s", strings.Repeat("x", n-min(n, 1_500_000)))
		finish <- struct{}{}
		if m := c.ReadResponse(); m.Body != "done" {
			t.Errorf("%d bytes: %q %v", n, m.First, m.Err)
		}
	}
}

// A body that is held can be sent again, all of it.
func TestHeldBodyIsSentAgain(t *testing.T) {
	t.Parallel()
	var breaks atomic.Int64
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for i := 0; ; i++ {
			r := c.ReadHead()
			if r.Err != nil {
				return
			}
			if i > 0 { // the connection was good for one request
				breaks.Add(1)
				return
			}
			c.Send("%s", testkit.Answer(digest(c.ReadBody(r, false).Body)))
		}
	})
	g := startGateway(t, "LLM_SERVICE_URL="+up.URL)
	body := pattern(700_000)
	for i := range 3 {
		g.Do("GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n")
		m := g.Do(fmt.Sprintf("PUT /v1/files HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
		if m.Body != digest(body) {
			t.Errorf("round %d: %q %s, %v", i, m.First, m.Body, m.Err)
		}
	}
	if breaks.Load() == 0 {
		t.Error("no request was sent again")
	}
	g.holdsNothing()
}

// An upstream that answers without reading a body that is held has its answer passed on, and not a fault.
func TestEarlyAnswerToAHeldBody(t *testing.T) {
	t.Parallel()
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		c.ReadHead()
		c.Send("HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno")
		for { // reads nothing until the gateway has gone
			if _, err := c.Write([]byte("!")); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
	g := startGateway(t, "PY_SERVICE_URL="+up.URL)
	for range 5 {
		c := g.Dial()
		c.Send("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n%s", strings.Repeat("x", 1_000_000))
		begun := time.Now()
		if m := c.ReadResponse(); m.Status() != 401 || m.Body != "no" {
			t.Errorf("got %q %s, %v", m.First, m.Body, m.Err)
		}
		testkit.WantQuick(t, "the answer", begun, 5*time.Second)
	}
	g.holdsNothing()
}

// A body whose model has not come counts for what is held of it, beyond what is held of others as well.
func TestOpenBodiesCount(t *testing.T) {
	t.Parallel()
	up := startSummer(t)
	const sent = 2 << 20
	g := startGatewayFile(t, fmt.Sprintf("pools:\n  llm: {upstreams: [{url: %q}]}\nmodels:\n  - {name: a, pool: llm}\n", up.URL),
		"BODY_BUFFER=100000", fmt.Sprintf("BODY_BUFFER_TOTAL=%d", 2*sent+(512<<10)))
	body := `{"prompt":"` + strings.Repeat("x", sent) + `","model":"a"}`
	for range 2 {
		c := g.Dial()
		c.Send("POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body[:sent])
	}
	testkit.Eventually(t, "both are held, and count", func() bool { return g.Parts().Proxy.Holds().Held() >= 2*sent-(128<<10) })
	c := g.Dial()
	go c.Send("POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	if m := c.ReadResponse(); m.Status() != 503 {
		t.Errorf("one more has the answer %q, want a 503", m.First)
	}
}
