package ratelimit

import (
	"encoding/binary"
	"testing"
	"time"
)

func leased(t testing.TB, clients int) (*Shared, []byte) {
	s := newReplicas(t, startRedis(t).Addr, 1, SharedOptions{Options: Options{Global: Rate{1e9, 1e9}, Client: Rate{1e9, 1e9}, MaxClients: 1 << 20}})[0]
	key := make([]byte, 16)
	for i := range clients {
		binary.LittleEndian.PutUint64(key, uint64(i))
		s.Admit(0, key, 1)
	}
	return s, key
}

// A request that finds a lease allocates nothing, nor does one that is known to find nothing.
func TestSharedAllocAdmit(t *testing.T) {
	s, key := leased(t, 100)
	buf := make([]byte, 0, 256)
	n := uint64(0)
	c := s.Class(0)
	if allocs := testing.AllocsPerRun(10_000, func() {
		n++
		binary.LittleEndian.PutUint64(key, n%100)
		v := c.Admit(0, key, 1)
		buf = c.AppendLimit(c.AppendPolicy(buf[:0]), v)
		c.Refund(key, 1)
	}); allocs != 0 {
		t.Errorf("%v allocations a request", allocs)
	}

	s = newReplicas(t, startRedis(t).Addr, 1, SharedOptions{Options: Options{Global: Rate{1, 1}, Client: Rate{0, 1}}})[0]
	s.Admit(0, nil, 1)
	s.Admit(0, nil, 1)
	if allocs := testing.AllocsPerRun(10_000, func() { s.Admit(0, nil, 1) }); allocs != 0 {
		t.Errorf("%v allocations a refusal", allocs)
	}
}

// BenchmarkSharedAdmit is a request that finds a lease, beside one that needs none.
func BenchmarkSharedAdmit(b *testing.B) {
	f := func(name string, clients int) {
		run := func(b *testing.B, admit func(now time.Duration, key []byte, cost int) Verdict) {
			base := time.Now()
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				key := make([]byte, 16)
				for n := uint64(0); pb.Next(); n++ {
					binary.LittleEndian.PutUint64(key, n%uint64(clients))
					admit(time.Since(base), key, 1)
				}
			})
		}
		b.Run(name+"/impl=shared", func(b *testing.B) {
			s, _ := leased(b, clients)
			b.ResetTimer()
			run(b, s.Admit)
			st := s.Stats(0)
			b.ReportMetric(float64(st.Asked)/float64(b.N), "calls/op")
		})
		b.Run(name+"/impl=memory", func(b *testing.B) {
			run(b, newLimiter(b, Options{Global: Rate{1e9, 1e9}, Client: Rate{1e9, 1e9}, MaxClients: 1 << 20}).Admit)
		})
	}
	f("clients=1", 1)
	f("clients=1000", 1000)
}
