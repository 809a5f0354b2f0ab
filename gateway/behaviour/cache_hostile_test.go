package behaviour

import (
	"aigateway/gateway/server"
	"aigateway/gateway/testkit"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"aigateway/gateway/cache"
)

// Sequences that nobody sends by accident, and what must hold all the same.

// What was asked for before a purge or an unsafe request is neither stored nor shared after it.
func TestCacheChangedWhileFetched(t *testing.T) {
	t.Parallel()
	change := map[string]string{
		"purge":        "DELETE /cachez HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer secret\r\n\r\n",
		"purge of key": "DELETE /cachez?key=/a HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer secret\r\n\r\n",
		"POST":         "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
	}
	phases := []string{"before the head", "in the body"}
	f := func(name string, vary bool, credentials string) {
		for what, request := range change {
			for _, phase := range phases {
				t.Run(what+" "+phase+" "+name, func(t *testing.T) {
					begin, end := make(chan struct{}), make(chan struct{})
					var gets atomic.Int32
					varies := "X-Own: 1"
					if vary {
						varies = "Vary: Accept-Language"
					}
					head := "HTTP/1.1 200 OK\r\nCache-Control: public, max-age=60\r\n" + varies + "\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nold\r\n"
					up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
						for {
							r := c.ReadRequest()
							if r.Err != nil {
								return
							}
							switch {
							case strings.HasPrefix(r.First, "POST"):
								c.Send("%s", testkit.Answer("done"))
							case strings.Contains(r.First, "/other"), strings.Contains(r.Field("Accept-Language"), "seed"):
								c.Send("%s", with("seed", fresh, varies))
							case gets.Add(1) == 1:
								if phase == phases[0] {
									<-begin
									c.Send("%s", head)
								} else {
									c.Send("%s", head)
									<-begin
								}
								<-end
								c.Send("0\r\n\r\n")
							default:
								c.Send("%s", with("new", "Cache-Control: public, max-age=60", varies))
							}
						}
					})
					g := startCached(t, &origin{Upstream: up}, "ADMIN_TOKEN=secret")
					if vary { // so that the flight is one of a variant
						g.get("/a", "Accept-Language: seed")
					}
					lines := []string{"Accept-Language: de"}
					if credentials != "" {
						lines = append(lines, credentials)
					}
					early := g.crowd(1, same(getOf("/a", lines...)))[0]
					testkit.Eventually(t, "it is fetched", func() bool { return gets.Load() == 1 })
					if phase == phases[1] {
						early.ReadHead()
					}
					if m := g.Do(request); m.Status() != 200 {
						t.Fatalf("%s %s", m.First, m.Body)
					}
					wantCached(t, g.get("/a", lines...), "MISS", 200, "new") // not what is still on its way
					close(begin)
					close(end)
					if phase == phases[0] {
						wantCached(t, early.ReadResponse(), "MISS", 200, "old") // it had asked before
					}
					testkit.Eventually(t, "nothing is under way", func() bool { return g.Parts().Caching.Idle() })
					if m := g.get("/a", lines...); m.Body != "new" {
						t.Errorf("what was fetched before is stored: %s %q", m.Head, m.Body)
					}
				})
			}
		}
	}
	f("plain", false, "")
	f("variant", true, "")
	f("alone", false, "Authorization: Bearer x")
}

// What is purged while it is asked about does not come back by a 304, nor by a failure.
func TestCachePurgedWhileRevalidated(t *testing.T) {
	f := func(name, second string, status int, body string) {
		t.Run(name, func(t *testing.T) {
			o := &origin{}
			begin := make(chan struct{})
			var n atomic.Int32
			up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
				for {
					r := c.ReadRequest()
					if r.Err != nil {
						return
					}
					switch n.Add(1) {
					case 1:
						c.Send("%s", with("old", "Cache-Control: max-age=60, stale-if-error=600", "Age: 100", `ETag: "v1"`))
					case 2:
						<-begin
						if second == "" {
							return
						}
						c.Send("%s", second)
					default:
						if r.Field("If-None-Match") != "" && name != "hang-up" {
							t.Errorf("asks about what was purged: %s", r.Head)
						}
						c.Send("%s", with("new", fresh, `ETag: "v2"`))
					}
				}
			})
			o.Upstream = up
			g := startCached(t, o, "ADMIN_TOKEN=secret")
			wantCached(t, g.get("/a"), "MISS", 200, "old")
			c := g.crowd(1, same(getOf("/a")))[0]
			testkit.Eventually(t, "it is asked about", func() bool { return n.Load() == 2 })
			g.Do("DELETE /cachez?prefix=/ HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer secret\r\n\r\n")
			close(begin)
			if m := c.ReadResponse(); m.Status() != status || body != "" && m.Body != body {
				t.Errorf("%s %s %q", m.First, m.Head, m.Body)
			}
			if m := g.get("/a"); m.Body != "new" {
				t.Errorf("%s %q", m.Head, m.Body)
			}
		})
	}
	f("304", "HTTP/1.1 304 Not Modified\r\n"+fresh+"\r\nETag: \"v1\"\r\n\r\n", 200, "new")
	f("503", "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy", 503, "busy")
	f("hang-up", "", 200, "new") // a connection that was used before: it is asked once more
}

