package behaviour

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"aigateway/gateway/testkit"
)

// limited are settings that admit n requests of one client, and never one more.
func limited(n int) []string {
	return []string{
		"RATE_LIMIT_ENABLED=true", "GLOBAL_RPS=0", "GLOBAL_BURST=1000000", "CLIENT_RPS=0", fmt.Sprintf("CLIENT_BURST=%d", n),
	}
}

// A burst of n admits n, whatever the number of connections.
func TestLimitIsExact(t *testing.T) {
	t.Parallel()
	const burst, conns, each = 500, 64, 30
	g := startGateway(t, limited(burst)...)
	var admitted, refused atomic.Int64
	var wg sync.WaitGroup
	for range conns {
		c := g.Dial()
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range each {
				c.Send("GET /limited HTTP/1.1\r\nHost: a\r\n\r\n")
				switch r := c.ReadResponse(); r.Status() {
				case 200:
					admitted.Add(1)
				case 429:
					refused.Add(1)
				default:
					t.Errorf("got %q, %v", r.First, r.Err)
					return
				}
			}
		}()
	}
	wg.Wait()
	if admitted.Load() != burst || refused.Load() != conns*each-burst {
		t.Errorf("%d admitted, %d refused; want %d and %d", admitted.Load(), refused.Load(), burst, conns*each-burst)
	}
}

// The fields that tell a client about its limit, on admitted and refused requests, on answers of the gateway and
// of an upstream.
func TestLimitFields(t *testing.T) {
	t.Parallel()
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for c.ReadRequest().Err == nil {
			c.Send("%s", testkit.Answer("ok"))
		}
	})
	g := startGateway(t, "RATE_LIMIT_ENABLED=true", "GLOBAL_RPS=1", "GLOBAL_BURST=50", "CLIENT_RPS=0.01", "CLIENT_BURST=2", "PY_SERVICE_URL="+up.URL)
	c := g.Dial()
	for i, path := range []string{"/limited", "/infer/python?prompt=x"} {
		c.Send("GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path)
		r := c.ReadResponse()
		if r.Status() != 200 || r.Field("RateLimit-Policy") != `"client";q=2;w=200, "global";q=50;w=50` {
			t.Errorf("%s: %q, RateLimit-Policy %q", path, r.First, r.Field("RateLimit-Policy"))
		}
		if want := fmt.Sprintf(`"client";r=%d;t=100`, 1-i); r.Field("RateLimit") != want {
			t.Errorf("%s: RateLimit is %q, want %q", path, r.Field("RateLimit"), want)
		}
	}
	c.Send("GET /infer/python?prompt=x HTTP/1.1\r\nHost: a\r\n\r\n")
	r := c.ReadResponse()
	if r.Status() != 429 || r.Body != `{"error":"too_many_requests"}`+"\n" || r.Field("Content-Type") != "application/json" {
		t.Errorf("got %q, %q, body %q", r.First, r.Field("Content-Type"), r.Body)
	}
	for name, want := range map[string]string{
		"RateLimit-Scope": "client", "RateLimit-Remaining": "0", "RateLimit": `"client";r=0;t=100`,
		"RateLimit-Policy": `"client";q=2;w=200, "global";q=50;w=50`,
	} {
		if got := r.Field(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if after := r.Field("Retry-After"); after != "100" && after != "99" {
		t.Errorf("Retry-After is %q", after)
	}
	// Operations pages are never limited.
	for range 5 {
		c.Send("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
		if r := c.ReadResponse(); r.Status() != 200 || r.Field("RateLimit") != "" {
			t.Errorf("/healthz: %q, RateLimit %q", r.First, r.Field("RateLimit"))
		}
	}
	// An OpenAI client gets an error in the shape that it knows.
	g = startGateway(t, append(limited(1), "LLM_SERVICE_URL="+up.URL)...)
	g.Do("GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n")
	if r := g.Do("GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n"); r.Status() != 429 || !strings.Contains(r.Body, `"type":"rate_limit_error","param":null`) {
		t.Errorf("got %q, %q", r.First, r.Body)
	}
}

// The refusal comes before the body is read and before 100 Continue, and the connection is kept where that is
// cheap.
func TestLimitBeforeTheBody(t *testing.T) {
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for c.ReadRequest().Err == nil {
			c.Send("%s", testkit.Answer("ok"))
		}
	})
	g := startGateway(t, append(limited(1), "PY_SERVICE_URL="+up.URL)...)
	g.Do("GET /limited HTTP/1.1\r\nHost: a\r\n\r\n")
	for _, head := range []string{
		"Content-Length: 100000",
		"Content-Length: 10\r\nExpect: 100-continue",
		"Transfer-Encoding: chunked",
	} {
		c := g.Dial()
		c.Send("POST /infer/python HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n", head) // and not a byte of it
		if m := c.ReadHead(); m.Status() != 429 {
			t.Errorf("%s: %q, %v", head, m.First, m.Err)
		}
	}
	c := g.Dial()
	for range 3 {
		c.Send("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
		if m := c.ReadResponse(); m.Status() != 429 {
			t.Fatalf("%q, %v", m.First, m.Err)
		}
	}
}

// A route's own limit and cost, from the file; routes of the same limit share it, others do not.
func TestLimitOfARoute(t *testing.T) {
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for c.ReadRequest().Err == nil {
			c.Send("%s", testkit.Answer("ok"))
		}
	})
	g := startGatewayFile(t, fmt.Sprintf(`
pools: {p: {upstreams: [{url: %q}]}}
routes:
  - {path: /few, pool: p, limit: {client_rps: 0, client_burst: 2}}
  - {path: /dear, pool: p, limit: {cost: 4}}
`, up.URL), append(limited(9), "RATE_LIMIT_ENABLED=true")...)
	f := func(path string, want ...int) {
		t.Helper()
		for i, w := range want {
			if r := g.Do("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n"); r.Status() != w {
				t.Errorf("%s, request %d: %q, want %d", path, i, r.First, w)
			}
		}
	}
	f("/few", 200, 200, 429)
	f("/dear", 200, 200, 429) // 8 of 9
	f("/limited", 200, 429)
	f("/few", 429)
}
