package behaviour

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"aigateway/gateway/testkit"
)

// startRouted starts a gateway with its cache on and the origin behind "/*", whose route says so much about the cache.
func startRouted(t *testing.T, o *origin, cache string) *testGateway {
	t.Helper()
	file := "pools: {p: {upstreams: [{url: \"" + o.URL + "\"}]}}\nroutes: [{path: \"/*\", pool: p, cache: {" + cache + "}}]\n"
	return startGatewayFile(t, file, "CACHE_ENABLED=true", "PY_SERVICE_URL="+o.URL)
}

// of is an answer of that status.
func of(status int, body string, lines ...string) string {
	return strings.Replace(with(body, lines...), "200 OK", fmt.Sprint(status, " Some"), 1)
}

// A route's ttl is for answers that say what there is; that there is nothing is believed only as long as negative_ttl
// says. What an answer says itself counts first.
func TestCacheTTLByStatus(t *testing.T) {
	t.Parallel()
	f := func(cache string, status int, line, second string) {
		t.Helper()
		o := startOrigin(t, func(_ testkit.Message, n int) string { return of(status, fmt.Sprint("answer ", n), line) })
		g := startRouted(t, o, cache)
		wantCached(t, g.get("/a"), "MISS", status, "answer 0")
		if m := g.get("/a"); m.Field("X-Cache") != second {
			t.Errorf("{%s}, %d with %q: the second is %s, want %s", cache, status, line, m.Field("X-Cache"), second)
		}
	}
	const nothing = "X-Own: 1"
	for _, status := range []int{200, 203, 301, 308} {
		f("ttl: 60s", status, nothing, "HIT")
	}
	for _, status := range []int{302, 300, 307, 400, 401, 403, 404, 405, 410, 414, 429, 500, 501, 503} {
		f("ttl: 60s", status, nothing, "MISS")
	}
	f("ttl: 60s", 404, "Cache-Control: public", "MISS")
	f("ttl: 60s", 302, "Cache-Control: public", "MISS")
	f("ttl: 60s", 404, "Cache-Control: max-age=60", "HIT")
	for _, status := range []int{404, 405, 410, 414, 501} {
		f("ttl: 60s, negative_ttl: 10s", status, nothing, "HIT")
		f("negative_ttl: 10s", status, nothing, "HIT")
	}
	f("ttl: 60s, negative_ttl: 10s", 404, "Cache-Control: no-store", "MISS")
	f("ttl: 60s, negative_ttl: 10s", 403, nothing, "MISS")
	f("negative_ttl: 10s", 200, nothing, "MISS")
	f("ttl: 60s, negative_ttl: 0s", 404, nothing, "MISS")
}

// An event stream is of the moment: it is kept only if it says for how long, and never given to a client that wants it
// from where it was cut.
func TestCacheEventStreams(t *testing.T) {
	f := func(kind, control, outcome string) {
		t.Helper()
		o := startOrigin(t, func(r testkit.Message, n int) string {
			return with(fmt.Sprintf("data: %d after %q\n\n", n, r.Field("Last-Event-ID")), "Content-Type: "+kind, control)
		})
		g := startRouted(t, o, "ttl: 60s")
		wantCached(t, g.get("/a"), "MISS", 200, "data: 0 after \"\"\n\n")
		wantCached(t, g.get("/a", "Last-Event-ID: 7"), "MISS", 200, "data: 1 after \"7\"\n\n")
		want := "data: 0 after \"\"\n\n" // nor is what was sent behind that event for others
		if outcome == "MISS" {
			want = "data: 2 after \"\"\n\n"
		}
		wantCached(t, g.get("/a"), outcome, 200, want)
	}
	f("text/event-stream", "X-Own: 1", "MISS")
	f("Text/Event-Stream; charset=utf-8", "X-Own: 1", "MISS")
	f("multipart/x-mixed-replace; boundary=b", "X-Own: 1", "MISS")
	f("text/event-stream", "Cache-Control: public", "MISS")
	f("text/event-stream", "Cache-Control: max-age=60", "HIT")

	// What is no stream is fresh for it, too, if it says so itself.
	o := startOrigin(t, func(r testkit.Message, n int) string {
		if strings.Contains(r.First, "/stated") {
			return with(fmt.Sprint("answer ", n), fresh)
		}
		return with(fmt.Sprint("answer ", n))
	})
	g := startRouted(t, o, "ttl: 60s")
	for target, outcome := range map[string]string{"/stated": "HIT", "/a": "MISS"} {
		g.get(target)
		if m := g.get(target, "Last-Event-ID: 7"); m.Field("X-Cache") != outcome {
			t.Errorf("%s: %s", target, m.Head)
		}
	}
}

