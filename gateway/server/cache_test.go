package server

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// An origin is an upstream whose answers a test writes, and that knows what was asked of it.
type origin struct {
	*scripted
	mu   sync.Mutex
	seen []message
}

// startOrigin starts an origin. reply returns all of the answer to a request; n counts those of its first line from 0.
func startOrigin(t *testing.T, reply func(r message, n int) string) *origin {
	t.Helper()
	o := &origin{}
	o.scripted = startUpstream(t, func(_ int, c *peer) {
		for {
			r := c.readRequest()
			if r.err != nil {
				return
			}
			o.mu.Lock()
			n := 0
			for _, before := range o.seen {
				if before.first == r.first {
					n++
				}
			}
			o.seen = append(o.seen, r)
			o.mu.Unlock()
			c.send("%s", reply(r, n))
		}
	})
	return o
}

// asked returns the requests so far.
func (o *origin) asked() []message {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]message(nil), o.seen...)
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

// get asks for a target, with more lines if need be.
func (g *testGateway) get(target string, lines ...string) message {
	g.t.Helper()
	return g.do("GET " + target + " HTTP/1.1\r\nHost: a\r\n" + joined(lines) + "\r\n")
}

func joined(lines []string) (all string) {
	for _, line := range lines {
		all += line + "\r\n"
	}
	return all
}

// wantCached checks an answer: its X-Cache, status and body.
func wantCached(t *testing.T, m message, outcome string, status int, body string) {
	t.Helper()
	if m.err != nil || m.field("X-Cache") != outcome || m.status() != status || m.body != body {
		t.Errorf("got %s, X-Cache %q, body %.80q, %v; want %d, %s, %.80q\n%s", m.first, m.field("X-Cache"), m.body, m.err, status, outcome, body, m.head)
	}
}

func TestCacheHit(t *testing.T) {
	o := startOrigin(t, func(r message, n int) string {
		return with(fmt.Sprint("answer ", n), "Cache-Control: max-age=60", "X-Own: 1", "ETag: \"v\"")
	})
	g := startCached(t, o)
	m := g.get("/a?q=1")
	wantCached(t, m, "MISS", 200, "answer 0")
	if m.field("Age") != "" || !strings.Contains(m.field("Cache-Status"), "fwd=uri-miss") || !strings.Contains(m.field("Cache-Status"), "stored") {
		t.Errorf("%s", m.head)
	}
	m = g.get("/a?q=1")
	wantCached(t, m, "HIT", 200, "answer 0")
	if age, err := strconv.Atoi(m.field("Age")); err != nil || age > 5 || m.field("X-Own") != "1" || m.field("Date") == "" ||
		!strings.Contains(m.field("Cache-Status"), "hit") || m.field("X-Request-ID") == "" || m.field("Via") == "" {
		t.Errorf("%s", m.head)
	}
	wantCached(t, g.get("/a?q=2"), "MISS", 200, "answer 0") // the query is part of the key
	m = g.do("GET /a?q=1 HTTP/1.1\r\nHost: b\r\n\r\n")      // and so is the host
	wantCached(t, m, "MISS", 200, "answer 1")
	m = g.do("GET /a?q=1 HTTP/1.1\r\nHost: A:80\r\n\r\n") // which is the same in any case, and with its own port
	wantCached(t, m, "HIT", 200, "answer 0")
	m = g.do("HEAD /a?q=1 HTTP/1.1\r\nHost: a\r\n\r\n")
	wantCached(t, m, "HIT", 200, "")
	if m.field("Content-Length") != "8" {
		t.Errorf("%s", m.head)
	}
}

