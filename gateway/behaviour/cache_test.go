package behaviour

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"aigateway/gateway/testkit"
)

// An origin is an upstream whose answers a test writes, and that knows what was asked of it.
type origin struct {
	*testkit.Upstream
	mu   sync.Mutex
	seen []testkit.Message
}

// startOrigin starts an origin. reply returns all of the answer to a request; n counts those of its first line from 0.
func startOrigin(t *testing.T, reply func(r testkit.Message, n int) string) *origin {
	t.Helper()
	o := &origin{}
	o.Upstream = testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for {
			r := c.ReadRequest()
			if r.Err != nil {
				return
			}
			o.mu.Lock()
			n := 0
			for _, before := range o.seen {
				if before.First == r.First {
					n++
				}
			}
			o.seen = append(o.seen, r)
			o.mu.Unlock()
			c.Send("%s", reply(r, n))
		}
	})
	return o
}

// asked returns the requests so far.
func (o *origin) asked() []testkit.Message {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]testkit.Message(nil), o.seen...)
}

// with is an answer of 200 with these lines and body.
func with(body string, lines ...string) string {
	head := ""
	for _, line := range lines {
		head += line + "\r\n"
	}
	return fmt.Sprintf("HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s", head, len(body), body)
}

// startCached starts a gateway with its cache on and the origin behind "/*".
func startCached(t *testing.T, o *origin, environ ...string) *testGateway {
	t.Helper()
	file := "pools: {p: {upstreams: [{url: \"" + o.URL + "\"}]}}\nroutes: [{path: \"/*\", pool: p}]\n"
	return startGatewayFile(t, file, append([]string{"CACHE_ENABLED=true", "PY_SERVICE_URL=" + o.URL}, environ...)...)
}

// slowReply is what the demo route /slow answers.
const slowReply = `{"ok":true,"path":"/slow"}` + "\n"

// get asks for a target, with more lines if need be.
func (g *testGateway) get(target string, lines ...string) testkit.Message {
	g.T.Helper()
	return g.Do("GET " + target + " HTTP/1.1\r\nHost: a\r\n" + joined(lines) + "\r\n")
}

func joined(lines []string) (all string) {
	for _, line := range lines {
		all += line + "\r\n"
	}
	return all
}

// wantCached checks an answer: its X-Cache, status and body.
func wantCached(t *testing.T, m testkit.Message, outcome string, status int, body string) {
	t.Helper()
	if m.Err != nil || m.Field("X-Cache") != outcome || m.Status() != status || m.Body != body {
		t.Errorf("got %s, X-Cache %q, body %.80q, %v; want %d, %s, %.80q\n%s", m.First, m.Field("X-Cache"), m.Body, m.Err, status, outcome, body, m.Head)
	}
}

func TestCacheHit(t *testing.T) {
	o := startOrigin(t, func(r testkit.Message, n int) string {
		return with(fmt.Sprint("answer ", n), "Cache-Control: max-age=60", "X-Own: 1", "ETag: \"v\"")
	})
	g := startCached(t, o)
	m := g.get("/a?q=1")
	wantCached(t, m, "MISS", 200, "answer 0")
	if m.Field("Age") != "" || !strings.Contains(m.Field("Cache-Status"), "fwd=uri-miss") || !strings.Contains(m.Field("Cache-Status"), "stored") {
		t.Errorf("%s", m.Head)
	}
	m = g.get("/a?q=1")
	wantCached(t, m, "HIT", 200, "answer 0")
	if age, err := strconv.Atoi(m.Field("Age")); err != nil || age > 5 || m.Field("X-Own") != "1" || m.Field("Date") == "" ||
		!strings.Contains(m.Field("Cache-Status"), "hit") || m.Field("X-Request-ID") == "" || m.Field("Via") == "" {
		t.Errorf("%s", m.Head)
	}
	wantCached(t, g.get("/a?q=2"), "MISS", 200, "answer 0") // the query is part of the key
	m = g.Do("GET /a?q=1 HTTP/1.1\r\nHost: b\r\n\r\n")      // and so is the host
	wantCached(t, m, "MISS", 200, "answer 1")
	m = g.Do("GET /a?q=1 HTTP/1.1\r\nHost: A:80\r\n\r\n") // which is the same in any case, and with its own port
	wantCached(t, m, "HIT", 200, "answer 0")
	m = g.Do("HEAD /a?q=1 HTTP/1.1\r\nHost: a\r\n\r\n")
	wantCached(t, m, "HIT", 200, "")
	if m.Field("Content-Length") != "8" {
		t.Errorf("%s", m.Head)
	}
}