// Whoever has no credentials keeps what is stored, whatever those with credentials get.
func TestCacheOthersCredentialsChangeNothing(t *testing.T) {
	o := startOrigin(t, func(r testkit.Message, n int) string {
		if auth := r.Field("Authorization"); auth != "" {
			if r.Field("If-None-Match") != "" {
				return "HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\n\r\n"
			}
			return with("for "+auth, "Cache-Control: private, max-age=60", `ETag: "v1"`)
		}
		return with("public", fresh, `ETag: "v1"`)
	})
	g := startCached(t, o)
	wantCached(t, g.get("/a"), "MISS", 200, "public")
	wantCached(t, g.get("/a", "Authorization: me"), "MISS", 200, "for me")
	wantCached(t, g.get("/a"), "HIT", 200, "public")
	wantCached(t, g.get("/b", "Authorization: me"), "MISS", 200, "for me")
	if g.Parts().Caching.HitForMiss(hashOf("/b")) {
		t.Error("what one client gets for itself keeps others from waiting for each other")
	}
}

// A 304 that is for one client only is not what others get.
func TestFlightFreshenedForOne(t *testing.T) {
	begin := make(chan struct{})
	o := startOrigin(t, func(r testkit.Message, n int) string {
		if n == 0 {
			return with("body", "Cache-Control: max-age=60", "Age: 100", `ETag: "v1"`)
		}
		if n == 1 {
			<-begin
		}
		return fmt.Sprintf("HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\nCache-Control: private\r\nX-For: %d\r\n\r\n", n)
	})
	g := startCached(t, o)
	wantCached(t, g.get("/a"), "MISS", 200, "body")
	clients := g.crowd(10, same(getOf("/a")))
	close(begin)
	var mu sync.Mutex
	seen := map[string]bool{}
	all(clients, func(i int, m testkit.Message) {
		mu.Lock()
		defer mu.Unlock()
		if who := m.Field("X-For"); m.Err != nil || seen[who] {
			t.Errorf("%s %v %s %q: somebody else's", m.First, m.Err, m.Head, m.Body)
		} else {
			seen[who] = true
		}
	})
}

// One failure stands for all who wait when a stale answer may stand in for it.
func TestFlightStaleIfError(t *testing.T) {
	t.Parallel()
	f := func(name, failure string) {
		t.Run(name, func(t *testing.T) {
			begin := make(chan struct{})
			var asked atomic.Int32
			up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
				if c.ReadRequest().Err != nil {
					return
				}
				if asked.Add(1) == 1 {
					c.Send("%s", with("old", "Cache-Control: max-age=60, stale-if-error=600", "Age: 100", "Connection: close"))
					return
				}
				<-begin
				if failure == "silence" {
					_, _ = c.Rest()
					return
				}
				c.Send("%s", failure)
			})
			g := startCached(t, &origin{Upstream: up}, "RESPONSE_TIMEOUT=500ms")
			wantCached(t, g.get("/a"), "MISS", 200, "old")
			clients := g.crowd(30, same(getOf("/a")))
			close(begin)
			all(clients, func(i int, m testkit.Message) { wantCached(t, m, "STALE", 200, "old") })
			if n := asked.Load(); n > 6 { // who was slow to join may ask once more
				t.Errorf("the upstream was asked %d times", n-1)
			}
		})
	}
	f("503", "HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbusy")
	f("hang-up", "")
	f("time-out", "silence")
}

