package ratelimit

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/time/rate"
)

// BenchmarkBucket is one bucket that 32 goroutines a core want at the same time, each reading the clock for itself as
// rate.Limiter.Allow does. It is always full or always empty.
func BenchmarkBucket(b *testing.B) {
	f := func(name string, r Rate) {
		run := func(impl string, allow func() bool) {
			b.Run("verdict="+name+"/impl="+impl, func(b *testing.B) {
				b.SetParallelism(32)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						allow()
					}
				})
			})
		}
		base := time.Now()
		l, own := newLimit(r), new(bucket)
		run("gateway", func() bool { return own.take(&l, time.Since(base), 1).ok })
		x := rate.NewLimiter(rate.Limit(r.PerSecond), int(r.Burst))
		run("x-time-rate", x.Allow)
		m := newLocked(r)
		run("mutex", func() bool { return m.allow(time.Since(base)) })
	}
	f("ok", Rate{1e9, 1e9})
	f("refused", Rate{1e-3, 1})
}

// BenchmarkClients is a million clients, in the table already, that come in random order from all cores.
func BenchmarkClients(b *testing.B) {
	const clients = 1_000_000
	r := Rate{20, 40}
	base := time.Now()
	// run gives each implementation the same: a 64-bit hash for a client. bytes is what it keeps for one.
	run := func(impl string, build func() (allow func(hash uint64) bool)) {
		b.Run("impl="+impl, func(b *testing.B) {
			before := heap()
			allow := build()
			for client := range clients {
				allow(hashOf(client))
			}
			bytes := float64(heap()-before) / clients
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				random := rand.New(rand.NewPCG(rand.Uint64(), 0))
				for pb.Next() {
					allow(hashOf(int(random.Uint64N(clients))))
				}
			})
			b.ReportMetric(bytes, "bytes/client")
			runtime.KeepAlive(allow)
		})
	}
	run("gateway", func() func(uint64) bool {
		t := newClients(clients, 10*time.Minute, []limit{newLimit(r)})
		return func(hash uint64) bool {
			s, _ := t.take(t.caller(hash, 0), time.Since(base), 1)
			return s.ok
		}
	})
	run("sync.Map+x-time-rate", func() func(uint64) bool {
		var m sync.Map
		return func(hash uint64) bool {
			found, ok := m.Load(hash)
			if !ok {
				found, _ = m.LoadOrStore(hash, rate.NewLimiter(rate.Limit(r.PerSecond), int(r.Burst)))
			}
			return found.(*rate.Limiter).Allow()
		}
	})
	run("sync.Map+mutex", func() func(uint64) bool {
		var m sync.Map
		return func(hash uint64) bool {
			found, ok := m.Load(hash)
			if !ok {
				found, _ = m.LoadOrStore(hash, newLocked(r))
			}
			return found.(*locked).allow(time.Since(base))
		}
	})
}

// heap is what is in use after a collection.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A locked is the usual bucket: a level in a float64 that is filled up when somebody asks, under a mutex.
type locked struct {
	mu          sync.Mutex
	level       float64
	last        time.Duration
	rate, burst float64
}

func newLocked(r Rate) *locked {
	return &locked{level: float64(r.Burst), rate: r.PerSecond, burst: float64(r.Burst)}
}

func (b *locked) allow(now time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.level = min(b.burst, b.level+(now-b.last).Seconds()*b.rate)
	b.last = now
	if b.level < 1 {
		return false
	}
	b.level--
	return true
}