// A trusted proxy's word about scheme and host reaches the upstream, so it is in the key.
func TestCacheForwardedHostIsInTheKey(t *testing.T) {
	o := startOrigin(t, func(r testkit.Message, n int) string {
		return with("for "+r.Field("X-Forwarded-Host")+" "+r.Field("X-Forwarded-Proto"), "Cache-Control: max-age=60")
	})
	g := startCached(t, o)
	wantCached(t, g.get("/a", "X-Forwarded-Host: evil"), "MISS", 200, "for evil http")
	wantCached(t, g.get("/a"), "MISS", 200, "for a http")
	wantCached(t, g.get("/a", "X-Forwarded-Proto: https"), "MISS", 200, "for a https")
	wantCached(t, g.get("/a", "X-Forwarded-Host: evil"), "HIT", 200, "for evil http")
}

func TestCacheWhatIsNotStored(t *testing.T) {
	t.Parallel()
	const fresh = "Cache-Control: max-age=60"
	f := func(name, outcome string, request []string, answer ...string) {
		t.Run(name, func(t *testing.T) {
			o := startOrigin(t, func(r testkit.Message, n int) string { return with(fmt.Sprint(n), answer...) })
			g := startCached(t, o)
			wantCached(t, g.get("/a", request...), outcome, 200, "0")
			wantCached(t, g.get("/a", request...), outcome, 200, "1")
		})
	}
	f("no-store", "MISS", nil, "Cache-Control: no-store")
	f("private", "MISS", nil, "Cache-Control: private, max-age=60")
	f("no freshness", "MISS", nil)
	f("Set-Cookie", "MISS", nil, fresh, "Set-Cookie: a=b")
	f("Vary: *", "MISS", nil, fresh, "Vary: *")
	f("Authorization", "MISS", []string{"Authorization: Bearer x"}, fresh)
	f("request no-store", "BYPASS", []string{"Cache-Control: no-store"}, fresh)
	f("X-Original-URL", "BYPASS", []string{"X-Original-URL: /admin"}, fresh)
}

