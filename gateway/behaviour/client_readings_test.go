package behaviour

import (
	"strings"
	"testing"

	"aigateway/gateway/testkit"
)

// Who stands behind may decode, remove dot segments, make one slash of several, or leave any of it, in whatever order. Each of
// these is the other route's to somebody: to a framework that only decodes, to WHATWG's URL parser, to a normaliser before it.
func TestClientPathsInEveryReading(t *testing.T) {
	up := testkit.StartRecorder(t)
	g := startGatewayFile(t, `
pools: {p: {upstreams: [{url: "`+up.URL+`"}]}}
routes:
  - {path: "/*", pool: p}
  - {path: "/admin/*", pool: p, methods: [POST]}
`)
	for _, path := range []string{
		"/%61dmin/../x",             // only decoded: Starlette
		"/%61dmin/%2e%2e/x",         // the same
		"/admi%6e/..%2fx",           // the same
		"/q/../admin/x//../../z",    // an empty segment is one: RFC 3986 §5.2.4, WHATWG
		"/q/../admin%2f..%2fz",      // dot segments first, then decoded
		"/q/%2e%2e/admin%2f..%2fz",  // the same, for who takes %2e for a dot
		"/q/../admin/%2e%2e/z",      // the same, for who does not
		"/x%2f..%2fadmin//..//z",    // an empty segment behind what was decoded
		"/x/./..//admin/y/../../..", // slashes made one, and dots left
	} {
		up.Reset()
		m := g.Do("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n")
		if m.Status() != 400 || !strings.Contains(m.Body, `"ambiguous_path"`) && !strings.Contains(m.Body, `"bad_target"`) {
			t.Errorf("%s: %q %s", path, m.First, m.Body)
		}
	}
	for _, path := range []string{"/x//y", "/x/.../y", "/x/.well-known", "/proxy/http://b/admin/x", "/a%2F%2Fb", "/a/%2e/b", "/x/a/../admins/y", "/x/y%2F..%2Fz"} {
		up.Reset()
		if m := g.Do("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n"); m.Status() != 200 || m.Body != "GET "+path+" HTTP/1.1" {
			t.Errorf("%s: %q %s", path, m.First, m.Body)
		}
	}
}

// What a path holds only percent-encoded stands so in a route too, and is found by whoever spells it so. Another spelling of
// the same path is another route's by its bytes.
func TestClientPathsOfEncodedRoutes(t *testing.T) {
	up := testkit.StartRecorder(t)
	g := startGatewayFile(t, `
pools: {p: {upstreams: [{url: "`+up.URL+`"}]}}
routes:
  - {path: "/*", pool: p}
  - {path: "/caf%C3%A9/*", pool: p}
  - {path: "/caf%C3%A9", pool: p}
  - {path: "/models/a%2Fb", pool: p}
  - {path: "/models/*", pool: p}
  - {path: "/m/a%2Fb/*", pool: p}
  - {path: "/m/*", pool: p}
`)
	for _, path := range []string{"/caf%C3%A9/x", "/caf%C3%A9", "/caf%C3%A9/x%20y", "/models/a%2Fb", "/m/a%2Fb/x", "/m/a%2Fb/x%2Fy", "/m/a%2Fc/x", "/models/c/d", "/x"} {
		up.Reset()
		if m := g.Do("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n"); m.Status() != 200 || m.Body != "GET "+path+" HTTP/1.1" {
			t.Errorf("%s: %q %s", path, m.First, m.Body)
		}
	}
	for _, path := range []string{"/caf%c3%a9/x", "/caf%c3%a9", "/caf\xc3\xa9", "/caf\xc3\xa9/x", "/%63af%C3%A9/x"} {
		m := g.Do("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n")
		if m.Status() != 400 || !strings.Contains(m.Body, `"ambiguous_path"`) {
			t.Errorf("%s: %q %s", path, m.First, m.Body)
		}
	}
}
