package behaviour

import (
	"strings"
	"testing"

	"aigateway/gateway/testkit"
)

// However short the head of an upstream is and however long the gateway's own lines are, a reply is whole: small, in a
// buffer of its own, streamed, in chunks, and from the cache.
func TestLongOwnLines(t *testing.T) {
	long := strings.Repeat("x", 300<<10)
	o := startOrigin(t, func(r testkit.Message, n int) string {
		switch {
		case strings.Contains(r.First, "/small"):
			return with("ok")
		case strings.Contains(r.First, "/middle"):
			return with(long[:40<<10])
		case strings.Contains(r.First, "/long"):
			return with(long)
		case strings.Contains(r.First, "/chunks"):
			return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
		}
		return with("ok", "Cache-Control: max-age=60")
	})
	site := strings.Repeat(strings.Repeat("a", 60)+".", 4) + "example"
	g := startGatewayFile(t, `
pools: {p: {upstreams: [{url: "`+o.URL+`"}]}}
routes: [{path: "/*", pool: p, limit: {client_rps: 123456, client_burst: 999999}, cors: {origins: ["https://`+site+`:12345"], credentials: true}}]
`, "RATE_LIMIT_ENABLED=true", "CACHE_ENABLED=true", "SERVER_TIMING=true")
	f := func(method, path, want string) {
		t.Helper()
		m := g.Do(method + " " + path + " HTTP/1.1\r\nHost: a\r\nOrigin: https://" + site + ":12345\r\nX-Request-ID: " + strings.Repeat("r", 128) + "\r\n\r\n")
		if m.Err != nil || m.Status() != 200 || m.Body != want || m.Field("X-Request-ID") == "" || !strings.Contains(m.Field("Access-Control-Allow-Origin"), site) {
			t.Errorf("%s %s: %q, %d bytes, %v", method, path, m.First, len(m.Body), m.Err)
		}
	}
	for _, method := range []string{"GET", "DELETE"} {
		f(method, "/small", "ok")
		f(method, "/middle", long[:40<<10])
		f(method, "/long", long)
		f(method, "/chunks", "ok")
	}
	f("GET", "/cached", "ok")
	f("GET", "/cached", "ok")
}