func TestCacheOfBuiltinRoutes(t *testing.T) {
	t.Parallel()
	o := startOrigin(t, func(r testkit.Message, n int) string { return with(fmt.Sprint(n)) })
	g := startCached(t, o, "CACHE_TTL_SECONDS=100")
	m := g.get("/infer/python?prompt=x") // states nothing: the route's time
	wantCached(t, m, "MISS", 200, "0")
	m = g.get("/infer/python?prompt=x")
	wantCached(t, m, "HIT", 200, "0")
	if !strings.Contains(m.Field("Cache-Status"), "ttl=100") && !strings.Contains(m.Field("Cache-Status"), "ttl=9") {
		t.Errorf("%s", m.Head)
	}
	// With a cookie, only what the upstream itself calls fresh.
	wantCached(t, g.get("/infer/python?prompt=x", "Cookie: session=1"), "MISS", 200, "1")
	wantCached(t, g.get("/infer/python?prompt=x", "X-Api-Key: 1"), "MISS", 200, "2")
	m = g.Do("POST /infer/python?prompt=y HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
	wantCached(t, m, "BYPASS", 200, "0")
	// A local route keeps its answer, too.
	wantCached(t, g.Do("HEAD /slow HTTP/1.1\r\nHost: a\r\n\r\n"), "MISS", 200, "")
	wantCached(t, g.Do("GET /slow HTTP/1.1\r\nHost: a\r\nCache-Control: no-store\r\n\r\n"), "BYPASS", 200, slowReply)
	wantCached(t, g.get("/slow"), "MISS", 200, slowReply)
	wantCached(t, g.get("/slow"), "HIT", 200, slowReply)
	if m := g.get("/limited"); m.Field("X-Cache") != "" || m.Status() != 200 {
		t.Errorf("%s %s", m.First, m.Head)
	}
}

func TestCacheTooLarge(t *testing.T) {
	t.Parallel()
	body := strings.Repeat("x", 200<<10)
	o := startOrigin(t, func(r testkit.Message, n int) string {
		if strings.Contains(r.First, "chunked") {
			return "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n" +
				fmt.Sprintf("%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body, len(body), body)
		}
		return with(body, "Cache-Control: max-age=60")
	})
	g := startCached(t, o, "CACHE_MAX_BODY_BYTES=100000")
	for range 2 {
		wantCached(t, g.get("/length"), "MISS", 200, body)
		wantCached(t, g.get("/chunked"), "MISS", 200, body+body)
	}
	big := startCached(t, o) // and under a larger limit, in pieces
	wantCached(t, big.get("/length"), "MISS", 200, body)
	wantCached(t, big.get("/length"), "HIT", 200, body)
	wantCached(t, big.get("/chunked"), "MISS", 200, body+body)
	m := big.get("/chunked")
	wantCached(t, m, "HIT", 200, body+body)
	if m.Field("Content-Length") != strconv.Itoa(2*len(body)) {
		t.Errorf("%s", m.Head)
	}
}

func TestCacheVary(t *testing.T) {
	o := startOrigin(t, func(r testkit.Message, n int) string {
		return with(r.Field("Accept-Language")+"/"+fmt.Sprint(n), "Cache-Control: max-age=60", "Vary: Accept-Language")
	})
	g := startCached(t, o)
	de, fr := "Accept-Language: de", "Accept-Language: fr"
	wantCached(t, g.get("/a", de), "MISS", 200, "de/0")
	wantCached(t, g.get("/a", fr), "MISS", 200, "fr/1")
	wantCached(t, g.get("/a", de), "HIT", 200, "de/0")
	wantCached(t, g.get("/a", fr), "HIT", 200, "fr/1")
	m := g.get("/a")
	wantCached(t, m, "MISS", 200, "/2")
	if !strings.Contains(m.Field("Cache-Status"), "vary-miss") {
		t.Errorf("%s", m.Head)
	}
	// An unsafe method drops them all.
	g.Do("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
	wantCached(t, g.get("/a", de), "MISS", 200, "de/3")
	wantCached(t, g.get("/a", fr), "MISS", 200, "fr/4")
	for i := range 40 { // a flood of variants takes a bounded place, and the newest stay
		g.get("/a", fmt.Sprint("Accept-Language: ", i))
	}
	wantCached(t, g.get("/a", "Accept-Language: 39"), "HIT", 200, "39/44")
	wantCached(t, g.get("/a", de), "MISS", 200, "de/45")
}

func TestCacheConditionals(t *testing.T) {
	const modified = "Mon, 23 Nov 2020 10:00:00 GMT"
	o := startOrigin(t, func(r testkit.Message, n int) string {
		return with("0123456789", "Cache-Control: max-age=60", "ETag: \"v1\"", "Last-Modified: "+modified, "Content-Type: text/plain")
	})
	g := startCached(t, o)
	// The first one's condition does not reach the upstream: its answer is for everybody.
	m := g.get("/a", `If-None-Match: "v1"`)
	wantCached(t, m, "MISS", 304, "")
	if first := o.asked()[0]; first.Field("If-None-Match") != "" {
		t.Errorf("%s", first.Head)
	}
	m = g.get("/a", `If-None-Match: "v0", W/"v1"`)
	wantCached(t, m, "HIT", 304, "")
	if m.Field("ETag") != `"v1"` || m.Field("Content-Length") != "" || m.Field("Cache-Control") != "max-age=60" {
		t.Errorf("%s", m.Head)
	}
	wantCached(t, g.get("/a", `If-None-Match: "v2"`), "HIT", 200, "0123456789")
	wantCached(t, g.get("/a", "If-Modified-Since: "+modified), "HIT", 304, "")
	m = g.get("/a", "Range: bytes=2-4")
	wantCached(t, m, "HIT", 206, "234")
	if m.Field("Content-Range") != "bytes 2-4/10" || m.Field("Content-Type") != "text/plain" {
		t.Errorf("%s", m.Head)
	}
	m = g.get("/a", "Range: bytes=20-")
	wantCached(t, m, "HIT", 416, "")
	if m.Field("Content-Range") != "bytes */10" {
		t.Errorf("%s", m.Head)
	}
	wantCached(t, g.get("/a", "Range: bytes=0-1,4-5"), "HIT", 200, "0123456789")
	wantCached(t, g.get("/a", "Range: bytes=0-1", `If-Range: "v2"`), "HIT", 200, "0123456789")
	if n := len(o.asked()); n != 1 {
		t.Errorf("the upstream was asked %d times", n)
	}
	// A range of what is not stored passes as it is.
	g.get("/b", "Range: bytes=2-4")
	if last := o.asked()[1]; last.Field("Range") != "bytes=2-4" {
		t.Errorf("%s", last.Head)
	}
	wantCached(t, g.get("/b"), "MISS", 200, "0123456789")
}

// Stale answers are asked about, and a 304 makes them fresh again, with the fields it brings.
func TestCacheRevalidates(t *testing.T) {
	o := startOrigin(t, func(r testkit.Message, n int) string {
		if r.Field("If-None-Match") == `"v1"` {
			return "HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\nCache-Control: max-age=60\r\nX-Round: 2\r\n\r\n"
		}
		return with("body", "Cache-Control: max-age=60", "Age: 100", "ETag: \"v1\"", "X-Round: 1", "X-Kept: 1")
	})
	g := startCached(t, o)
	wantCached(t, g.get("/a"), "MISS", 200, "body") // stale when it came
	m := g.get("/a")
	wantCached(t, m, "REVALIDATED", 200, "body")
	if m.Field("X-Round") != "2" || m.Field("X-Kept") != "1" || !strings.Contains(m.Field("Cache-Status"), "fwd=stale") {
		t.Errorf("%s", m.Head)
	}
	m = g.get("/a")
	wantCached(t, m, "HIT", 200, "body")
	if m.Field("X-Round") != "2" {
		t.Errorf("%s", m.Head)
	}
	// A request that wants it fresher has it asked about again.
	wantCached(t, g.get("/a", "Cache-Control: no-cache"), "REVALIDATED", 200, "body")
	wantCached(t, g.get("/a", "Cache-Control: only-if-cached"), "HIT", 200, "body")
	m = g.get("/b", "Cache-Control: only-if-cached")
	testkit.WantFault(t, m, 504, "not_cached", false)
}

func TestCacheRevalidationBringsAnother(t *testing.T) {
	o := startOrigin(t, func(r testkit.Message, n int) string {
		return with(fmt.Sprint("v", n), "Cache-Control: max-age=60", fmt.Sprint("Age: ", 100*(1-n)), fmt.Sprintf("ETag: \"%d\"", n))
	})
	g := startCached(t, o)
	wantCached(t, g.get("/a"), "MISS", 200, "v0")
	wantCached(t, g.get("/a"), "MISS", 200, "v1")
	wantCached(t, g.get("/a"), "HIT", 200, "v1")
}

func TestCacheStaleWhileRevalidate(t *testing.T) {
	o := startOrigin(t, func(r testkit.Message, n int) string {
		if n == 0 {
			return with("old", "Cache-Control: max-age=60, stale-while-revalidate=600", "Age: 100")
		}
		return with("new", "Cache-Control: max-age=60")
	})
	g := startCached(t, o)
	wantCached(t, g.get("/a"), "MISS", 200, "old")
	m := g.get("/a")
	wantCached(t, m, "STALE", 200, "old")
	if age, _ := strconv.Atoi(m.Field("Age")); age < 100 {
		t.Errorf("%s", m.Head)
	}
	testkit.Eventually(t, "the answer is renewed behind the request", func() bool { return g.get("/a").Body == "new" })
	wantCached(t, g.get("/a"), "HIT", 200, "new")
	if n := len(o.asked()); n != 2 {
		t.Errorf("the upstream was asked %d times", n)
	}
	if r := o.asked()[1]; r.Field("X-Forwarded-For") == "" || r.Field("X-Request-ID") == "" {
		t.Errorf("the refresh says nothing about itself: %s", r.Head)
	}
}

func TestCacheStaleIfError(t *testing.T) {
	o := startOrigin(t, func(r testkit.Message, n int) string {
		if n > 0 {
			return "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"
		}
		return with("old", "Cache-Control: max-age=60, stale-if-error=600", "Age: 100")
	})
	g := startCached(t, o)
	wantCached(t, g.get("/a"), "MISS", 200, "old")
	wantCached(t, g.get("/a"), "STALE", 200, "old")
	o2 := testkit.StartUpstream(t, func(n int, c *testkit.Peer) {
		c.ReadRequest()
		if n == 0 {
			c.Send("%s", with("old", "Cache-Control: max-age=60, stale-if-error=600", "Age: 100"))
		} // and else it hangs up
	})
	g2 := startCached(t, &origin{Upstream: o2})
	wantCached(t, g2.get("/a"), "MISS", 200, "old")
	wantCached(t, g2.get("/a"), "STALE", 200, "old")
}

// Unsafe methods invalidate their target and what their answer refers to, on the same host.
func TestCacheInvalidation(t *testing.T) {
	t.Parallel()
	o := startOrigin(t, func(r testkit.Message, n int) string {
		switch {
		case strings.HasPrefix(r.First, "DELETE"):
			return "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"
		case strings.HasPrefix(r.First, "POST"):
			return "HTTP/1.1 201 Created\r\nLocation: b\r\nContent-Location: http://other/c\r\nContent-Length: 0\r\n\r\n"
		}
		return with(fmt.Sprint(n), "Cache-Control: max-age=60")
	})
	g := startCached(t, o)
	all := []string{"/x/a", "/x/b", "/c"}
	for _, target := range all {
		wantCached(t, g.get(target), "MISS", 200, "0")
	}
	g.Do("DELETE /x/a HTTP/1.1\r\nHost: a\r\n\r\n") // failed: nothing has changed
	for _, target := range all {
		wantCached(t, g.get(target), "HIT", 200, "0")
	}
	g.Do("POST /x/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
	wantCached(t, g.get("/x/a"), "MISS", 200, "1")
	wantCached(t, g.get("/x/b"), "MISS", 200, "1")
	wantCached(t, g.get("/c"), "HIT", 200, "0")
}

// What was cut is an error or has no end, and is not kept.
func TestCacheCutAnswerIsNotStored(t *testing.T) {
	cut := true
	up := testkit.StartUpstream(t, func(n int, c *testkit.Peer) {
		r := c.ReadRequest()
		switch {
		case r.Err != nil:
		case !cut:
			c.Send("%s", with("whole", "Cache-Control: max-age=60"))
		case strings.Contains(r.First, "/short"):
			c.Send("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 10\r\n\r\n01234")
		case strings.Contains(r.First, "/chunks"):
			c.Send("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n")
		default: // no length at all: an end and a cut look the same
			c.Send("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n\r\n01234")
		}
	})
	g := startCached(t, &origin{Upstream: up})
	testkit.WantFault(t, g.get("/short"), 502, "bad_upstream_response", false)
	if m := g.get("/chunks"); m.Err == nil {
		t.Errorf("a cut stream looks whole: %q", m.Body)
	}
	wantCached(t, g.get("/close"), "MISS", 200, "01234")
	cut = false
	for _, target := range []string{"/short", "/chunks", "/close"} {
		wantCached(t, g.get(target), "MISS", 200, "whole")
	}
}

func TestCachePurge(t *testing.T) {
	o := startOrigin(t, func(r testkit.Message, n int) string { return with(fmt.Sprint(n), "Cache-Control: max-age=60") })
	g := startCached(t, o, "ADMIN_TOKEN=secret")
	purge := func(query string, lines ...string) testkit.Message {
		return g.Do("DELETE /cachez" + query + " HTTP/1.1\r\nHost: a\r\n" + joined(lines) + "\r\n")
	}
	const token = "Authorization: Bearer secret"
	testkit.WantFault(t, purge(""), 401, "unauthorized", false)
	testkit.WantFault(t, purge("", "Authorization: Bearer wrong"), 401, "unauthorized", false)
	testkit.WantFault(t, purge("?pth=/a", token), 400, "bad_purge", false)
	fill := func() {
		t.Helper()
		for _, target := range []string{"/a?1", "/a?2", "/ab", "/b"} {
			g.get(target)
			if m := g.get(target); m.Field("X-Cache") != "HIT" {
				t.Errorf("%s: %s", target, m.Head)
			}
		}
	}
	f := func(query string, purged int, left string) {
		t.Helper()
		fill()
		if m := purge(query, token); m.Status() != 200 || !strings.Contains(m.Body, fmt.Sprintf(`"purged":%d}`, purged)) {
			t.Errorf("%s: %s %s", query, m.First, m.Body)
		}
		var still []string
		for _, target := range []string{"/a?1", "/a?2", "/ab", "/b"} {
			if g.get(target, "Cache-Control: only-if-cached").Status() == 200 {
				still = append(still, target)
			}
		}
		if got := strings.Join(still, " "); got != left {
			t.Errorf("%s: %q are left, want %q", query, got, left)
		}
	}
	f("?path=/a", 2, "/ab /b")
	f("?prefix=/a", 3, "/b")
	f("?key=/a%3f1", 1, "/a?2 /ab /b")
	f("?key=/a?1", 1, "/a?2 /ab /b")
	f("?key=/a%3F1&key=/a%3F2", 2, "/ab /b")
	f("?path=/ab&path=/b&path=/nowhere", 2, "/a?1 /a?2")
	f("?path=/b&prefix=/a%3f", 3, "/ab")
	f("?path=%2Fb", 1, "/a?1 /a?2 /ab")
	f("", 4, "")
	for _, bad := range []string{"?", "?path=", "?key", "?path=/a&key=", "?nonsense=/a&path=/b"} {
		if bad != "?" {
			testkit.WantFault(t, purge(bad, token), 400, "bad_purge", false)
		}
	}
	// What was copied from a log line, a browser's address or a program, encoded once or not, is found.
	const stored = "/x%20y?prompt=a%20b+c&n=1%2F2"
	for _, query := range []string{
		"?key=/x%20y?prompt=a%20b+c&n=1%2F2", "?key=/x%2520y%3Fprompt%3Da%2520b%2Bc%26n%3D1%252F2", "?key=%2Fx%20y%3Fprompt%3Da%20b%2Bc%26n%3D1%2F2",
		"?key=/x+y?prompt=a+b+c%26n=1/2", "?path=/x%20y", "?path=/x%2520y", "?path=/x+y", "?prefix=/x%20y?prompt=a", "?prefix=/x%2520y%3Fprompt",
	} {
		g.get(stored)
		if m := purge(query, token); !strings.Contains(m.Body, `"purged":1}`) {
			t.Errorf("%s: %s", query, m.Body)
		}
	}
	figures := g.Do("GET /cachez HTTP/1.1\r\nHost: a\r\n\r\n")
	if figures.Status() != 200 || !strings.Contains(figures.Body, `"backend":"memory","ttl":"300s"`) || !strings.Contains(figures.Body, `"hits":`) {
		t.Errorf("%s %s", figures.First, figures.Body)
	}
}

// The admin listener has the pages that clients must not see, and lets who reaches it purge.
func TestAdminListener(t *testing.T) {
	o := startOrigin(t, func(r testkit.Message, n int) string { return with(fmt.Sprint(n), "Cache-Control: max-age=60") })
	g := startCached(t, o, "ADMIN_ADDR=127.0.0.1:9")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- g.ServeAdmin(ln) }()
	admin := &testGateway{g.Gateway, &testkit.Running{T: t, Addr: ln.Addr().String()}}
	testkit.Eventually(t, "the upstreams are known to be well", func() bool { return admin.get("/readyz").Status() == 200 })
	for _, target := range []string{"/metrics", "/cachez", "/dashboard", "/dashboard/data", "/healthz", "/livez", "/readyz", "/", "/debug/pprof/cmdline"} {
		if m := admin.get(target); m.Status() != 200 {
			t.Errorf("%s: %s", target, m.First)
		}
	}
	if m := admin.get("/infer?prompt=x"); m.Status() != 404 {
		t.Errorf("the admin listener forwards: %s", m.First)
	}
	testkit.WantFault(t, admin.get("/nowhere"), 404, "not_found", false)
	if m := admin.Do("POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"); m.Status() != 405 || m.Field("Allow") != "GET, HEAD" {
		t.Errorf("%s %s", m.First, m.Head)
	}
	if m := admin.Do("HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n"); m.Status() != 200 || m.Body != "" || m.Field("Cache-Control") != "no-store" {
		t.Errorf("%s %s", m.First, m.Head)
	}
	g.get("/a")
	// A page in the operator's browser must not purge, whatever its origin: a name may lead here.
	for _, page := range []string{"Origin: http://evil", "Origin: http://a", "Sec-Fetch-Site: same-origin", "Referer: http://evil/", "origin: null"} {
		if m := admin.Do("DELETE /cachez HTTP/1.1\r\nHost: a\r\n" + page + "\r\n\r\n"); m.Status() != 401 {
			t.Errorf("%s: %s", page, m.First)
		}
	}
	if m := admin.Do("DELETE /cachez HTTP/1.1\r\nHost: a\r\n\r\n"); m.Status() != 200 {
		t.Errorf("%s %s", m.First, m.Body)
	}
	wantCached(t, g.get("/a"), "MISS", 200, "1")
	if m := g.get("/metrics"); m.Body == "" || strings.Contains(m.Body, "http_requests_total") {
		t.Errorf("clients see the metrics: %s", m.First)
	}
	g.End(time.Second)
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// An answer to HEAD tells whether what is stored and stale is still the answer: RFC 9111 §4.3.5.
func TestCacheHeadUpdates(t *testing.T) {
	o := startOrigin(t, func(r testkit.Message, n int) string {
		tag := `"v1"`
		if strings.Contains(r.First, "/other") && strings.HasPrefix(r.First, "HEAD") {
			tag = `"v2"`
		}
		switch {
		case strings.HasPrefix(r.First, "HEAD"):
			return "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nETag: " + tag + "\r\nContent-Length: 4\r\n\r\n"
		case r.Field("If-None-Match") != "":
			return "HTTP/1.1 304 Not Modified\r\nETag: " + tag + "\r\n\r\n"
		}
		return with("body", "Cache-Control: max-age=60", "Age: 100", "ETag: \"v1\"")
	})
	g := startCached(t, o)
	wantCached(t, g.get("/same"), "MISS", 200, "body")
	wantCached(t, g.Do("HEAD /same HTTP/1.1\r\nHost: a\r\n\r\n"), "MISS", 200, "")
	wantCached(t, g.get("/same"), "HIT", 200, "body")
	wantCached(t, g.get("/other"), "MISS", 200, "body")
	wantCached(t, g.Do("HEAD /other HTTP/1.1\r\nHost: a\r\n\r\n"), "MISS", 200, "")
	wantCached(t, g.get("/other"), "MISS", 200, "body")
	if last := o.asked()[len(o.asked())-1]; last.Field("If-None-Match") != "" {
		t.Errorf("asked whether another answer still holds: %s", last.Head)
	}
}
