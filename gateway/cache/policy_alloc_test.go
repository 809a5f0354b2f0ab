//go:build !race

package cache

import (
	"testing"

	"aigateway/gateway/wire"
)

func noAllocs(t *testing.T, what string, f func()) {
	t.Helper()
	f()
	if n := testing.AllocsPerRun(200, f); n != 0 {
		t.Errorf("%s: %v allocations", what, n)
	}
}

// TestAllocPolicy: what each request or each stored answer passes.
func TestAllocPolicy(t *testing.T) {
	q, h := ask(t, "GET|Cache-Control: max-age=10, max-stale=5|Cookie: a=b|If-None-Match: W/\"x\", \"a\"|If-Modified-Since: "+hourAgo+
		"|Range: bytes=2-4|If-Range: "+hourAgo+"|Accept-Encoding: gzip, br;q=0.5|Accept: a|Accept: b|Pragma: no-cache|X-Forwarded-Port: 80")
	a, rh := respond(t, "200|Date: "+noonDate+"|ETag: \"a\"|Last-Modified: "+hourAgo+"|Expires: "+hourLater+"|Vary: Accept, accept-encoding"+
		"|Cache-Control: public, max-age=60, stale-if-error=5, private=\"x\"|CDN-Cache-Control: max-age=60;a=\"b\", private=\"x\"|X: 1|Location: ../y|Age: 7")
	m := stored(t, "200|ETag: \"a\"|Last-Modified: "+hourAgo+"|Cache-Control: max-age=60")
	dst := make([]byte, 0, 4096)
	head := make([]byte, 0, 4096)
	names := a.AppendVary(nil)

	noAllocs(t, "reading a request", func() { q.Read(h, example, nil) })
	noAllocs(t, "reading an answer", func() { a.Read(rh, Times{noon, noon}) })
	noAllocs(t, "storing", func() {
		if _, why := withTTL.Store(q, a); why != None {
			t.Fatal(why)
		}
	})
	noAllocs(t, "the head to be stored", func() { dst = a.AppendHead(dst[:0], rh) })
	noAllocs(t, "freshening", func() {
		dst = a.AppendHead(dst[:0], rh)
		head = a.Freshen(head[:0], dst, rh)
		a.Reread(200, head)
	})
	a.Read(rh, Times{noon, noon})
	noAllocs(t, "keys", func() {
		dst = AppendVariant(AppendKey(dst[:0], example, h.Target), names, h, q)
		Hash(dst)
		dst = q.AppendOthers(dst[:0])
		dst = (&Fields{Key: [][]byte{[]byte("accept"), []byte("x-none")}}).AppendTo(dst, h)
		dst = a.AppendNames(dst[:0], names, m)
	})
	noAllocs(t, "variants", func() {
		dst = MergeVary(dst[:0], names, []byte("accept"))
		n := len(dst)
		dst = AppendVariants(dst, Variants{}, dst[:n], Key{1})
		if v, ok := ParseVariants(dst[n:]); !ok || !v.Holds(Key{1}) {
			t.Fatal("no variants")
		}
	})
	noAllocs(t, "reuse", func() {
		Reuse(m, q, noon)
		MayServeOnError(m, q, noon)
		q.NotModified(m)
		q.Range(m, 10)
		a.Validates(m)
		m.Keep()
	})
	noAllocs(t, "lines", func() {
		dst = AppendLines(dst[:0], h, m)
		dst = AppendNotModified(dst[:0], head, m)
		dst = AppendCacheStatus(dst[:0], CacheStatus{Timed: true, TTL: 5, Detail: ForStale})
		dst = AppendContentRange(dst[:0], 1, 2, 3)
		dst, _ = AppendReferenced(dst[:0], example, h.Target, []byte("../y"))
	})
}

func BenchmarkPolicy(b *testing.B) {
	hit := func(name, request string) {
		b.Run("request="+name, func(b *testing.B) {
			q, h := ask(b, request)
			m := stored(b, "200|ETag: \"a\"|Cache-Control: max-age=60")
			key := make([]byte, 0, 256)
			b.ReportAllocs()
			for b.Loop() {
				q.Read(h, example, nil)
				key = AppendKey(key[:0], example, h.Target)
				if v, _ := Reuse(m, q, noon); q.Bypass() != None || v != Fresh {
					b.Fatal(v)
				}
			}
		})
	}
	const usual = "GET|Accept: application/json|Accept-Encoding: gzip, deflate|User-Agent: OpenAI/Python 1.99.9|X-Stainless-Lang: python"
	hit("usual", usual)
	hit("conditional", usual+"|If-None-Match: \"b\"")

	b.Run("step=others", func(b *testing.B) { // what a hit costs more where freshness is our own idea
		q, h := ask(b, usual)
		key := make([]byte, 0, 256)
		b.ReportAllocs()
		for b.Loop() {
			q.Read(h, example, nil)
			key = q.AppendOthers(key[:0])
		}
	})

	b.Run("step=scan", func(b *testing.B) {
		var h wire.RequestHead
		lines := block("Host: a|Accept: application/json|Accept-Encoding: gzip, deflate|User-Agent: OpenAI/Python 1.99.9|X-Stainless-Lang: python")
		method, target, proto := []byte("GET"), []byte("/x"), []byte("HTTP/1.1")
		for b.Loop() {
			h.Scan(method, target, proto, lines)
		}
	})
}
