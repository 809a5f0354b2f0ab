//go:build !race

package cache

import (
	"testing"
	"time"
)

func TestStoreAlloc(t *testing.T) {
	s := openTestStore(t, Options{})
	for _, size := range []int{10, 2000, 100_000} {
		k, rec, now := keyOf("/x"), recordOf("/x", size), time.Now().UnixMilli()
		s.Put(s.Stamp(k), rec, now)
		buf := make([]byte, 0, len(rec)+trailerSize)
		if n := testing.AllocsPerRun(1000, func() {
			got, tier := s.Get(buf, k, now)
			e, ok := Decode(got)
			if tier != Memory || !ok || len(e.Body) != size {
				t.Fatal("no hit")
			}
		}); n != 0 {
			t.Errorf("a hit of %d bytes allocates %v times", size, n)
		}
		other := keyOf("/y")
		if n := testing.AllocsPerRun(1000, func() {
			if _, tier := s.Get(buf, other, now); tier != Nowhere {
				t.Fatal("a hit")
			}
		}); n != 0 {
			t.Errorf("a miss allocates %v times", n)
		}
		// What is allocated is fastcache's maps, made anew with every round of the ring.
		if n := testing.AllocsPerRun(1000, func() { s.Put(s.Stamp(k), rec, now) }); n > 4 || size < 10_000 && n > 0 {
			t.Errorf("storing %d bytes allocates %v times", size, n)
		}
	}
}

// TestDecodeAlloc turns every bit of a record's fixed head: whatever lengths it claims, nothing is allocated for them.
func TestDecodeAlloc(t *testing.T) {
	e := wholeEntry()
	rec := AppendEntry(nil, &e)
	if n := testing.AllocsPerRun(1, func() {
		for bit := range 8 * fixedSize {
			rec[bit/8] ^= 1 << (bit % 8)
			if Check(rec) {
				t.Error("passes with a turned bit", bit)
			}
			Decode(rec)
			keyTextOf(rec)
			rec[bit/8] ^= 1 << (bit % 8)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	buf := make([]byte, 0, 2*len(rec))
	if n := testing.AllocsPerRun(100, func() { AppendEntry(buf, &e) }); n != 0 {
		t.Errorf("AppendEntry allocates %v times", n)
	}
}
