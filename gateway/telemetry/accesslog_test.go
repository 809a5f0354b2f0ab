package telemetry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"
)

func testAccess() *Access {
	return &Access{
		Time: time.Date(2026, 1, 2, 3, 4, 5, 678_000, time.FixedZone("", 3600)), ID: []byte("id-1"), Client: netip.MustParseAddr("192.0.2.7"),
		Method: []byte("POST"), Route: "/v1/*", Path: []byte("/v1/chat/completions"), Status: 200, Bytes: 1234,
		Total: 1500 * time.Millisecond, Gateway: 42 * time.Microsecond, Upstream: 1499958 * time.Microsecond,
		Pool: "llm", URL: "http://c:80", Cache: "BYPASS", Limit: "admitted",
	}
}

func TestAccessLine(t *testing.T) {
	f := func(a *Access, want string) {
		t.Helper()
		if got := string(appendAccess(nil, a, new(AccessLog).secondOf(a.Time))); got != want+"\n" {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	a := testAccess()
	f(a, `{"time":"2026-01-02T02:04:05.000678Z","level":"INFO","msg":"access","id":"id-1","client":"192.0.2.7","method":"POST",`+
		`"route":"/v1/*","path":"/v1/chat/completions","status":200,"bytes":1234,"duration":1.5,"gateway":0.000042,`+
		`"upstream_duration":1.499958,"pool":"llm","upstream":"http://c:80","cache":"BYPASS","limit":"admitted"}`)
	f(&Access{Time: a.Time, Client: netip.MustParseAddr("fe80::1%eth\"0"), Status: 400, Gateway: -time.Second},
		`{"time":"2026-01-02T02:04:05.000678Z","level":"INFO","msg":"access","id":"","client":"fe80::1","method":"","route":"",`+
			`"path":"","status":400,"bytes":0,"duration":0,"gateway":0}`)
	f(&Access{Time: a.Time, Status: 200, Fault: "truncated"},
		`{"time":"2026-01-02T02:04:05.000678Z","level":"ERROR","msg":"access","id":"","client":"","method":"","route":"",`+
			`"path":"","status":200,"bytes":0,"duration":0,"gateway":0,"fault":"truncated"}`)
}

// Whatever a client sends, its line is one line, and JSON.
func TestAccessLineCannotBeForged(t *testing.T) {
	for _, evil := range []string{
		"/a\n{\"status\":200}", "/a\r\nx", `/"}` + "\n", `/\`, "/\x00\x1b[2J\x7f", "/\xff\xfe", "/é\xc3", "/\u2028\u2029", "/\u0085\u009b31m",
		"/\u202eabc", strings.Repeat("\xf0", 100), strings.Repeat("/x", 10_000),
	} {
		line := appendAccess(nil, &Access{ID: []byte(evil), Method: []byte(evil), Path: []byte(evil), URL: evil, Route: evil, Fault: evil}, "2026-01-02T03:04:05")
		var got map[string]any
		if err := json.Unmarshal(line, &got); err != nil {
			t.Errorf("%q: %v", evil, err)
		}
		if bytes.Count(line, []byte("\n")) != 1 || !utf8.Valid(line) || bytes.ContainsAny(line[:len(line)-1], "\x00\x1b\x7f\u0085\u2028\u202e") {
			t.Errorf("%q became %q", evil, line)
		}
		if want := strings.ToValidUTF8(evil, "\ufffd"); len(evil) < 60 && utf8.ValidString(evil) && got["id"] != want {
			t.Errorf("%q came back as %q", evil, got["id"])
		}
		if len(line) > 6*5*len(evil)+1000 {
			t.Errorf("%d bytes became a line of %d", len(evil), len(line))
		}
	}
}

func FuzzAppendString(f *testing.F) {
	f.Add([]byte("a\n\"\\\xff\u2028é"))
	f.Fuzz(func(t *testing.T, b []byte) {
		text := appendString(nil, b)
		var got string
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatalf("%q became %q: %v", b, text, err)
		}
		var want strings.Builder
		for _, r := range string(b) { // an invalid byte is one U+FFFD each
			want.WriteRune(r)
		}
		if got != want.String() {
			t.Fatalf("%q came back as %q", b, got)
		}
		if !bytes.Equal(text, appendString(nil, string(b))) {
			t.Fatal("a string and its bytes differ")
		}
	})
}

func TestAppendSeconds(t *testing.T) {
	f := func(d time.Duration, want string) {
		t.Helper()
		if got := string(appendSeconds(nil, d)); got != want {
			t.Errorf("%v became %s, want %s", d, got, want)
		}
	}
	f(0, "0")
	f(time.Second, "1")
	f(1500*time.Millisecond, "1.5")
	f(time.Microsecond, "0.000001")
	f(999*time.Nanosecond, "0")
	f(61*time.Second+20*time.Microsecond, "61.00002")
	f(-time.Second, "0")
}

// Lines arrive a moment later, many at once, and the last ones at the end.
func TestAccessLogWritesInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &writer{}
		all := NewLines(out)
		l := NewAccessLog(AccessLogOptions{Lines: all, Sample: 1})
		for range 100 {
			l.Log(testAccess())
		}
		synctest.Wait()
		if got := out.count(); got != 0 {
			t.Errorf("%d lines at once", got)
		}
		time.Sleep(linesGather + time.Millisecond)
		if got := out.count(); got != 100 || out.writes != 1 {
			t.Errorf("%d lines in %d writes", got, out.writes)
		}
		time.Sleep(time.Hour)
		l.Log(testAccess())
		all.Close()
		if got := out.count(); got != 101 {
			t.Errorf("%d lines at the end", got)
		}
	})
}

// Every line is written or counted, whoever writes at once.
func TestAccessLogConcurrently(t *testing.T) {
	const workers, each = 8, 20_000
	out := &writer{}
	all := NewLines(out)
	l := NewAccessLog(AccessLogOptions{Lines: all, Sample: 1})
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			a := testAccess()
			a.Path = fmt.Appendf(nil, "/%d", w)
			for range each {
				l.Log(a)
			}
		})
	}
	wg.Wait()
	all.Close()
	written, told := 0, uint64(0)
	for line := range strings.Lines(out.b.String()) {
		var l struct {
			Msg   string
			Lines uint64
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("not JSON: %s", line)
		}
		if told += l.Lines; l.Msg == "access" {
			written++
		}
	}
	if uint64(written)+told != workers*each || told != l.Dropped() {
		t.Errorf("%d lines, %d told to be lost and %d dropped, want %d in all", written, told, l.Dropped(), workers*each)
	}
}

// Sampling and levels lose no failure, unless the operator wants no errors.
func TestAccessLogSampling(t *testing.T) {
	const n = 10_000
	f := func(sample float64, level slog.Level, status int, fault string, least, most int) {
		t.Helper()
		l := NewAccessLog(AccessLogOptions{Sample: sample})
		got := 0
		for range n {
			if l.Wants(level, status, fault) {
				got++
			}
		}
		if got < least || got > most {
			t.Errorf("%v of %d %q at level %v: %d of %d", sample, status, fault, level, got, n)
		}
	}
	f(1, slog.LevelInfo, 200, "", n, n)
	f(0, slog.LevelInfo, 200, "", 0, 0)
	f(0.1, slog.LevelInfo, 200, "", n/20, n/5)
	f(0, slog.LevelInfo, 500, "", n, n)
	f(0, slog.LevelInfo, 200, "truncated", n, n)
	f(1, slog.LevelWarn, 200, "", 0, 0)
	f(1, slog.LevelError, 503, "", n, n)
	f(1, slog.LevelDebug, 404, "", n, n)
	var off *AccessLog
	if off.Wants(slog.LevelInfo, 500, "x") || off.Dropped() != 0 {
		t.Error("a nil log is not off")
	}
	off.Log(testAccess())
}

func TestAllocAccessLog(t *testing.T) {
	all := NewLines(io.Discard)
	defer all.Close()
	l := NewAccessLog(AccessLogOptions{Lines: all, Sample: 0.999})
	a := testAccess()
	a.Path = []byte("/v1/é\n\xff")
	for range maxLines { // every slot's memory
		l.Log(a)
	}
	if allocs := testing.AllocsPerRun(10_000, func() {
		if l.Wants(slog.LevelInfo, 200, "") {
			l.Log(a)
		}
	}); allocs > 0.1 {
		t.Errorf("%v allocations", allocs)
	}
}

// BenchmarkAccessLog is what a line costs the request it tells of.
func BenchmarkAccessLog(b *testing.B) {
	a := testAccess()
	b.Run("impl=gateway", func(b *testing.B) {
		l := new(AccessLog)
		r := newRing[[]byte](maxLines) // without its goroutine, which would lose the race
		b.ReportAllocs()
		for b.Loop() {
			s := r.claim()
			s.value = appendAccess(s.value[:0], a, l.secondOf(a.Time))
			r.publish(s)
			r.take(func(*[]byte) {})
		}
	})
	b.Run("impl=slog", func(b *testing.B) {
		log := slog.New(slog.NewJSONHandler(io.Discard, nil))
		b.ReportAllocs()
		for b.Loop() {
			log.Info("access", "id", string(a.ID), "client", a.Client, "method", string(a.Method), "route", a.Route, "path", string(a.Path),
				"status", a.Status, "bytes", a.Bytes, "duration", a.Total, "gateway", a.Gateway, "upstream", a.URL, "cache", a.Cache)
		}
	})
}