// must-revalidate forbids what stale-while-revalidate and stale-if-error allow.
func TestCacheMustRevalidate(t *testing.T) {
	for _, directive := range []string{"must-revalidate", "proxy-revalidate", "s-maxage=60", "no-cache"} {
		o := startOrigin(t, func(r testkit.Message, n int) string {
			if n > 0 {
				return "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"
			}
			return with("old", "Cache-Control: max-age=60, stale-if-error=600, stale-while-revalidate=600, "+directive, "Age: 100", `ETag: "a"`)
		})
		g := startCached(t, o)
		wantCached(t, g.get("/a"), "MISS", 200, "old")
		wantCached(t, g.get("/a"), "MISS", 503, "busy")
		wantCached(t, g.get("/a", "Cache-Control: max-stale=1000, stale-if-error=1000"), "MISS", 503, "busy")
		testkit.WantFault(t, g.get("/a", "Cache-Control: only-if-cached, max-stale"), 504, "not_cached", false)
	}
}

// What a request wants, with what is stored: fresh for 1,000 seconds more, or stale since 100 with an entity tag.
func TestCacheRequestDirectives(t *testing.T) {
	o := startOrigin(t, func(r testkit.Message, n int) string {
		if strings.Contains(r.First, "/fresh") {
			return with("fresh", "Cache-Control: max-age=2000", "Age: 1000", `ETag: "f"`)
		}
		return with("stale", "Cache-Control: max-age=60", "Age: 160", `ETag: "s"`)
	})
	g := startCached(t, o)
	g.get("/fresh")
	g.get("/stale")
	f := func(target, control, outcome string, status int) {
		t.Helper()
		if m := g.get(target, "Cache-Control: "+control); m.Status() != status || m.Field("X-Cache") != outcome {
			t.Errorf("%s with %q: %s, X-Cache %q; want %d %s", target, control, m.First, m.Field("X-Cache"), status, outcome)
		}
	}
	f("/fresh", "max-age=2000", "HIT", 200)
	f("/fresh", "max-age=500", "MISS", 200)
	f("/fresh", "max-age=0", "MISS", 200)
	f("/fresh", "max-age=x", "MISS", 200)
	f("/fresh", "min-fresh=900", "HIT", 200)
	f("/fresh", "min-fresh=1100", "MISS", 200)
	f("/fresh", "no-cache", "MISS", 200)
	f("/fresh", "no-store", "BYPASS", 200)
	f("/fresh", "only-if-cached", "HIT", 200)
	f("/fresh", "only-if-cached, max-age=500", "", 504)
	f("/fresh", "only-if-cached, no-cache", "", 504)
	f("/fresh", "only-if-cached, min-fresh=1100", "", 504)
	f("/stale", "max-stale", "STALE", 200)
	f("/stale", "max-stale=200", "STALE", 200)
	f("/stale", "max-stale=50", "MISS", 200)
	f("/stale", "max-stale, max-age=100", "MISS", 200)
	f("/stale", "max-stale, min-fresh=1", "MISS", 200)
	f("/stale", "only-if-cached", "", 504)
	f("/stale", "only-if-cached, max-stale=200", "STALE", 200)
	f("/absent", "only-if-cached, max-stale", "", 504)
	if m := g.Do("HEAD /absent HTTP/1.1\r\nHost: a\r\nCache-Control: only-if-cached\r\n\r\n"); m.Status() != 504 {
		t.Errorf("%s", m.First)
	}
	f("/absent", "only-if-cached, no-store", "BYPASS", 200)
}

