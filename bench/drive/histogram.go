package drive

import (
	"encoding/json"
	"math"
	"math/bits"
	"time"
)

// A Histogram counts durations in buckets that are at most 1/128 of their value wide, from a nanosecond to centuries,
// as HdrHistogram does. The zero Histogram is empty and ready.
type Histogram struct {
	counts [57 * half]int64 // two for the values below 2*half, then one a power of two
	total  int64
	sum    float64
	max    int64
}

const half = 128 // buckets of a power of two

// bucket is the place of a value: its eight most significant bits, behind those of the powers of two below.
func bucket(v int64) int {
	shift := max(bits.Len64(uint64(v))-8, 0)
	return shift*half + int(v>>shift)
}

// highest is the largest value of a bucket.
func highest(bucket int) int64 {
	if bucket < 2*half {
		return int64(bucket)
	}
	shift := bucket/half - 1
	return (int64(bucket-shift*half)+1)<<shift - 1
}

// Add counts a duration; a negative one counts as zero.
func (h *Histogram) Add(d time.Duration) {
	v := max(int64(d), 0)
	h.counts[bucket(v)]++
	h.total++
	h.sum += float64(v)
	h.max = max(h.max, v)
}

// Count is the number of durations.
func (h *Histogram) Count() int64 { return h.total }

// Max is the longest, exact.
func (h *Histogram) Max() time.Duration { return time.Duration(h.max) }

// Mean is the average, exact; zero of none.
func (h *Histogram) Mean() time.Duration {
	if h.total == 0 {
		return 0
	}
	return time.Duration(h.sum / float64(h.total))
}

// Quantile is the duration that the share q of all is not longer than, less than 1/128 too long; zero of none.
func (h *Histogram) Quantile(q float64) time.Duration {
	rank := int64(math.Ceil(q * float64(h.total)))
	var seen int64
	for i, n := range &h.counts {
		if seen += n; n > 0 && seen >= rank {
			return time.Duration(min(highest(i), h.max))
		}
	}
	return 0
}

// MarshalJSON writes what people ask of a histogram, in microseconds.
func (h *Histogram) MarshalJSON() ([]byte, error) {
	µs := func(d time.Duration) float64 { return float64(d) / 1e3 }
	return json.Marshal(struct {
		Count int64   `json:"count"`
		Mean  float64 `json:"mean_us"`
		P50   float64 `json:"p50_us"`
		P90   float64 `json:"p90_us"`
		P99   float64 `json:"p99_us"`
		P999  float64 `json:"p999_us"`
		Max   float64 `json:"max_us"`
	}{h.total, µs(h.Mean()), µs(h.Quantile(.5)), µs(h.Quantile(.9)), µs(h.Quantile(.99)), µs(h.Quantile(.999)), µs(h.Max())})
}
