package behaviour

import (
	"fmt"
	"strings"
	"testing"

	"aigateway/gateway/testkit"
)

// What is copied out of a browser is a URL, and what is copied out of a log may have parameters of its own that are named as a
// purge's. All of it is found, and as many as were there are told of.
func TestPurgeOfWhatWasCopied(t *testing.T) {
	t.Parallel()
	o := startOrigin(t, func(r testkit.Message, n int) string {
		if strings.Contains(r.First, "/vary") {
			return with(fmt.Sprint(n), "Cache-Control: max-age=60", "Vary: X-A")
		}
		return with(fmt.Sprint(n), "Cache-Control: max-age=60")
	})
	g := startCached(t, o, "ADMIN_TOKEN=secret")
	purge := func(query string) testkit.Message {
		return g.Do("DELETE /cachez" + query + " HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer secret\r\n\r\n")
	}
	f := func(stored, query string, want int) {
		t.Helper()
		g.get(stored)
		m := purge(query)
		if m.Status() != 200 || !strings.Contains(m.Body, fmt.Sprintf(`"purged":%d}`, want)) {
			t.Errorf("%s: %s %s", query, m.First, m.Body)
		}
		if m := g.get(stored); want > 0 && m.Field("X-Cache") != "MISS" {
			t.Errorf("%s is left by %s: %s", stored, query, m.Field("X-Cache"))
		}
		purge("")
	}
	f("/x%20y?z=%2F", "?key=http://a:8080/x%20y?z=%2F", 1)
	f("/x%20y?z=%2F", "?key=https%3A%2F%2Fa%2Fx%2520y%3Fz%3D%252F", 1)
	f("/x%20y?z=1", "?path=http://a/x%20y", 1)
	f("/x?z=1", "?prefix=HTTP://a/", 1)
	f("/", "?prefix=http://a", 0) // the page
	f("/files?dir=1&path=/b", "?key=/files?dir=1&path=/b", 1)
	f("/files?dir=1&path=/b", "?prefix=/files?dir=1&path=/", 1)
	f("/files?dir=1&path=/b&key=2", "?key=/files?dir=1&path=/b&key=2", 1)
	f("/files?dir=1&path=/b&key=2", "?key=/c&key=/files?dir=1&path=/b&key=2&key=/d", 1)
	f("/a?b=1&c=2", "?key=/a?b=1&c=2&key=/d", 1)

	for range 2 {
		g.get("/vary", "X-A: 1")
		g.get("/vary", "X-A: 2")
	}
	if m := purge("?path=/vary"); !strings.Contains(m.Body, `"purged":2}`) {
		t.Errorf("two answers to one URL: %s", m.Body)
	}
	for _, query := range []string{"?path=/a&force=1", "?path=/a&prefx=/b", "?path", "?&path=/a", "?path=/a&path="} {
		if m := purge(query); m.Status() != 400 {
			t.Errorf("%s: %s %s", query, m.First, m.Body)
		}
	}
}
