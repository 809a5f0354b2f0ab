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

// BenchmarkKey makes the name of a record: the text and its hash. The rival is a hash that anybody can make collide.
func BenchmarkKey(b *testing.B) {
	o, target := Origin{Host: []byte("gateway.example")}, []byte("/infer/python?prompt=tell+me+a+story+about+a+gateway")
	b.Run("impl=sha256", func(b *testing.B) {
		text := make([]byte, 0, 256)
		b.ReportAllocs()
		for b.Loop() {
			text = AppendKey(text[:0], o, target)
			if Hash(text) == (Key{}) {
				b.Fatal("no key")
			}
		}
	})
	b.Run("impl=fnv", func(b *testing.B) {
		text := make([]byte, 0, 256)
		b.ReportAllocs()
		for b.Loop() {
			text = AppendKey(text[:0], o, target)
			h := uint64(14695981039346656037)
			for _, c := range text {
				h = (h ^ uint64(c)) * 1099511628211
			}
			if h == 0 {
				b.Fatal("no key")
			}
		}
	})
}

// BenchmarkRedis asks a real Redis for what memory does not have, one request after the other, beside rueidis alone.
func BenchmarkRedis(b *testing.B) {
	r := startServer(b)
	s := openShared(b, r.Addr, nil)
	for _, size := range []int{256, 2048, 60 << 10} {
		rec, k, now := recordOf("/x", size), keyOf("/x"), time.Now().UnixMilli()
		s.keep(b, "/x", size)
		c := s.redis.link.Load()
		b.Run(fmt.Sprintf("op=hit/impl=store/size=%d", size), func(b *testing.B) {
			buf := make([]byte, 0, 2*len(rec))
			b.ReportAllocs()
			for b.Loop() {
				s.Flush()
				if _, tier := s.Get(buf, k, now); tier != Redis {
					b.Fatal("not from Redis")
				}
			}
		})
		b.Run(fmt.Sprintf("op=hit/impl=rueidis/size=%d", size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if v, err := c.Do(b.Context(), c.B().Get().Key(testNames.of(k)).Build()).ToString(); err != nil || len(v) == 0 {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("op=miss/impl=store", func(b *testing.B) {
		buf, k, now := make([]byte, 0, 1024), keyOf("/absent"), time.Now().UnixMilli()
		b.ReportAllocs()
		for b.Loop() {
			if _, tier := s.Get(buf, k, now); tier != Nowhere {
				b.Fatal("found")
			}
		}
	})
}
