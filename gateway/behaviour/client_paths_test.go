package behaviour

import (
	"strings"
	"testing"

	"aigateway/gateway/testkit"
)

// Routes match bytes, and frameworks decode: a target that is another route's to whoever decodes it once and removes dot
// segments is refused, so that no limit, no cache and no page is passed by.
func TestClientPathsOfAnotherRoute(t *testing.T) {
	t.Parallel()
	up := testkit.StartRecorder(t)
	g := startGatewayFile(t, `
pools: {p: {upstreams: [{url: "`+up.URL+`"}]}}
routes:
  - {path: "/*", pool: p}
  - {path: "/admin/*", pool: p, methods: [POST]}
  - {path: "/admin", pool: p, methods: [POST]}
  - {path: "/v1/*", pool: p}
  - {path: "/v1/images/*", pool: p, limit: {client_rps: 1, client_burst: 1}}
`)
	for _, path := range []string{
		"/%61dmin", "/admi%6E", "/./admin", "/x/../admin", "/x/%2e%2e/admin", "/x/..%2fadmin", "/x/.%2E%2Fadmin", "/%61dmin/x", "/x//../../admin/y",
		"/v1/%69mages/generations", "/v1/./images/generations", "/v1//images/generations", "/v1/x/../images/generations", "/v1%2Fimages/generations",
		"/%68ealthz", "/./metrics", "/x/../cachez", "/%6detrics", "/x/..", "/.", "/x/..//",
	} {
		m := g.Do("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n")
		if m.Status() != 400 || !strings.Contains(m.Body, `"ambiguous_path"`) && !strings.Contains(m.Body, `"bad_target"`) {
			t.Errorf("%s: %q %s", path, m.First, m.Body)
		}
	}
	if n := up.Connections(); n > 0 {
		t.Errorf("the upstream saw %q", testkit.Firsts(up.Whole()))
	}
	for _, path := range []string{
		"/x%2Fy", "/%2561dmin", "/x/../y", "/v1/models/a%2Fb", "/v1/x/%2e%2e/y", "/Admin", "/a%00b", "/%", "/%a", "/%zz", "/x?/../admin", "/a//b", "/admins%2F", "/v1/x/./y",
	} {
		up.Reset()
		if m := g.Do("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n"); m.Status() != 200 || m.Body != "GET "+path+" HTTP/1.1" {
			t.Errorf("%s: %q %s", path, m.First, m.Body)
		}
	}
}
