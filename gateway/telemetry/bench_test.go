package telemetry

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// crowd runs op on one goroutine, and on one for each processor that do nothing else: much closer together than requests
// ever come.
func crowd(b *testing.B, op func()) {
	b.Run("goroutines=1", func(b *testing.B) {
		for b.Loop() {
			op()
		}
	})
	b.Run("goroutines=all", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				op()
			}
		})
	})
}

// BenchmarkDone is what counting a request costs, beside one plain atomic counter, and beside the same series made of
// what the library has.
func BenchmarkDone(b *testing.B) {
	b.Run("impl=gateway", func(b *testing.B) {
		r, post := New(testOptions()).Route("/v1/*"), []byte("POST")
		crowd(b, func() { r.Done(post, 200, 30*time.Millisecond, 30*time.Microsecond) })
	})
	b.Run("impl=one-atomic-counter", func(b *testing.B) {
		var n atomic.Uint64
		crowd(b, func() { n.Add(1) })
	})
	b.Run("impl=VictoriaMetrics", func(b *testing.B) {
		set := metrics.NewSet()
		n := set.NewCounter("n")
		total := set.NewPrometheusHistogramExt("total", inSeconds(requestBounds))
		overhead := set.NewPrometheusHistogramExt("overhead", inSeconds(overheadBounds))
		crowd(b, func() {
			n.Inc()
			total.Update((30 * time.Millisecond).Seconds())
			overhead.Update((30 * time.Microsecond).Seconds())
		})
	})
}

// BenchmarkHistogram compares the histogram here with the library's, which has a lock.
func BenchmarkHistogram(b *testing.B) {
	for _, d := range []time.Duration{time.Millisecond, 30 * time.Second} {
		b.Run(fmt.Sprintf("impl=gateway/d=%v", d), func(b *testing.B) {
			h := newHistogram(requestBounds)
			crowd(b, func() { h.observe(d) })
		})
		b.Run(fmt.Sprintf("impl=VictoriaMetrics/d=%v", d), func(b *testing.B) {
			h := metrics.NewSet().NewPrometheusHistogramExt("h", inSeconds(requestBounds))
			crowd(b, func() { h.Update(d.Seconds()) })
		})
	}
}

// BenchmarkHistogramTail is how long many goroutines that also have something else to do may wait in a histogram: whoever
// is preempted with the library's lock in hand holds up all the others.
func BenchmarkHistogramTail(b *testing.B) {
	f := func(name string, op func()) {
		b.Run("impl="+name, func(b *testing.B) {
			var mu sync.Mutex
			var took []time.Duration
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				var own []time.Duration
				work := 0
				for pb.Next() {
					for i := range 3000 {
						work += i
					}
					start := time.Now()
					op()
					own = append(own, time.Since(start))
				}
				mu.Lock()
				defer mu.Unlock()
				took = append(took, own...)
			})
			slices.Sort(took)
			for _, q := range []float64{0.5, 0.999, 0.9999} {
				b.ReportMetric(float64(took[int(q*float64(len(took)-1))]), fmt.Sprintf("p%v-ns", 100*q))
			}
		})
	}
	own, library := newHistogram(requestBounds), metrics.NewSet().NewPrometheusHistogramExt("h", inSeconds(requestBounds))
	f("gateway", func() { own.observe(time.Millisecond) })
	f("VictoriaMetrics", func() { library.Update(0.001) })
}

// BenchmarkUpstreamDone is what counting an upstream's answer costs.
func BenchmarkUpstreamDone(b *testing.B) {
	u := New(testOptions()).Upstream("llm", "http://c:80")
	crowd(b, func() { u.Done(200, 30*time.Millisecond) })
}

// BenchmarkWritePrometheus is what a scrape costs: 20 routes, 10 upstreams, 3 codes each; and the runtime's part of it.
func BenchmarkWritePrometheus(b *testing.B) {
	o := testOptions()
	for i := range 20 {
		o.Routes = append(o.Routes, fmt.Sprintf("/route/%d", i))
	}
	for i := range 10 {
		o.Pools["python"] = append(o.Pools["python"], fmt.Sprintf("http://upstream-%d:8000", i))
	}
	m := New(o)
	for _, code := range []int{200, 404, 502} {
		for _, r := range m.routes {
			r.Done([]byte("GET"), code, 1, 1)
		}
		for _, u := range m.upstreams {
			u.Done(code, 1)
		}
	}
	b.Run("part=all", func(b *testing.B) {
		for b.Loop() {
			m.WritePrometheus(io.Discard)
		}
	})
	b.Run("part=process", func(b *testing.B) {
		for b.Loop() {
			metrics.WriteProcessMetrics(io.Discard)
		}
	})
}

func inSeconds(bounds []time.Duration) (s []float64) {
	for _, d := range bounds {
		s = append(s, d.Seconds())
	}
	return s
}
