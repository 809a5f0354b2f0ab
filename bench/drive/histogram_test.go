package drive

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestHistogramBuckets(t *testing.T) {
	last := -1
	for _, v := range []int64{0, 1, 127, 128, 255, 256, 257, 258, 511, 512, 515, 516, 1 << 20, 1<<62 + 1, 1<<63 - 1} {
		b := bucket(v)
		if b < last || b >= len(Histogram{}.counts) {
			t.Errorf("%d is in bucket %d, the value before in %d", v, b, last)
		}
		if h := highest(b); h < v || float64(h-v) > float64(v)/128 {
			t.Errorf("%d counts as up to %d", v, h)
		}
		if b > 0 && highest(b-1) >= v {
			t.Errorf("%d is in bucket %d, but %d is in the one before", v, b, highest(b-1))
		}
		last = b
	}
}

func TestHistogramQuantiles(t *testing.T) {
	var h Histogram
	if h.Quantile(.5) != 0 || h.Mean() != 0 {
		t.Error("an empty histogram has figures")
	}
	r := rand.New(rand.NewPCG(1, 2))
	var all []time.Duration
	for range 10_000 {
		d := time.Duration(r.ExpFloat64() * 1e6)
		all = append(all, d)
		h.Add(d)
	}
	slices.Sort(all)
	for _, q := range []float64{.001, .5, .9, .99, .999, 1} {
		want := all[min(int(q*10_000+.5), 10_000)-1]
		if got := h.Quantile(q); got < want || float64(got-want) > float64(want)/128 {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if h.Max() != all[9999] || h.Count() != 10_000 {
		t.Errorf("max %v, count %d", h.Max(), h.Count())
	}
}

func TestHistogramJSON(t *testing.T) {
	var h Histogram
	h.Add(100 * time.Microsecond)
	h.Add(-1)
	got, err := json.Marshal(&h)
	if want := `{"count":2,"mean_us":50,"p50_us":0,"p90_us":100,"p99_us":100,"p999_us":100,"max_us":100}`; err != nil || string(got) != want {
		t.Errorf("%s, %v", got, err)
	}
}
