package telemetry

import (
	"slices"

	"github.com/VictoriaMetrics/metrics"
)

// other stands for every value that a label may not have.
const other = "other"

// A tally is a counter for each value of a label. All are there from the start, at 0: a series that appears with its
// first event hides that event from rate().
type tally struct {
	family   *family
	labels   []string // of each counter
	values   []string
	counters []*metrics.Counter // one more: "other"
}

// newTally makes the counters; labels come before the tally's own and may be empty.
func newTally(f *family, labels, name string, values []string) tally {
	t := tally{family: f, values: slices.Clone(values)}
	if labels != "" {
		labels += ","
	}
	for _, v := range append(t.values, other) {
		t.labels = append(t.labels, labels+label(name, v))
		t.counters = append(t.counters, f.counter(t.labels[len(t.labels)-1]))
	}
	return t
}

// forget drops the series.
func (t *tally) forget() {
	for _, labels := range t.labels {
		t.family.drop(labels)
	}
}

// inc counts a value. The lists are short, and what is counted here is rare: looking along beats hashing.
func (t *tally) inc(value string) {
	for i, v := range t.values {
		if v == value {
			t.counters[i].Inc()
			return
		}
	}
	t.counters[len(t.values)].Inc()
}

// byValue are the counts that are not 0, by value.
func (t *tally) byValue() map[string]uint64 {
	by := make(map[string]uint64)
	for i, c := range t.counters {
		name := other
		if i < len(t.values) {
			name = t.values[i]
		}
		if n := c.Get(); n > 0 {
			by[name] = n
		}
	}
	return by
}
