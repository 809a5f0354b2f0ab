package cache

import (
	"fmt"
	"testing"
	"time"

	"github.com/VictoriaMetrics/fastcache"
)

// BenchmarkHit is a hit in memory, taken apart, beside a plain fastcache with the same bytes.
func BenchmarkHit(b *testing.B) {
	for _, size := range []int{256, 2048, 16 << 10, 60 << 10, 1 << 20} {
		rec, k, now := recordOf("/x", size), keyOf("/x"), time.Now().UnixMilli()
		b.Run(fmt.Sprintf("impl=memory/size=%d", size), func(b *testing.B) {
			s := openTestStore(b, Options{MemoryBytes: 64 << 20, MaxRecord: 2 << 20})
			s.Put(s.Stamp(k), rec, now)
			b.SetBytes(int64(len(rec)))
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				buf := make([]byte, 0, len(rec)+trailerSize)
				for pb.Next() {
					got, tier := s.Get(buf, k, now)
					if _, ok := Decode(got); !ok || tier != Memory {
						b.Fatal("a miss")
					}
				}
			})
		})
		b.Run(fmt.Sprintf("impl=fastcache/size=%d", size), func(b *testing.B) {
			c := fastcache.New(64 << 20)
			defer c.Reset()
			c.SetBig(k[:], rec)
			c.Set(k[:], rec)
			b.SetBytes(int64(len(rec)))
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				buf := make([]byte, 0, len(rec))
				for pb.Next() {
					got := c.Get(buf, k[:])
					if len(rec) > 60<<10+500 {
						got = c.GetBig(buf, k[:])
					}
					if len(got) != len(rec) {
						b.Fatal("a miss")
					}
				}
			})
		})
	}
}

// BenchmarkStore stores distinct keys into a memory that is full.
func BenchmarkStore(b *testing.B) {
	for _, size := range []int{256, 2048, 60 << 10} {
		rec, now := recordOf("/x", size), time.Now().UnixMilli()
		b.Run(fmt.Sprintf("impl=memory/size=%d", size), func(b *testing.B) {
			s := openTestStore(b, Options{MemoryBytes: 64 << 20})
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				k := Key{byte(i), byte(i >> 8), byte(i >> 16), byte(i >> 24)}
				s.Put(s.Stamp(k), rec, now)
			}
		})
		b.Run(fmt.Sprintf("impl=fastcache/size=%d", size), func(b *testing.B) {
			c := fastcache.New(64 << 20)
			defer c.Reset()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				k := Key{byte(i), byte(i >> 8), byte(i >> 16), byte(i >> 24)}
				c.Set(k[:], rec)
			}
		})
	}
}

// BenchmarkDecode takes a record apart, and checks it.
func BenchmarkDecode(b *testing.B) {
	rec := recordOf("/x", 2048)
	b.Run("check=lengths", func(b *testing.B) {
		for b.Loop() {
			if _, ok := Decode(rec); !ok {
				b.Fatal("no record")
			}
		}
	})
	b.Run("check=all", func(b *testing.B) {
		for b.Loop() {
			if !Check(rec) {
				b.Fatal("no record")
			}
		}
	})
}
