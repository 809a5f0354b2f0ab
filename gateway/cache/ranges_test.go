package cache

import "testing"

func TestRanges(t *testing.T) {
	f := func(request, answer string, size, from, to int64, want RangeResult) {
		t.Helper()
		q, _ := ask(t, request)
		a, b, got := q.Range(stored(t, answer+"|Cache-Control: max-age=60"), size)
		if got != want || got == Part && (a != from || b != to) {
			t.Errorf("%q for %q of %d: %d to %d, %v; want %d to %d, %v", request, answer, size, a, b, got, from, to, want)
		}
	}
	whole := func(request string) {
		t.Helper()
		f(request, "200", 10, 0, 0, Whole)
	}
	part := func(spec string, from, to int64) {
		t.Helper()
		f("GET|Range: "+spec, "200", 10, from, to, Part)
	}
	// RFC 9110 §14.1.2
	part("bytes=0-0", 0, 1)
	part("bytes=2-4", 2, 5)
	part("BYTES=2-4", 2, 5)
	part("bytes=2-", 2, 10)
	part("bytes=9-9", 9, 10)
	part("bytes=2-99", 2, 10)
	part("bytes=2-99999999999999999999999999", 2, 10)
	part("bytes=-3", 7, 10)
	part("bytes=-10", 0, 10)
	part("bytes=-99", 0, 10)
	part("bytes=-99999999999999999999999999", 0, 10)
	for _, spec := range []string{"bytes=10-", "bytes=10-20", "bytes=99999999999999999999999999-", "bytes=-0"} {
		f("GET|Range: "+spec, "200", 10, 0, 0, Unsatisfiable)
	}
	// Ignored: §14.2.
	whole("GET")
	whole("HEAD|Range: bytes=0-1")
	whole("GET|Range: bytes=0-1|Range: bytes=0-1")
	for _, spec := range []string{"bytes=0-1,3-4", "bytes=0-1,", "bytes=", "bytes=-", "bytes=--1", "bytes=4-2", "bytes=a-b", "bytes=1-b", "bytes 0-1", "bytes= 0-1",
		"bytes=0 - 1", "bytes=+0-1", "bytes=-1-2", "bytes=1.5-2", "lines=0-1", "", "=0-1", "bytes=0-1;a"} {
		whole("GET|Range: " + spec)
	}
	f("GET|Range: bytes=0-", "200", 0, 0, 0, Whole)
	f("GET|Range: bytes=-1", "200", 0, 0, 0, Whole)
	f("GET|Range: bytes=0-1", "404", 10, 0, 0, Whole)

	// If-Range, §13.1.5: strong comparison.
	const ask = "GET|Range: bytes=2-4|If-Range: "
	f(ask+"\"a\"", "200|ETag: \"a\"", 10, 2, 5, Part)
	f(ask+"\"b\"", "200|ETag: \"a\"", 10, 0, 0, Whole)
	f(ask+"W/\"a\"", "200|ETag: W/\"a\"", 10, 0, 0, Whole)
	f(ask+"\"a\"", "200|ETag: W/\"a\"", 10, 0, 0, Whole)
	f(ask+"\"a\"", "200", 10, 0, 0, Whole)
	f(ask+"\"a\", \"b\"", "200|ETag: \"a\"", 10, 0, 0, Whole)
	f(ask+"\"a\"|If-Range: \"a\"", "200|ETag: \"a\"", 10, 0, 0, Whole)
	f(ask+"nonsense", "200|ETag: \"a\"", 10, 0, 0, Whole)
	// A date: the very same, and a strong validator.
	const date = "|Date: " + noonDate
	f(ask+hourAgo, "200|Last-Modified: "+hourAgo+date, 10, 2, 5, Part)
	f(ask+noonDate, "200|Last-Modified: "+hourAgo+date, 10, 0, 0, Whole)
	f(ask+dayAgo, "200|Last-Modified: "+hourAgo+date, 10, 0, 0, Whole)
	f(ask+hourAgo, "200"+date, 10, 0, 0, Whole)
	f(ask+noonDate, "200|Last-Modified: "+noonDate+date, 10, 0, 0, Whole)

	content := func(from, to, size int64, want string) {
		t.Helper()
		if got := string(AppendContentRange(nil, from, to, size)); got != want {
			t.Errorf("Content-Range is %q, want %q", got, want)
		}
	}
	content(2, 5, 10, "bytes 2-4/10")
	content(0, 0, 10, "bytes */10")
}

func FuzzRange(f *testing.F) {
	f.Add("bytes=0-1", int64(10))
	f.Add("bytes=-5", int64(3))
	f.Add("bytes=18446744073709551615-", int64(1))
	f.Add("bytes=11007000000000000000000-", int64(1))
	f.Fuzz(func(t *testing.T, value string, size int64) {
		r := Request{byteRange: single{[]byte(value), 1}}
		from, to, result := r.Range(&Meta{Status: 200}, size)
		if result == Part && (from < 0 || from >= to || to > size) {
			t.Errorf("%q of %d: %d to %d", value, size, from, to)
		}
	})
}