// Conditions and ranges together, of what is stored.
func TestCacheConditionsAndRanges(t *testing.T) {
	const modified = "Mon, 23 Nov 2020 10:00:00 GMT"
	o := startOrigin(t, func(r testkit.Message, n int) string {
		return with("0123456789", fresh, `ETag: "v1"`, "Last-Modified: "+modified)
	})
	g := startCached(t, o)
	g.get("/a")
	f := func(status int, body string, lines ...string) {
		t.Helper()
		for _, method := range []string{"GET", "HEAD"} {
			want, text := status, body
			if method == "HEAD" {
				if text = ""; status == 206 || status == 416 { // ranges are for GET: RFC 9110 §14.2
					want = 200
				}
			}
			m := g.Do(method + " /a HTTP/1.1\r\nHost: a\r\n" + joined(lines) + "\r\n")
			if m.Status() != want || m.Body != text || m.Field("X-Cache") != "HIT" || m.Err != nil {
				t.Errorf("%s %q: %s, X-Cache %q, %q; want %d %q", method, lines, m.First, m.Field("X-Cache"), m.Body, want, text)
			}
			if want == 200 && m.Field("Content-Length") != "10" || want == 304 && m.Field("Content-Range") != "" {
				t.Errorf("%s %q: %s", method, lines, m.Head)
			}
		}
	}
	f(206, "23", "Range: bytes=2-3")
	f(206, "9", "Range: bytes=-1")
	f(206, "0123456789", "Range: bytes=0-99999999999999999999")
	f(416, "", "Range: bytes=10-")
	f(416, "", "Range: bytes=-0")
	f(200, "0123456789", "Range: bytes=3-2")
	f(200, "0123456789", "Range: lines=1-2")
	f(200, "0123456789", "Range: bytes=1-2", "Range: bytes=2-3")
	f(206, "23", "Range: bytes=2-3", `If-Range: "v1"`)
	f(200, "0123456789", "Range: bytes=2-3", `If-Range: W/"v1"`)
	f(206, "23", "Range: bytes=2-3", "If-Range: "+modified)
	f(200, "0123456789", "Range: bytes=2-3", "If-Range: Mon, 23 Nov 2020 10:00:01 GMT")
	f(304, "", "Range: bytes=2-3", `If-None-Match: "v1"`)
	f(206, "23", "Range: bytes=2-3", `If-None-Match: "v2"`)
	f(206, "23", "Range: bytes=2-3", `If-None-Match: "v2"`, "If-Modified-Since: "+modified)
	f(304, "", "Range: bytes=2-3", `If-Range: "v2"`, `If-None-Match: *`)
	f(304, "", "If-Modified-Since: "+modified)
	f(200, "0123456789", "If-Modified-Since: yesterday")
	if n := len(o.asked()); n != 1 {
		t.Errorf("the upstream was asked %d times", n)
	}
}