// A 304 without a validator is about what was asked about: it freshens that, and the request goes out once.
func TestCacheNotModifiedWithoutValidator(t *testing.T) {
	for _, validator := range []string{`ETag: "v1"`, `ETag: W/"v1"`, "Last-Modified: Mon, 23 Nov 2026 12:00:00 GMT",
		"ETag: \"v1\"\r\nLast-Modified: Mon, 23 Nov 2026 12:00:00 GMT"} {
		for _, vary := range []string{"X-Own: 1", "Vary: Accept-Language"} {
			o := startOrigin(t, func(r testkit.Message, n int) string {
				if n == 0 {
					return with("body", "Cache-Control: max-age=60", "Age: 100", validator, vary)
				}
				return "HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=600\r\n\r\n"
			})
			g := startCached(t, o)
			wantCached(t, g.get("/a"), "MISS", 200, "body")
			wantCached(t, g.get("/a"), "REVALIDATED", 200, "body")
			wantCached(t, g.get("/a"), "HIT", 200, "body")
			if n := len(o.asked()); n != 2 {
				t.Errorf("%s, %s: the upstream was asked %d times", validator, vary, n)
			}
		}
	}
}

// A route's stale_if_error is for answers that say nothing of it, whatever the failure; what they say counts first.
func TestCacheStaleIfErrorOfRoute(t *testing.T) {
	const outdated = "Cache-Control: max-age=60"
	f := func(cache, control, failure string, lines []string, status int) {
		t.Helper()
		var asked atomic.Int32
		up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
			if c.ReadRequest().Err != nil {
				return
			}
			if asked.Add(1) == 1 {
				c.Send("%s", with("old", control, "Age: 100", `ETag: "v"`, "Connection: close"))
			} else {
				c.Send("%s", failure) // and closes
			}
		})
		g := startRouted(t, &origin{Upstream: up}, cache)
		wantCached(t, g.get("/a"), "MISS", 200, "old")
		for _, request := range []string{"GET", "HEAD", "GET /a HTTP/1.1\r\nRange: bytes=1-1"} {
			request, field, _ := strings.Cut(request, " /a HTTP/1.1\r\n")
			want, body := status, "old"
			if request == "HEAD" {
				body = ""
			} else if field != "" && status == 200 {
				want, body = 206, "l"
			}
			m := g.Do(request + " /a HTTP/1.1\r\nHost: a\r\n" + joined(append(lines, field)[:len(lines)+min(1, len(field))]) + "\r\n")
			if m.Status() != want || status == 200 && (m.Field("X-Cache") != "STALE" || m.Body != body || m.Field("Age") == "") {
				t.Errorf("{%s}, %s, %s %s, then %.20q: %s %s; want %d", cache, control, request, field, failure, m.First, m.Head, want)
			}
		}
	}
	const busy = "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"
	for _, failure := range []string{busy, "", "HTTP/1.1 200", "nonsense\r\n\r\n", "HTTP/1.1 500 X\r\nContent-Length: 1\r\n\r\nx"} {
		f("stale_if_error: 10m", outdated, failure, nil, 200)
	}
	f("ttl: 60s, stale_if_error: 10m", outdated, busy, nil, 200)
	f("stale_if_error: 10s", outdated, busy, nil, 503) // it is stale since 40 s
	f("stale_if_error: 10m", outdated+", stale-if-error=10", busy, nil, 503)
	f("stale_if_error: 10m", outdated+", must-revalidate", busy, nil, 503)
	f("stale_if_error: 10m", "Cache-Control: s-maxage=60", busy, nil, 503)
	f("stale_if_error: 10m", outdated, busy, []string{"Cache-Control: no-cache"}, 503)
	f("stale_if_error: 10m", outdated, "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", nil, 404)
	f("", outdated, busy, nil, 503)
}

// An answer that is to be asked about whenever it is used is stored for that, although it says nothing of freshness.
func TestCacheNoCacheWithoutFreshness(t *testing.T) {
	o := startOrigin(t, func(r testkit.Message, n int) string {
		if r.Field("If-None-Match") != "" {
			return "HTTP/1.1 304 Not Modified\r\n\r\n"
		}
		return with(fmt.Sprint("answer ", n), "Cache-Control: no-cache", `ETag: "v"`)
	})
	for _, cache := range []string{"", "ttl: 60s"} {
		g := startRouted(t, o, cache)
		before := len(o.asked())
		first := g.get("/a" + cache[:min(1, len(cache))])
		wantCached(t, first, "MISS", 200, "answer 0")
		wantCached(t, g.get("/a"+cache[:min(1, len(cache))], "X-User: me"), "REVALIDATED", 200, "answer 0")
		wantCached(t, g.get("/a"+cache[:min(1, len(cache))], `If-None-Match: "v"`), "REVALIDATED", 304, "")
		wantCached(t, g.get("/a"+cache[:min(1, len(cache))], "Cookie: a=b"), "REVALIDATED", 200, "answer 0")
		wantCached(t, g.get("/a"+cache[:min(1, len(cache))]), "REVALIDATED", 200, "answer 0") // still
		if n := len(o.asked()) - before; n != 5 {
			t.Errorf("%d requests", n)
		}
	}
}
