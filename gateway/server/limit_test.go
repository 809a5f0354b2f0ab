package server

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// limited are settings that admit n requests of one client, and never one more.
func limited(n int) []string {
	return []string{
		"RATE_LIMIT_ENABLED=true", "GLOBAL_RPS=0", "GLOBAL_BURST=1000000", "CLIENT_RPS=0", fmt.Sprintf("CLIENT_BURST=%d", n),
	}
}

// A burst of n admits n, whatever the number of connections.
func TestLimitIsExact(t *testing.T) {
	const burst, conns, each = 500, 64, 30
	g := startGateway(t, limited(burst)...)
	var admitted, refused atomic.Int64
	var wg sync.WaitGroup
	for range conns {
		c := g.dial()
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range each {
				c.send("GET /limited HTTP/1.1\r\nHost: a\r\n\r\n")
				switch r := c.readResponse(); r.status() {
				case 200:
					admitted.Add(1)
				case 429:
					refused.Add(1)
				default:
					t.Errorf("got %q, %v", r.first, r.err)
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
	up := startUpstream(t, func(_ int, c *peer) {
		for c.readRequest().err == nil {
			c.send("%s", answer("ok"))
		}
	})
	g := startGateway(t, "RATE_LIMIT_ENABLED=true", "GLOBAL_RPS=1", "GLOBAL_BURST=50", "CLIENT_RPS=0.01", "CLIENT_BURST=2", "PY_SERVICE_URL="+up.URL)
	c := g.dial()
	for i, path := range []string{"/limited", "/infer/python?prompt=x"} {
		c.send("GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path)
		r := c.readResponse()
		if r.status() != 200 || r.field("RateLimit-Policy") != `"client";q=2;w=200, "global";q=50;w=50` {
			t.Errorf("%s: %q, RateLimit-Policy %q", path, r.first, r.field("RateLimit-Policy"))
		}
		if want := fmt.Sprintf(`"client";r=%d;t=100`, 1-i); r.field("RateLimit") != want {
			t.Errorf("%s: RateLimit is %q, want %q", path, r.field("RateLimit"), want)
		}
	}
	c.send("GET /infer/python?prompt=x HTTP/1.1\r\nHost: a\r\n\r\n")
	r := c.readResponse()
	if r.status() != 429 || r.body != `{"error":"too_many_requests"}`+"\n" || r.field("Content-Type") != "application/json" {
		t.Errorf("got %q, %q, body %q", r.first, r.field("Content-Type"), r.body)
	}
	for name, want := range map[string]string{
		"RateLimit-Scope": "client", "RateLimit-Remaining": "0", "RateLimit": `"client";r=0;t=100`,
		"RateLimit-Policy": `"client";q=2;w=200, "global";q=50;w=50`,
	} {
		if got := r.field(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if after := r.field("Retry-After"); after != "100" && after != "99" {
		t.Errorf("Retry-After is %q", after)
	}
	// Operations pages are never limited.
	for range 5 {
		c.send("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
		if r := c.readResponse(); r.status() != 200 || r.field("RateLimit") != "" {
			t.Errorf("/healthz: %q, RateLimit %q", r.first, r.field("RateLimit"))
		}
	}
	// An OpenAI client gets an error in the shape that it knows.
	g = startGateway(t, append(limited(1), "LLM_SERVICE_URL="+up.URL)...)
	g.do("GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n")
	if r := g.do("GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n"); r.status() != 429 || !strings.Contains(r.body, `"type":"rate_limit_error","param":null`) {
		t.Errorf("got %q, %q", r.first, r.body)
	}
}

// The refusal comes before the body is read and before 100 Continue, and the connection is kept where that is
// cheap.
func TestLimitBeforeTheBody(t *testing.T) {
	up := startUpstream(t, func(_ int, c *peer) {
		for c.readRequest().err == nil {
			c.send("%s", answer("ok"))
		}
	})
	g := startGateway(t, append(limited(1), "PY_SERVICE_URL="+up.URL)...)
	g.do("GET /limited HTTP/1.1\r\nHost: a\r\n\r\n")
	for _, head := range []string{
		"Content-Length: 100000",
		"Content-Length: 10\r\nExpect: 100-continue",
		"Transfer-Encoding: chunked",
	} {
		c := g.dial()
		c.send("POST /infer/python HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n", head) // and not a byte of it
		if m := c.readHead(); m.status() != 429 {
			t.Errorf("%s: %q, %v", head, m.first, m.err)
		}
	}
	c := g.dial()
	for range 3 {
		c.send("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
		if m := c.readResponse(); m.status() != 429 {
			t.Fatalf("%q, %v", m.first, m.err)
		}
	}
}

// A route's own limit and cost, from the file; routes of the same limit share it, others do not.
func TestLimitOfARoute(t *testing.T) {
	up := startUpstream(t, func(_ int, c *peer) {
		for c.readRequest().err == nil {
			c.send("%s", answer("ok"))
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
			if r := g.do("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n"); r.status() != w {
				t.Errorf("%s, request %d: %q, want %d", path, i, r.first, w)
			}
		}
	}
	f("/few", 200, 200, 429)
	f("/dear", 200, 200, 429) // 8 of 9
	f("/limited", 200, 429)
	f("/few", 429)
}

// Who is who: the right-most address that is not trusted.
func TestClientIdentity(t *testing.T) {
	g := startGateway(t, "TRUSTED_PROXIES=10.0.0.0/8,fd00::/8")
	f := func(peer, want string, lines ...string) {
		t.Helper()
		var values [][]byte
		for _, l := range lines {
			values = append(values, []byte(l))
		}
		if got := g.plan.Load().client(netip.MustParseAddr(peer), values); got.String() != want {
			t.Errorf("peer %s, X-Forwarded-For %q: %s, want %s", peer, lines, got, want)
		}
	}
	f("8.8.8.8", "8.8.8.8")
	f("8.8.8.8", "8.8.8.8", "1.1.1.1") // not trusted: what it says is nothing
	f("10.0.0.1", "10.0.0.1")
	f("10.0.0.1", "1.1.1.1", "1.1.1.1")
	f("10.0.0.1", "2.2.2.2", "1.1.1.1, 2.2.2.2")
	f("10.0.0.1", "2.2.2.2", "1.1.1.1", "2.2.2.2")
	f("10.0.0.1", "1.1.1.1", "6.6.6.6, 1.1.1.1, 10.0.0.2", "10.0.0.3")
	f("10.0.0.1", "10.0.0.2", "10.0.0.2,10.0.0.3")
	f("10.0.0.1", "1.1.1.1", "", "1.1.1.1", "")
	f("10.0.0.1", "1.1.1.1", "9.9.9.9,, 1.1.1.1 ,, 10.0.0.9 ,")
	f("10.0.0.1", "1.1.1.1", "1.1.1.1:5555")
	f("10.0.0.1", "2001:db8::1", "[2001:db8::1]:443")
	f("10.0.0.1", "2001:db8::1", "[2001:db8::1]")
	f("10.0.0.1", "2001:db8::1", "2001:db8::1")
	f("10.0.0.1", "fe80::1", "fe80::1%eth0")
	f("10.0.0.1", "fe80::1", "[fe80::1%eth0]:80")
	f("10.0.0.1", "1.1.1.1", "::ffff:1.1.1.1")
	f("fd00::1", "1.1.1.1", "1.1.1.1")
	// What cannot be read ends the search at the last trusted hop.
	for _, bad := range []string{"unknown", "_hidden", "1.1.1", "1.1.1.1.1", "1.1.1.256", "[::1", "[::1]x", "[::1]:", "1.1.1.1:x", "1.1.1.1:999999",
		"1.1.1.1 2.2.2.2", "\"1.1.1.1\"", "%eth0", "[]", "fe80::1%", strings.Repeat("1", 100), "http://1.1.1.1"} {
		if bad == "fe80::1%" {
			f("10.0.0.1", "fe80::1", bad)
			continue
		}
		f("10.0.0.1", "10.0.0.1", bad)
		f("10.0.0.1", "10.0.0.7", "1.2.3.4, "+bad+", 10.0.0.7")
	}
	// At most 32 hops are looked at.
	f("10.0.0.1", "10.0.0.2", "1.1.1.1"+strings.Repeat(", 10.0.0.2", 32))
	f("10.0.0.1", "1.1.1.1", "1.1.1.1"+strings.Repeat(", 10.0.0.2", 31))
	// A client is a /64.
	a := appendClientKey(nil, netip.MustParseAddr("2001:db8::1"))
	b := appendClientKey(nil, netip.MustParseAddr("2001:db8::ffff:1"))
	c := appendClientKey(nil, netip.MustParseAddr("2001:db8:0:1::1"))
	if string(a) != string(b) || string(a) == string(c) {
		t.Errorf("keys %x, %x, %x", a, b, c)
	}
}

// For any header lines and any trusted list, the identity is the peer or an address in the header, and never one
// left of an untrusted hop.
func FuzzClientIdentity(f *testing.F) {
	f.Add("10.0.0.1, 1.1.1.1", "10.0.0.2", uint8(3))
	f.Add("[::1]:80,fe80::1%a", "unknown", uint8(1))
	f.Add("::ffff:10.1.1.1", ",,", uint8(2))
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	f.Fuzz(func(t *testing.T, first, second string, which uint8) {
		g := &plan{settings: settingsTrusting(trusted[:which%3])}
		peer := netip.MustParseAddr("10.0.0.1")
		got := g.client(peer, [][]byte{[]byte(first), []byte(second)})
		if !got.IsValid() || got.Zone() != "" || got.Is4In6() {
			t.Fatalf("identity %v", got)
		}
		if got == peer {
			return
		}
		elements := strings.Split(first+","+second, ",")
		for i := len(elements) - 1; i >= 0; i-- {
			e := strings.Trim(elements[i], " \t")
			if e == "" {
				continue
			}
			addr, ok := parseHop([]byte(e))
			if ok && addr == got {
				return
			}
			if !ok || !g.trusts(addr) {
				t.Fatalf("%q, %q: %v lies left of %q", first, second, got, e)
			}
		}
		t.Fatalf("%q, %q: %v is not in the header", first, second, got)
	})
}