// Answers nobody asked for, and heads that are none.
func TestCacheOddAnswers(t *testing.T) {
	t.Parallel()
	f := func(name, first string, status int, body, second string) {
		t.Run(name, func(t *testing.T) {
			o := startOrigin(t, func(r testkit.Message, n int) string {
				if n == 0 {
					return first
				}
				return with("next", fresh)
			})
			g := startCached(t, o)
			m := g.get("/a")
			if m.Status() != status || m.Body != body || m.Err != nil {
				t.Errorf("%s %q %v\n%s", m.First, m.Body, m.Err, m.Head)
			}
			if m = g.get("/a"); m.Body != second || m.Status() != 200 && second == "next" || m.Err != nil {
				t.Errorf("then %s %q %v\n%s", m.First, m.Body, m.Err, m.Head)
			}
		})
	}
	f("304 unasked", "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n"+fresh+"\r\n\r\n", 304, "", "next")
	f("206 unasked", "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/10\r\n"+fresh+"\r\nContent-Length: 2\r\n\r\n01", 206, "01", "next")
	f("Content-Range in a 200", with("01", fresh, "Content-Range: bytes 0-1/10"), 200, "01", "next")
	f("103 and 100 before", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"+with("body", fresh), 200, "body", "body")
	f("204", "HTTP/1.1 204 No Content\r\n"+fresh+"\r\n\r\n", 204, "", "")
	f("404", "HTTP/1.1 404 Not Found\r\n"+fresh+"\r\nContent-Length: 4\r\n\r\nnone", 404, "none", "none")
	f("302", "HTTP/1.1 302 Found\r\n"+fresh+"\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n", 302, "", "")
	f("Age that is none", with("body", fresh, "Age: -5, x"), 200, "body", "body")
	f("huge Age", with("body", fresh, "Age: 99999999999999999999999999"), 200, "body", "next")
	f("two Ages", with("body", fresh, "Age: 5", "Age: 5000"), 200, "body", "body")
	f("Date that is none", with("body", fresh, "Date: now"), 200, "body", "body")
	f("Date of 1970", with("body", fresh, "Date: Thu, 01 Jan 1970 00:00:00 GMT"), 200, "body", "next")
	f("Expires: 0", with("body", "Expires: 0"), 200, "body", "next")
	f("two max-ages", with("body", "Cache-Control: max-age=60, max-age=0"), 200, "body", "next")
	f("max-age overflows", with("body", "Cache-Control: max-age=99999999999999999999"), 200, "body", "body")
	f("a value of 10 KB", with("body", fresh, "X-Long: "+strings.Repeat("v", 10<<10)), 200, "body", "body")
	var lines []string
	for i := range 300 {
		lines = append(lines, fmt.Sprintf("X-Line-%d: %s", i, strings.Repeat("v", 20)))
	}
	f("300 lines", with("body", append(lines, fresh)...), 200, "body", "body")
	f("an entity tag of 5 KB", with("body", fresh, `ETag: "`+strings.Repeat("e", 5<<10)+`"`), 200, "body", "body")
	f("a value that looks like the end of a stored head", with("body", fresh, "X-Own: Content-Length: 3"), 200, "body", "body")
}

// A stored 204 has no length, whoever gets it: RFC 9110 §8.6.
func TestCacheNoContent(t *testing.T) {
	o := startGate(t, func(testkit.Message, int) string { return "HTTP/1.1 204 No Content\r\n" + fresh + "\r\n\r\n" })
	g := startCached(t, o.origin)
	clients := g.crowd(3, same(getOf("/a")+getOf("/a")))
	close(o.open)
	for _, c := range clients {
		for range 2 {
			if m := c.ReadResponse(); m.Status() != 204 || m.Field("Content-Length") != "" || m.Field("Transfer-Encoding") != "" {
				t.Errorf("%s %s", m.First, m.Head)
			}
		}
	}
}

// Long targets, long ids and control bytes find room, or are refused; a hit of them is as good as any.
func TestCacheLongRequests(t *testing.T) {
	o := startOrigin(t, func(r testkit.Message, n int) string { return with("body", fresh, `ETag: "a"`) })
	g := startCached(t, o, "MAX_HEADER_BYTES=32768", "RATE_LIMIT_ENABLED=true", "GLOBAL_RPS=100000", "GLOBAL_BURST=100000", "CLIENT_RPS=100000", "CLIENT_BURST=100000")
	for _, target := range []string{"/" + strings.Repeat("a", 20<<10), "/a?" + strings.Repeat("%00", 5000), "/\x80\xff", "/a//b/./c;x=y?%0d%0a"} {
		id := "X-Request-ID: " + strings.Repeat("i", 2000)
		m := g.get(target, id)
		if m.Status() == 400 { // refused before the cache
			continue
		}
		wantCached(t, m, "MISS", 200, "body")
		wantCached(t, g.get(target, id), "HIT", 200, "body")
		wantCached(t, g.get(target, "X-Request-ID: "+strings.Repeat("i", 128), `If-None-Match: "a"`), "HIT", 304, "")
		wantCached(t, g.get(target, "Range: bytes=1-2"), "HIT", 206, "od")
	}
}

// An upstream that cannot make up its mind is followed: each answer is what it said last, never a mixture.
func TestCacheUpstreamAlternates(t *testing.T) {
	var n atomic.Int32
	o := startOrigin(t, func(r testkit.Message, _ int) string {
		k := int(n.Add(1))
		lines := []string{"Cache-Control: max-age=60", fmt.Sprint("Age: ", 60*(k%2)), "X-Kind: " + r.Field("X-A") + r.Field("X-B"), fmt.Sprintf(`ETag: "%d"`, k)}
		switch k % 4 {
		case 0:
			lines = append(lines, "Vary: X-A")
		case 1:
			lines = append(lines, "Vary: X-B, X-A")
		case 2:
			lines = append(lines, "Vary: X-B")
		}
		body := strings.Repeat(r.Field("X-A")+r.Field("X-B")+"|", k%7+1)
		if k%5 == 0 {
			return strings.Replace(with(body, lines...), "200 OK", "404 Not Found", 1)
		}
		if k%3 == 0 {
			return chunkedOf([]string{body}, lines...)
		}
		return with(body, lines...)
	})
	g := startCached(t, o)
	for i := range 300 {
		a, b := fmt.Sprint(i%3), fmt.Sprint("x", i%2)
		m := g.get("/a", "X-A: "+a, "X-B: "+b)
		whole := len(m.Body) > 0 && strings.Count(m.Body, "|")*len(m.Field("X-Kind")+"|") == len(m.Body)
		if m.Err != nil || !whole || !strings.HasPrefix(m.Body, m.Field("X-Kind")+"|") {
			t.Fatalf("round %d: %s %v %q\n%s", i, m.First, m.Err, m.Body, m.Head)
		}
		// As soon as both have been named, each gets its own.
		if i > 12 && m.Field("X-Kind") != a+b {
			t.Fatalf("round %d: %s got %q", i, a+b, m.Body)
		}
	}
}

// A flood of variants costs what is stored for them, and nothing else.
func TestCacheVariantFlood(t *testing.T) {
	t.Parallel()
	o := startOrigin(t, func(r testkit.Message, n int) string {
		if strings.Contains(r.First, "/a") {
			return with("for "+r.Field("X-Own"), "Cache-Control: max-age=3600", "Vary: X-Own")
		}
		return with("other", "Cache-Control: max-age=3600")
	})
	g := startCached(t, o, "CACHE_MAX_ENTRIES=1000")
	wantCached(t, g.get("/other"), "MISS", 200, "other")
	var wg sync.WaitGroup
	for c := range 8 {
		wg.Go(func() {
			conn := g.Dial()
			for i := range 100 {
				own := fmt.Sprint(c*1000 + i)
				conn.Send("%s", getOf("/a", "X-Own: "+own))
				if m := conn.ReadResponse(); m.Body != "for "+own || m.Err != nil {
					t.Errorf("%s got %q %v", own, m.Body, m.Err)
				}
				if i%10 == 0 {
					conn.Send("%s", getOf("/other"))
					if m := conn.ReadResponse(); m.Field("X-Cache") != "HIT" {
						t.Errorf("%s", m.Head)
					}
				}
			}
		})
	}
	wg.Wait()
	found := 0
	for c := range 8 {
		for i := range 100 {
			if g.get("/a", fmt.Sprint("X-Own: ", c*1000+i), "Cache-Control: only-if-cached").Status() == 200 {
				found++
			}
		}
	}
	if found != 16 {
		t.Errorf("%d variants are found, want 16", found)
	}
}

// A key whose answers are nobody else's is not waited for, and may become one that is.
func TestCacheHitForMiss(t *testing.T) {
	var private atomic.Bool
	private.Store(true)
	o := startOrigin(t, func(r testkit.Message, n int) string {
		if private.Load() {
			return with("own", "Cache-Control: private")
		}
		return with("shared", fresh)
	})
	g := startCached(t, o)
	wantCached(t, g.get("/a"), "MISS", 200, "own")
	if !g.Parts().Caching.HitForMiss(hashOf("/a")) {
		t.Error("not marked")
	}
	private.Store(false)
	wantCached(t, g.get("/a"), "MISS", 200, "shared") // alone, but stored
	wantCached(t, g.get("/a"), "HIT", 200, "shared")
}

// hashOf is the key of a target at the host of these tests.
func hashOf(target string) cache.Key {
	return cache.Hash(cache.AppendKey(nil, cache.Origin{Host: []byte("a")}, []byte(target)))
}

// A hit is an answer of this gateway to this client: what was about another connection or another request is not in it.
func TestCacheHitHead(t *testing.T) {
	o := startOrigin(t, func(r testkit.Message, n int) string {
		return with("body", fresh, "Connection: X-Hop, keep-alive", "X-Hop: 1", "Keep-Alive: timeout=5", "Proxy-Authenticate: Basic",
			"X-Request-ID: upstream", "X-Kept: 1", "Age: 3", "Age: 4", "traceparent: 00-0-0-0")
	})
	g := startCached(t, o)
	for _, outcome := range []string{"MISS", "HIT"} {
		m := g.get("/a", "X-Request-ID: mine-"+outcome)
		wantCached(t, m, outcome, 200, "body")
		for _, name := range []string{"X-Hop", "Keep-Alive", "Proxy-Authenticate", "Connection"} {
			if m.Field(name) != "" {
				t.Errorf("%s has %s: %s", outcome, name, m.Field(name))
			}
		}
		for _, name := range []string{"Age", "X-Cache", "Date", "Content-Length", "X-Kept", "X-Request-ID"} {
			if n := len(m.Fields(name)); n != 1 {
				t.Errorf("%s has %d lines of %s\n%s", outcome, n, name, m.Head)
			}
		}
		if m.Field("X-Request-ID") != "mine-"+outcome {
			t.Errorf("%s", m.Head)
		}
	}
}

// A hit says how its connection goes on.
func TestCacheHitConnection(t *testing.T) {
	o := startOrigin(t, func(r testkit.Message, n int) string { return with("0123456789", fresh, `ETag: "a"`) })
	g := startCached(t, o)
	g.get("/a")
	f := func(request string, status int, connection string) {
		t.Helper()
		c := g.Dial()
		defer c.Close()
		c.Send("%s", request)
		m := c.ReadResponse(strings.HasPrefix(request, "HEAD"))
		if m.Status() != status || m.Field("Connection") != connection || m.Field("X-Cache") != "HIT" || m.Err != nil {
			t.Errorf("%q: %s %v\n%s", request, m.First, m.Err, m.Head)
		}
		if connection == "close" {
			if !c.Closed() {
				t.Errorf("%q: stays open", request)
			}
			return
		}
		c.Send("%s", request)
		if m := c.ReadResponse(strings.HasPrefix(request, "HEAD")); m.Status() != status {
			t.Errorf("%q again: %s %v", request, m.First, m.Err)
		}
	}
	for _, what := range []struct {
		line   string
		status int
	}{{"", 200}, {"If-None-Match: \"a\"\r\n", 304}, {"Range: bytes=1-2\r\n", 206}, {"Range: bytes=99-\r\n", 416}} {
		f("GET /a HTTP/1.1\r\nHost: a\r\n"+what.line+"\r\n", what.status, "")
		f("GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"+what.line+"\r\n", what.status, "close")
		f("GET /a HTTP/1.0\r\nHost: a\r\n"+what.line+"\r\n", what.status, "close")
		f("GET /a HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n"+what.line+"\r\n", what.status, "keep-alive")
	}
	f("HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n", 200, "")
	f("HEAD /a HTTP/1.0\r\nHost: a\r\n\r\n", 200, "close")
}

// A stale answer stands in for an upstream that cannot be reached.
func TestCacheStaleIfRefused(t *testing.T) {
	o := startOrigin(t, func(r testkit.Message, n int) string {
		return with("old", "Cache-Control: max-age=60, stale-if-error=600", "Age: 100", "Connection: close")
	})
	var down atomic.Bool
	dial := func(addr string) (net.Conn, error) {
		if down.Load() {
			return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
		}
		return net.Dial("tcp", addr)
	}
	file := "pools: {p: {upstreams: [{url: \"" + o.URL + "\"}]}}\nroutes: [{path: \"/*\", pool: p}]\n"
	g := serve(t, testkit.Settings(t, file, []string{"CACHE_ENABLED=true", "PY_SERVICE_URL=" + o.URL}), server.Options{Dial: dial})
	wantCached(t, g.get("/a"), "MISS", 200, "old")
	down.Store(true)
	all(g.crowd(20, same(getOf("/a"))), func(i int, m testkit.Message) { wantCached(t, m, "STALE", 200, "old") })
	if m := g.get("/b"); m.Status() != 503 { // of which nothing is stored
		t.Errorf("%s %q", m.First, m.Body)
	}
}

// Via tells the way from the origin to the client, in this order, whatever the reply is made of; what other caches say of themselves
// stays behind.
func TestCacheOrderOfIntermediaries(t *testing.T) {
	o := startOrigin(t, func(r testkit.Message, n int) string {
		lines := []string{fresh, "Via: 1.1 first", "Cache-Status: first; hit", `ETag: "a"`}
		if strings.Contains(r.First, "/stream") {
			return chunkedOf([]string{"01234", "56789"}, lines...)
		}
		return with("0123456789", lines...)
	})
	g := startCached(t, o)
	f := func(target, outcome string, status int, lines ...string) {
		t.Helper()
		m := g.get(target, lines...)
		via, status9211 := m.Fields("Via"), m.Fields("Cache-Status")
		if m.Status() != status || m.Field("X-Cache") != outcome || len(via) != 2 || via[0] != "1.1 first" ||
			len(status9211) != 1 || !strings.HasPrefix(status9211[0], "aigateway") {
			t.Errorf("%s %q: %s\n%s", target, lines, m.First, m.Head)
		}
	}
	for _, target := range []string{"/a", "/stream"} {
		f(target, "MISS", 200)
		f(target, "HIT", 200)
		f(target, "HIT", 304, `If-None-Match: "a"`)
		f(target, "HIT", 206, "Range: bytes=2-3")
	}
	f("/private", "MISS", 200, "Authorization: me") // what passes
}