// A trusted proxy's word about scheme and host reaches the upstream, so it is in the key.
func TestCacheForwardedHostIsInTheKey(t *testing.T) {
	o := startOrigin(t, func(r message, n int) string {
		return with("for "+r.field("X-Forwarded-Host")+" "+r.field("X-Forwarded-Proto"), "Cache-Control: max-age=60")
	})
	g := startCached(t, o)
	wantCached(t, g.get("/a", "X-Forwarded-Host: evil"), "MISS", 200, "for evil http")
	wantCached(t, g.get("/a"), "MISS", 200, "for a http")
	wantCached(t, g.get("/a", "X-Forwarded-Proto: https"), "MISS", 200, "for a https")
	wantCached(t, g.get("/a", "X-Forwarded-Host: evil"), "HIT", 200, "for evil http")
}

func TestCacheWhatIsNotStored(t *testing.T) {
	const fresh = "Cache-Control: max-age=60"
	f := func(name, outcome string, request []string, answer ...string) {
		t.Run(name, func(t *testing.T) {
			o := startOrigin(t, func(r message, n int) string { return with(fmt.Sprint(n), answer...) })
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
	o := startOrigin(t, func(r message, n int) string { return with(fmt.Sprint(n)) })
	g := startCached(t, o, "CACHE_TTL_SECONDS=100")
	m := g.get("/infer/python?prompt=x") // states nothing: the route's time
	wantCached(t, m, "MISS", 200, "0")
	m = g.get("/infer/python?prompt=x")
	wantCached(t, m, "HIT", 200, "0")
	if !strings.Contains(m.field("Cache-Status"), "ttl=100") && !strings.Contains(m.field("Cache-Status"), "ttl=9") {
		t.Errorf("%s", m.head)
	}
	// With a cookie, only what the upstream itself calls fresh.
	wantCached(t, g.get("/infer/python?prompt=x", "Cookie: session=1"), "MISS", 200, "1")
	wantCached(t, g.get("/infer/python?prompt=x", "X-Api-Key: 1"), "MISS", 200, "2")
	m = g.do("POST /infer/python?prompt=y HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
	wantCached(t, m, "BYPASS", 200, "0")
	// A local route keeps its answer, too.
	wantCached(t, g.do("HEAD /slow HTTP/1.1\r\nHost: a\r\n\r\n"), "MISS", 200, "")
	wantCached(t, g.do("GET /slow HTTP/1.1\r\nHost: a\r\nCache-Control: no-store\r\n\r\n"), "BYPASS", 200, string(slowReply))
	wantCached(t, g.get("/slow"), "MISS", 200, string(slowReply))
	wantCached(t, g.get("/slow"), "HIT", 200, string(slowReply))
	if m := g.get("/limited"); m.field("X-Cache") != "" || m.status() != 200 {
		t.Errorf("%s %s", m.first, m.head)
	}
}

func TestCacheTooLarge(t *testing.T) {
	body := strings.Repeat("x", 200<<10)
	o := startOrigin(t, func(r message, n int) string {
		if strings.Contains(r.first, "chunked") {
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
	if m.field("Content-Length") != strconv.Itoa(2*len(body)) {
		t.Errorf("%s", m.head)
	}
}

func TestCacheVary(t *testing.T) {
	o := startOrigin(t, func(r message, n int) string {
		return with(r.field("Accept-Language")+"/"+fmt.Sprint(n), "Cache-Control: max-age=60", "Vary: Accept-Language")
	})
	g := startCached(t, o)
	de, fr := "Accept-Language: de", "Accept-Language: fr"
	wantCached(t, g.get("/a", de), "MISS", 200, "de/0")
	wantCached(t, g.get("/a", fr), "MISS", 200, "fr/1")
	wantCached(t, g.get("/a", de), "HIT", 200, "de/0")
	wantCached(t, g.get("/a", fr), "HIT", 200, "fr/1")
	m := g.get("/a")
	wantCached(t, m, "MISS", 200, "/2")
	if !strings.Contains(m.field("Cache-Status"), "vary-miss") {
		t.Errorf("%s", m.head)
	}
	// An unsafe method drops them all.
	g.do("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
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
	o := startOrigin(t, func(r message, n int) string {
		return with("0123456789", "Cache-Control: max-age=60", "ETag: \"v1\"", "Last-Modified: "+modified, "Content-Type: text/plain")
	})
	g := startCached(t, o)
	// The first one's condition does not reach the upstream: its answer is for everybody.
	m := g.get("/a", `If-None-Match: "v1"`)
	wantCached(t, m, "MISS", 304, "")
	if first := o.asked()[0]; first.field("If-None-Match") != "" {
		t.Errorf("%s", first.head)
	}
	m = g.get("/a", `If-None-Match: "v0", W/"v1"`)
	wantCached(t, m, "HIT", 304, "")
	if m.field("ETag") != `"v1"` || m.field("Content-Length") != "" || m.field("Cache-Control") != "max-age=60" {
		t.Errorf("%s", m.head)
	}
	wantCached(t, g.get("/a", `If-None-Match: "v2"`), "HIT", 200, "0123456789")
	wantCached(t, g.get("/a", "If-Modified-Since: "+modified), "HIT", 304, "")
	m = g.get("/a", "Range: bytes=2-4")
	wantCached(t, m, "HIT", 206, "234")
	if m.field("Content-Range") != "bytes 2-4/10" || m.field("Content-Type") != "text/plain" {
		t.Errorf("%s", m.head)
	}
	m = g.get("/a", "Range: bytes=20-")
	wantCached(t, m, "HIT", 416, "")
	if m.field("Content-Range") != "bytes */10" {
		t.Errorf("%s", m.head)
	}
	wantCached(t, g.get("/a", "Range: bytes=0-1,4-5"), "HIT", 200, "0123456789")
	wantCached(t, g.get("/a", "Range: bytes=0-1", `If-Range: "v2"`), "HIT", 200, "0123456789")
	if n := len(o.asked()); n != 1 {
		t.Errorf("the upstream was asked %d times", n)
	}
	// A range of what is not stored passes as it is.
	g.get("/b", "Range: bytes=2-4")
	if last := o.asked()[1]; last.field("Range") != "bytes=2-4" {
		t.Errorf("%s", last.head)
	}
	wantCached(t, g.get("/b"), "MISS", 200, "0123456789")
}

// Stale answers are asked about, and a 304 makes them fresh again, with the fields it brings.
func TestCacheRevalidates(t *testing.T) {
	o := startOrigin(t, func(r message, n int) string {
		if r.field("If-None-Match") == `"v1"` {
			return "HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\nCache-Control: max-age=60\r\nX-Round: 2\r\n\r\n"
		}
		return with("body", "Cache-Control: max-age=60", "Age: 100", "ETag: \"v1\"", "X-Round: 1", "X-Kept: 1")
	})
	g := startCached(t, o)
	wantCached(t, g.get("/a"), "MISS", 200, "body") // stale when it came
	m := g.get("/a")
	wantCached(t, m, "REVALIDATED", 200, "body")
	if m.field("X-Round") != "2" || m.field("X-Kept") != "1" || !strings.Contains(m.field("Cache-Status"), "fwd=stale") {
		t.Errorf("%s", m.head)
	}
	m = g.get("/a")
	wantCached(t, m, "HIT", 200, "body")
	if m.field("X-Round") != "2" {
		t.Errorf("%s", m.head)
	}
	// A request that wants it fresher has it asked about again.
	wantCached(t, g.get("/a", "Cache-Control: no-cache"), "REVALIDATED", 200, "body")
	wantCached(t, g.get("/a", "Cache-Control: only-if-cached"), "HIT", 200, "body")
	m = g.get("/b", "Cache-Control: only-if-cached")
	wantFault(t, m, 504, "not_cached", false)
}

func TestCacheRevalidationBringsAnother(t *testing.T) {
	o := startOrigin(t, func(r message, n int) string {
		return with(fmt.Sprint("v", n), "Cache-Control: max-age=60", fmt.Sprint("Age: ", 100*(1-n)), fmt.Sprintf("ETag: \"%d\"", n))
	})
	g := startCached(t, o)
	wantCached(t, g.get("/a"), "MISS", 200, "v0")
	wantCached(t, g.get("/a"), "MISS", 200, "v1")
	wantCached(t, g.get("/a"), "HIT", 200, "v1")
}

func TestCacheStaleWhileRevalidate(t *testing.T) {
	o := startOrigin(t, func(r message, n int) string {
		if n == 0 {
			return with("old", "Cache-Control: max-age=60, stale-while-revalidate=600", "Age: 100")
		}
		return with("new", "Cache-Control: max-age=60")
	})
	g := startCached(t, o)
	wantCached(t, g.get("/a"), "MISS", 200, "old")
	m := g.get("/a")
	wantCached(t, m, "STALE", 200, "old")
	if age, _ := strconv.Atoi(m.field("Age")); age < 100 {
		t.Errorf("%s", m.head)
	}
	eventually(t, "the answer is renewed behind the request", func() bool { return g.get("/a").body == "new" })
	wantCached(t, g.get("/a"), "HIT", 200, "new")
	if n := len(o.asked()); n != 2 {
		t.Errorf("the upstream was asked %d times", n)
	}
	if r := o.asked()[1]; r.field("X-Forwarded-For") == "" || r.field("X-Request-ID") == "" {
		t.Errorf("the refresh says nothing about itself: %s", r.head)
	}
}

func TestCacheStaleIfError(t *testing.T) {
	o := startOrigin(t, func(r message, n int) string {
		if n > 0 {
			return "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"
		}
		return with("old", "Cache-Control: max-age=60, stale-if-error=600", "Age: 100")
	})
	g := startCached(t, o)
	wantCached(t, g.get("/a"), "MISS", 200, "old")
	wantCached(t, g.get("/a"), "STALE", 200, "old")
	o2 := startUpstream(t, func(n int, c *peer) {
		c.readRequest()
		if n == 0 {
			c.send("%s", with("old", "Cache-Control: max-age=60, stale-if-error=600", "Age: 100"))
		} // and else it hangs up
	})
	g2 := startCached(t, &origin{scripted: o2})
	wantCached(t, g2.get("/a"), "MISS", 200, "old")
	wantCached(t, g2.get("/a"), "STALE", 200, "old")
}

// Unsafe methods invalidate their target and what their answer refers to, on the same host.
func TestCacheInvalidation(t *testing.T) {
	o := startOrigin(t, func(r message, n int) string {
		switch {
		case strings.HasPrefix(r.first, "DELETE"):
			return "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"
		case strings.HasPrefix(r.first, "POST"):
			return "HTTP/1.1 201 Created\r\nLocation: b\r\nContent-Location: http://other/c\r\nContent-Length: 0\r\n\r\n"
		}
		return with(fmt.Sprint(n), "Cache-Control: max-age=60")
	})
	g := startCached(t, o)
	all := []string{"/x/a", "/x/b", "/c"}
	for _, target := range all {
		wantCached(t, g.get(target), "MISS", 200, "0")
	}
	g.do("DELETE /x/a HTTP/1.1\r\nHost: a\r\n\r\n") // failed: nothing has changed
	for _, target := range all {
		wantCached(t, g.get(target), "HIT", 200, "0")
	}
	g.do("POST /x/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
	wantCached(t, g.get("/x/a"), "MISS", 200, "1")
	wantCached(t, g.get("/x/b"), "MISS", 200, "1")
	wantCached(t, g.get("/c"), "HIT", 200, "0")
}

// What was cut is an error or has no end, and is not kept.
func TestCacheCutAnswerIsNotStored(t *testing.T) {
	cut := true
	up := startUpstream(t, func(n int, c *peer) {
		r := c.readRequest()
		switch {
		case r.err != nil:
		case !cut:
			c.send("%s", with("whole", "Cache-Control: max-age=60"))
		case strings.Contains(r.first, "/short"):
			c.send("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 10\r\n\r\n01234")
		case strings.Contains(r.first, "/chunks"):
			c.send("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n")
		default: // no length at all: an end and a cut look the same
			c.send("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n\r\n01234")
		}
	})
	g := startCached(t, &origin{scripted: up})
	wantFault(t, g.get("/short"), 502, "bad_upstream_response", false)
	if m := g.get("/chunks"); m.err == nil {
		t.Errorf("a cut stream looks whole: %q", m.body)
	}
	wantCached(t, g.get("/close"), "MISS", 200, "01234")
	cut = false
	for _, target := range []string{"/short", "/chunks", "/close"} {
		wantCached(t, g.get(target), "MISS", 200, "whole")
	}
}

func TestCachePurge(t *testing.T) {
	o := startOrigin(t, func(r message, n int) string { return with(fmt.Sprint(n), "Cache-Control: max-age=60") })
	g := startCached(t, o, "ADMIN_TOKEN=secret")
	purge := func(query string, lines ...string) message {
		return g.do("DELETE /cachez" + query + " HTTP/1.1\r\nHost: a\r\n" + joined(lines) + "\r\n")
	}
	const token = "Authorization: Bearer secret"
	wantFault(t, purge(""), 401, "unauthorized", false)
	wantFault(t, purge("", "Authorization: Bearer wrong"), 401, "unauthorized", false)
	wantFault(t, purge("?pth=/a", token), 400, "bad_purge", false)
	fill := func() {
		t.Helper()
		for _, target := range []string{"/a?1", "/a?2", "/ab", "/b"} {
			g.get(target)
			if m := g.get(target); m.field("X-Cache") != "HIT" {
				t.Errorf("%s: %s", target, m.head)
			}
		}
	}
	f := func(query string, purged int, left string) {
		t.Helper()
		fill()
		if m := purge(query, token); m.status() != 200 || !strings.Contains(m.body, fmt.Sprintf(`"purged":%d}`, purged)) {
			t.Errorf("%s: %s %s", query, m.first, m.body)
		}
		var still []string
		for _, target := range []string{"/a?1", "/a?2", "/ab", "/b"} {
			if g.get(target, "Cache-Control: only-if-cached").status() == 200 {
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
			wantFault(t, purge(bad, token), 400, "bad_purge", false)
		}
	}
	// What was copied from a log line, a browser's address or a program, encoded once or not, is found.
	const stored = "/x%20y?prompt=a%20b+c&n=1%2F2"
	for _, query := range []string{
		"?key=/x%20y?prompt=a%20b+c&n=1%2F2", "?key=/x%2520y%3Fprompt%3Da%2520b%2Bc%26n%3D1%252F2", "?key=%2Fx%20y%3Fprompt%3Da%20b%2Bc%26n%3D1%2F2",
		"?key=/x+y?prompt=a+b+c%26n=1/2", "?path=/x%20y", "?path=/x%2520y", "?path=/x+y", "?prefix=/x%20y?prompt=a", "?prefix=/x%2520y%3Fprompt",
	} {
		g.get(stored)
		if m := purge(query, token); !strings.Contains(m.body, `"purged":1}`) {
			t.Errorf("%s: %s", query, m.body)
		}
	}
	figures := g.do("GET /cachez HTTP/1.1\r\nHost: a\r\n\r\n")
	if figures.status() != 200 || !strings.Contains(figures.body, `"backend":"memory","ttl":"300s"`) || !strings.Contains(figures.body, `"hits":`) {
		t.Errorf("%s %s", figures.first, figures.body)
	}
}

// The admin listener has the pages that clients must not see, and lets who reaches it purge.
func TestAdminListener(t *testing.T) {
	o := startOrigin(t, func(r message, n int) string { return with(fmt.Sprint(n), "Cache-Control: max-age=60") })
	g := startCached(t, o, "ADMIN_ADDR=127.0.0.1:9")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- g.ServeAdmin(ln) }()
	admin := &testGateway{Gateway: g.Gateway, t: t, addr: ln.Addr().String()}
	eventually(t, "the upstreams are known to be well", func() bool { ready, _ := g.ops.Ready(); return ready })
	for _, target := range []string{"/metrics", "/cachez", "/dashboard", "/dashboard/data", "/healthz", "/livez", "/readyz", "/", "/debug/pprof/cmdline"} {
		if m := admin.get(target); m.status() != 200 {
			t.Errorf("%s: %s", target, m.first)
		}
	}
	if m := admin.get("/infer?prompt=x"); m.status() != 404 {
		t.Errorf("the admin listener forwards: %s", m.first)
	}
	wantFault(t, admin.get("/nowhere"), 404, "not_found", false)
	if m := admin.do("POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"); m.status() != 405 || m.field("Allow") != "GET, HEAD" {
		t.Errorf("%s %s", m.first, m.head)
	}
	if m := admin.do("HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n"); m.status() != 200 || m.body != "" || m.field("Cache-Control") != "no-store" {
		t.Errorf("%s %s", m.first, m.head)
	}
	g.get("/a")
	// A page in the operator's browser must not purge, whatever its origin: a name may lead here.
	for _, page := range []string{"Origin: http://evil", "Origin: http://a", "Sec-Fetch-Site: same-origin", "Referer: http://evil/", "origin: null"} {
		if m := admin.do("DELETE /cachez HTTP/1.1\r\nHost: a\r\n" + page + "\r\n\r\n"); m.status() != 401 {
			t.Errorf("%s: %s", page, m.first)
		}
	}
	if m := admin.do("DELETE /cachez HTTP/1.1\r\nHost: a\r\n\r\n"); m.status() != 200 {
		t.Errorf("%s %s", m.first, m.body)
	}
	wantCached(t, g.get("/a"), "MISS", 200, "1")
	if m := g.get("/metrics"); m.body == "" || strings.Contains(m.body, "http_requests_total") {
		t.Errorf("clients see the metrics: %s", m.first)
	}
	g.shutdown(time.Second)
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// An answer to HEAD tells whether what is stored and stale is still the answer: RFC 9111 §4.3.5.
func TestCacheHeadUpdates(t *testing.T) {
	o := startOrigin(t, func(r message, n int) string {
		tag := `"v1"`
		if strings.Contains(r.first, "/other") && strings.HasPrefix(r.first, "HEAD") {
			tag = `"v2"`
		}
		switch {
		case strings.HasPrefix(r.first, "HEAD"):
			return "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nETag: " + tag + "\r\nContent-Length: 4\r\n\r\n"
		case r.field("If-None-Match") != "":
			return "HTTP/1.1 304 Not Modified\r\nETag: " + tag + "\r\n\r\n"
		}
		return with("body", "Cache-Control: max-age=60", "Age: 100", "ETag: \"v1\"")
	})
	g := startCached(t, o)
	wantCached(t, g.get("/same"), "MISS", 200, "body")
	wantCached(t, g.do("HEAD /same HTTP/1.1\r\nHost: a\r\n\r\n"), "MISS", 200, "")
	wantCached(t, g.get("/same"), "HIT", 200, "body")
	wantCached(t, g.get("/other"), "MISS", 200, "body")
	wantCached(t, g.do("HEAD /other HTTP/1.1\r\nHost: a\r\n\r\n"), "MISS", 200, "")
	wantCached(t, g.get("/other"), "MISS", 200, "body")
	if last := o.asked()[len(o.asked())-1]; last.field("If-None-Match") != "" {
		t.Errorf("asked whether another answer still holds: %s", last.head)
	}
}
