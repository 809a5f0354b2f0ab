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
	values   []string
	counters []*metrics.Counter // one more: "other"
}

// newTally makes the counters; labels come before the tally's own and may be empty.
func newTally(f *family, labels, name string, values []string) tally {
	t := tally{values: slices.Clone(values)}
	if labels != "" {
		labels += ","
	}
	for _, v := range append(t.values, other) {
		t.counters = append(t.counters, f.counter(labels+label(name, v)))
	}
	return t
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
