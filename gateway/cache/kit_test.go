package cache

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"aigateway/gateway/wire"
)

// noon is when the tests happen, in Unix milliseconds.
var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC).UnixMilli()

const (
	noonDate  = "Tue, 24 Nov 2026 12:00:00 GMT"
	hourLater = "Tue, 24 Nov 2026 13:00:00 GMT"
	hourAgo   = "Tue, 24 Nov 2026 11:00:00 GMT"
	dayAgo    = "Mon, 23 Nov 2026 12:00:00 GMT"
)

var example = Origin{Host: []byte("example.com")}

// block writes field lines as they stand on the wire. Lines are separated by "|".
func block(lines string) []byte {
	var b strings.Builder
	for line := range strings.SplitSeq(lines, "|") {
		if line != "" {
			b.WriteString(line + "\r\n")
		}
	}
	return []byte(b.String() + "\r\n")
}

// ask scans a request and reads it. text is "GET" or "GET|Name: value|…".
func ask(t testing.TB, text string) (*Request, *wire.RequestHead) {
	t.Helper()
	method, lines, _ := strings.Cut(text, "|")
	h := new(wire.RequestHead)
	if v := h.Scan([]byte(method), []byte("/x"), []byte("HTTP/1.1"), block("Host: example.com|"+lines)); v != wire.None {
		t.Fatalf("request %q: %v", text, v)
	}
	r := new(Request)
	r.Read(h, example, nil)
	return r, h
}

// respond scans an answer that came at noon and reads it. text is "200" or "200|Name: value|…".
func respond(t testing.TB, text string) (*Response, *wire.ResponseHead) {
	t.Helper()
	return respondAt(t, text, Times{noon, noon})
}

func respondAt(t testing.TB, text string, at Times) (*Response, *wire.ResponseHead) {
	t.Helper()
	status, lines, _ := strings.Cut(text, "|")
	h := new(wire.ResponseHead)
	if v := h.Scan(append([]byte("HTTP/1.1 "+status+" X\r\n"), block(lines)...)); v != wire.None {
		t.Fatalf("answer %q: %v", text, v)
	}
	r := new(Response)
	r.Read(h, at)
	return r, h
}

// stored is what the record of an answer says; the test fails if it is not stored.
func stored(t testing.TB, answer string) *Meta {
	t.Helper()
	return storedFor(t, "GET", answer)
}

func storedFor(t testing.TB, request, answer string) *Meta {
	t.Helper()
	q, _ := ask(t, request)
	a, _ := respond(t, answer)
	m, why := plain.Store(q, a)
	if why != None {
		t.Fatalf("%q to %q is not stored: %v", answer, request, why)
	}
	return &m
}

// plain is the policy of a route without a TTL of its own.
var plain = Policy{HeuristicMax: 5 * time.Minute, MaxBody: 1000}

// withTTL is the policy of a route with one.
var withTTL = Policy{TTL: 5 * time.Minute, HeuristicMax: 5 * time.Minute, MaxBody: 1000}

// later is a time so many seconds after noon.
func later(seconds int64) int64 { return noon + seconds*1000 }

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
