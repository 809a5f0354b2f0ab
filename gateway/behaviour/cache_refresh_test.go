package behaviour

import (
	"strings"
	"testing"

	"aigateway/gateway/testkit"
)

// Whatever got a stale reply, what is fetched behind it is the whole of what is stored: a HEAD has no body to store, and a
// part or a 304 is only that client's.
func TestRefreshAsksForTheWhole(t *testing.T) {
	f := func(name, method string, lines ...string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := startOrigin(t, func(r testkit.Message, n int) string {
				switch {
				case strings.HasPrefix(r.First, "HEAD "):
					return "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 3\r\n\r\n"
				case n == 0:
					return with("old", "Cache-Control: max-age=60, stale-while-revalidate=600", "Age: 100", "ETag: \"a\"")
				}
				return with("new", "Cache-Control: max-age=60", "ETag: \"b\"")
			})
			g := startCached(t, o)
			wantCached(t, g.get("/a"), "MISS", 200, "old")
			if m := g.Do(method + " /a HTTP/1.1\r\nHost: a\r\n" + joined(lines) + "\r\n"); m.Field("X-Cache") != "STALE" {
				t.Fatal(m.Head)
			}
			testkit.Eventually(t, "it is renewed behind the reply", func() bool { return len(o.asked()) == 2 })
			testkit.Eventually(t, "the renewed one is stored", func() bool {
				m := g.get("/a")
				return m.Field("X-Cache") == "HIT" && m.Body == "new"
			})
			if n := len(o.asked()); n != 2 {
				t.Errorf("the upstream was asked %d times", n)
			}
			if r := o.asked()[1]; !strings.HasPrefix(r.First, "GET /a ") || r.Field("Range") != "" || r.Field("If-None-Match") != `"a"` {
				t.Errorf("%s", r.Head)
			}
		})
	}
	f("HEAD", "HEAD")
	f("a part", "GET", "Range: bytes=0-1")
	f("a condition", "GET", `If-None-Match: "z"`)
}

// What turns out to be too long to be kept, when it is fetched behind a stale reply, is read to its end: nobody waits for it for good.
func TestRefreshOfWhatGrowsTooLong(t *testing.T) {
	t.Parallel()
	const stale = "Cache-Control: max-age=60, stale-while-revalidate=600"
	o := startOrigin(t, func(_ testkit.Message, n int) string {
		if n == 0 {
			return with("old", stale, "Age: 100")
		}
		return "HTTP/1.1 200 OK\r\n" + stale + "\r\nTransfer-Encoding: chunked\r\n\r\n20000\r\n" + strings.Repeat("x", 0x20000) + "\r\n0\r\n\r\n"
	})
	g := startCached(t, o, "CACHE_MAX_BODY_BYTES=1000")
	wantCached(t, g.get("/a"), "MISS", 200, "old")
	for n := 2; n < 5; n++ {
		wantCached(t, g.get("/a"), "STALE", 200, "old")
		testkit.Eventually(t, "it is renewed behind the reply", func() bool { return len(o.asked()) == n })
		testkit.Eventually(t, "nothing is under way", func() bool { return g.Parts().Caching.Idle() && g.Parts().Caching.Taken() == 0 })
	}
}
