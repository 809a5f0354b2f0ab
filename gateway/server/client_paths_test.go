package server

import (
	"strings"
	"testing"
)

// Routes match bytes, and frameworks decode: a target that is another route's to whoever decodes it once and removes dot
// segments is refused, so that no limit, no cache and no page is passed by.
func TestClientPathsOfAnotherRoute(t *testing.T) {
	up := startRecorder(t)
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
		m := g.do("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n")
		if m.status() != 400 || !strings.Contains(m.body, `"ambiguous_path"`) && !strings.Contains(m.body, `"bad_target"`) {
			t.Errorf("%s: %q %s", path, m.first, m.body)
		}
	}
	if n := up.connections(); n > 0 {
		t.Errorf("the upstream saw %q", firsts(up.whole()))
	}
	for _, path := range []string{
		"/x%2Fy", "/%2561dmin", "/x/../y", "/v1/models/a%2Fb", "/v1/x/%2e%2e/y", "/Admin", "/a%00b", "/%", "/%a", "/%zz", "/x?/../admin", "/a//b", "/admins%2F", "/v1/x/./y",
	} {
		up.reset()
		if m := g.do("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n"); m.status() != 200 || m.body != "GET "+path+" HTTP/1.1" {
			t.Errorf("%s: %q %s", path, m.first, m.body)
		}
	}
}

func TestAppendPlain(t *testing.T) {
	f := func(path, want string) {
		t.Helper()
		if got := string(appendPlain([]byte("x"), []byte(path))); got != "x"+want {
			t.Errorf("%q is %q, want %q", path, got[1:], want)
		}
		if isPlain([]byte(path)) && path != want {
			t.Errorf("%q is taken for plain", path)
		}
	}
	f("/", "/")
	f("/a", "/a")
	f("/a/", "/a/")
	f("/a/b", "/a/b")
	f("//", "/")
	f("/a//b", "/a/b")
	f("/./a", "/a")
	f("/a/.", "/a/")
	f("/a/..", "/")
	f("/a/../..", "/")
	f("/../../a", "/a")
	f("/a/b/../c", "/a/c")
	f("/%61", "/a")
	f("/%2561", "/%61")
	f("/a%2fb", "/a/b")
	f("/a/%2E%2e/b", "/b")
	f("/%", "/%")
	f("/%4", "/%4")
	f("/%4g", "/%4g")
	f("/...", "/...")
	f("/.a/a.", "/.a/a.")
}
