package ratelimit

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"
)

// BenchmarkAdmit is a request at the door, with the hashing of the client and a reading of the clock.
func BenchmarkAdmit(b *testing.B) {
	wide := Rate{1e9, 1e9}
	f := func(name string, o Options, names uint64) {
		b.Run(name, func(b *testing.B) {
			o.MaxClients, o.Cleanup = 1_000_000, 10*time.Minute
			l := newLimiter(b, o)
			base := time.Now()
			b.ResetTimer() // what was allocated is the table
			b.RunParallel(func(pb *testing.PB) {
				key := make([]byte, 16)
				for pb.Next() {
					if names > 1 {
						binary.LittleEndian.PutUint64(key, rand.Uint64()%names)
					}
					l.Admit(time.Since(base), key, 1)
				}
			})
		})
	}
	f("verdict=ok/clients=1", Options{Global: wide, Client: wide}, 1)
	f("verdict=ok/clients=1000", Options{Global: wide, Client: wide}, 1000)
	f("verdict=ok/clients=1000000", Options{Global: wide, Client: wide}, 1_000_000)
	f("verdict=client/clients=1", Options{Global: wide, Client: Rate{1, 1}}, 1)
	f("verdict=client/clients=1000", Options{Global: wide, Client: Rate{1, 1}}, 1000)
	f("verdict=global/clients=1000", Options{Global: Rate{1, 1}, Client: wide}, 1000)
	// Every request is another client's; it takes a slot that is free, or in a full table one that is not.
	f("verdict=ok/clients=always-new", Options{Global: wide, Client: wide}, 1<<63)
	f("verdict=ok/clients=always-new-table-full", Options{Global: wide, Client: Rate{0, 1e9}}, 1<<63)
}

// BenchmarkStats is what a scrape costs.
func BenchmarkStats(b *testing.B) {
	l := newLimiter(b, Options{Global: Rate{1, 1}, Client: Rate{1, 1}, MaxClients: 1_000_000})
	for b.Loop() {
		l.Stats(0)
	}
}

// BenchmarkFields is what the fields of an answer cost.
func BenchmarkFields(b *testing.B) {
	l := newLimiter(b, Options{Global: Rate{200, 100}, Client: Rate{20, 40}})
	c, buf := l.Class(0), make([]byte, 0, 256)
	v := c.Admit(0, nil, 1)
	for b.Loop() {
		buf = c.AppendLimit(c.AppendPolicy(buf[:0]), v)
	}
}
