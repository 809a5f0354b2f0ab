package telemetry

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"
)

// A bound is part of its bucket, as "le" says.
func TestBuckets(t *testing.T) {
	f := func(bounds []time.Duration, d time.Duration, want string) {
		t.Helper()
		h := newHistogram(bounds)
		h.observe(d)
		var b bytes.Buffer
		writeHistogram(&b, "x", labelled{labels: "", parts: []*histogram{h}})
		for line := range strings.Lines(b.String()) {
			if strings.HasSuffix(line, " 1\n") { // the first bucket that has it
				if got := line[len(`x_bucket{le="`):strings.Index(line, `"}`)]; got != want {
					t.Errorf("%v is in %s, want %s", d, got, want)
				}
				return
			}
		}
		t.Errorf("%v is nowhere", d)
	}
	f(requestBounds, -1, "0.0005")
	f(requestBounds, 0, "0.0005")
	f(requestBounds, 500*time.Microsecond, "0.0005")
	f(requestBounds, 500*time.Microsecond+1, "0.001")
	f(requestBounds, 120*time.Second, "120")
	f(requestBounds, 120*time.Second+1, "+Inf")
	f(requestBounds, math.MaxInt64, "+Inf")
	f(overheadBounds, 10*time.Microsecond, "1e-05")
	f(overheadBounds, 11*time.Microsecond, "2e-05")
	f(overheadBounds, 100*time.Millisecond, "0.1")
	f(overheadBounds, 101*time.Millisecond, "+Inf")
}

func TestHistogramPage(t *testing.T) {
	bounds := []time.Duration{time.Millisecond, time.Second}
	a, b := newHistogram(bounds), newHistogram(bounds)
	a.observe(500 * time.Microsecond)
	a.observe(time.Minute)
	b.observe(250 * time.Millisecond)
	b.observe(250 * time.Millisecond)
	f := func(labels, want string) {
		t.Helper()
		var page bytes.Buffer
		writeHistogram(&page, "x_seconds", labelled{labels: labels, parts: []*histogram{a, b}})
		if page.String() != want {
			t.Errorf("got\n%swant\n%s", page.String(), want)
		}
	}
	f("", `x_seconds_bucket{le="0.001"} 1
x_seconds_bucket{le="1"} 3
x_seconds_bucket{le="+Inf"} 4
x_seconds_sum 60.5005
x_seconds_count 4
`)
	f(`route="/"`, `x_seconds_bucket{route="/",le="0.001"} 1
x_seconds_bucket{route="/",le="1"} 3
x_seconds_bucket{route="/",le="+Inf"} 4
x_seconds_sum{route="/"} 60.5005
x_seconds_count{route="/"} 4
`)
}
