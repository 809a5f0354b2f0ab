package telemetry

import (
	"bytes"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"
)

// requestBounds fit inference: from an answer out of memory to a long generation.
var requestBounds = []time.Duration{
	500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
	250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second,
	10 * time.Second, 20 * time.Second, 30 * time.Second, 60 * time.Second, 120 * time.Second,
}

// overheadBounds fit what the gateway itself takes.
var overheadBounds = []time.Duration{
	10 * time.Microsecond, 20 * time.Microsecond, 50 * time.Microsecond,
	100 * time.Microsecond, 200 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond,
	10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
}

// maxBounds is how many bounds a histogram may have. An array inside the histogram saves a load.
const maxBounds = 18

// A histogram counts durations in buckets, without a lock. The library's PrometheusHistogram has one around all of its
// buckets: a goroutine preempted with it in hand holds up every request (BenchmarkHistogramTail). Nor can it show several
// as one series, which keeps routes off each other's cache lines.
type histogram struct {
	bounds []time.Duration // inclusive, ascending
	unit   time.Duration   // what the page shows as 1
	sum    atomic.Int64    // nanoseconds: good for 292 years of them
	counts [maxBounds + 1]atomic.Uint64
}

func newHistogram(bounds []time.Duration) *histogram {
	if len(bounds) > maxBounds {
		panic("BUG: too many bounds")
	}
	return &histogram{bounds: bounds, unit: time.Second}
}

// newCounts makes a histogram of whole numbers, which pass as nanoseconds.
func newCounts(bounds []time.Duration) *histogram {
	h := newHistogram(bounds)
	h.unit = 1
	return h
}

// total is how many were observed.
func (h *histogram) total() (n uint64) {
	for i := range h.counts {
		n += h.counts[i].Load()
	}
	return n
}

// empty tells whether nothing was observed.
func (h *histogram) empty() bool { return h.total() == 0 }

// add counts all that another one of the same bounds has counted.
func (h *histogram) add(other *histogram) {
	for i := range h.counts {
		h.counts[i].Add(other.counts[i].Load())
	}
	h.sum.Add(other.sum.Load())
}

// observe counts a duration. A negative one is a clock's doing and counts as none.
func (h *histogram) observe(d time.Duration) {
	d = max(0, d)
	i := 0
	for i < len(h.bounds) && d > h.bounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(int64(d))
}

// writeHistogram writes a series. The count is the sum of the buckets as they were read, so that the two agree; the sum
// of durations may miss what is observed at the same moment.
func writeHistogram(b *bytes.Buffer, name string, l labelled) {
	var counts [maxBounds + 1]uint64
	var sum int64
	for _, h := range l.parts {
		sum += h.sum.Load()
		for i := range counts {
			counts[i] += h.counts[i].Load()
		}
	}
	open, closed := "_bucket{", ""
	if l.labels != "" {
		open, closed = "_bucket{"+l.labels+",", "{"+l.labels+"}"
	}
	var total uint64
	bounds, unit := l.parts[0].bounds, l.parts[0].unit
	for i := range len(bounds) + 1 {
		le := "+Inf"
		if i < len(bounds) {
			le = inUnits(bounds[i], unit)
		}
		total += counts[i]
		line(b, total, name, open, `le="`, le, `"}`)
	}
	fmt.Fprintf(b, "%s_sum%s %s\n", name, closed, inUnits(time.Duration(sum), unit))
	line(b, total, name, "_count", closed)
}

// line writes a series, whose name and labels come in parts. Most of the page is these.
func line(b *bytes.Buffer, value uint64, series ...string) {
	for _, s := range series {
		b.WriteString(s)
	}
	b.Write(append(strconv.AppendUint(append(b.AvailableBuffer(), ' '), value, 10), '\n'))
}

func inUnits(d, unit time.Duration) string {
	if unit == time.Second {
		return strconv.FormatFloat(d.Seconds(), 'g', -1, 64)
	}
	return strconv.FormatInt(int64(d/unit), 10)
}
