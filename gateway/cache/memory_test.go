package cache

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/fastcache"

	"aigateway/gateway/testkit"
)

func keyOf(text string) Key { return sha256.Sum256([]byte(text)) }

// recordOf is a record of so many bytes of body under text, kept for a minute.
func recordOf(text string, body int) []byte {
	b := make([]byte, 0, body+len(text)+1)
	for i := 0; len(b) < body; i++ {
		b = append(append(b, text...), byte(i)) // no page is like another
	}
	b = b[:body]
	return AppendEntry(nil, &Entry{
		Meta: Meta{Status: 200, Lifetime: 60}, Key: []byte(text), Head: []byte("Content-Length: 1\r\n\r\n"), Body: b,
		Until: time.Now().Add(time.Minute).UnixMilli(),
	})
}

func (m *memory) keep(text string, rec []byte) bool {
	st := m.stamp(keyOf(text))
	return m.put(&st, rec)
}

func (m *memory) has(text string) bool {
	k := keyOf(text)
	rec, ok := m.get(nil, &k)
	if ok && !Check(rec) {
		panic("not the record that was stored")
	}
	return ok
}

func newTestMemory(t testing.TB, bound int64, entries int) *memory {
	m := newMemory(bound, entries)
	t.Cleanup(m.close)
	return m
}

func TestMemoryKeeps(t *testing.T) {
	m := newTestMemory(t, 64<<20, 1000)
	for _, size := range []int{0, 1, 2000, firstSize - 200, firstSize, pieceSize, pieceSize + 1, 60 << 10, 64 << 10, 65_499, 100_000, 1 << 20, 2 << 20} {
		name := fmt.Sprint("/", size)
		rec := recordOf(name, size)
		if !m.keep(name, rec) {
			t.Fatalf("%d: not stored", size)
		}
		k := keyOf(name)
		got, ok := m.get([]byte("before"), &k)
		if !ok || string(got[:6]) != "before" || !bytes.Equal(got[6:], rec) {
			t.Errorf("%d: not what was stored: %t, %d bytes of %d", size, ok, len(got)-6, len(rec))
		}
	}
	k := keyOf("/absent")
	if got, ok := m.get([]byte("before"), &k); ok || string(got) != "before" {
		t.Errorf("absent: %t %q", ok, got)
	}
	rec := recordOf("/1", 5)
	m.keep("/1", rec)
	if k := keyOf("/1"); true {
		if got, _ := m.get(nil, &k); !bytes.Equal(got, rec) {
			t.Error("not replaced")
		}
	}
	if m.keep("/huge", recordOf("/huge", 10<<20)) {
		t.Error("a record of a sixth of the memory was stored")
	}
}

func TestMemoryDeletes(t *testing.T) {
	m := newTestMemory(t, 8<<20, 1000)
	for i := range 100 {
		m.keep(fmt.Sprint("/a/", i), recordOf(fmt.Sprint("/a/", i), 30_000*(i%2)))
		m.keep(fmt.Sprint("/b/", i), recordOf(fmt.Sprint("/b/", i), 10))
	}
	k := keyOf("/b/1")
	if until, ok := m.delete(&k, oneDeletion); !ok || until == 0 || m.has("/b/1") {
		t.Error("/b/1 is still there")
	}
	if _, ok := m.delete(&k, oneDeletion); ok {
		t.Error("/b/1 deleted twice")
	}
	if n := m.purge(func(text []byte) bool { return strings.HasPrefix(string(text), "/a/") }); n != 100 {
		t.Errorf("%d purged", n)
	}
	if n := m.entries.Load(); n != 99 || m.has("/a/3") || m.has("/a/4") || !m.has("/b/3") {
		t.Errorf("%d left", n)
	}
	m.flush()
	if n := m.entries.Load(); n != 0 || m.has("/b/3") {
		t.Errorf("%d left", n)
	}
	m.keep("/b/3", recordOf("/b/3", 1))
	if n := m.entries.Load(); n != 1 || !m.has("/b/3") {
		t.Errorf("%d there", n)
	}
}

func TestMemoryRefusesWhatWasFetchedBefore(t *testing.T) {
	k, rec := keyOf("/x"), recordOf("/x", 1)
	f := func(what string, happens func(m *memory), want bool) {
		t.Helper()
		m := newTestMemory(t, 1<<20, 10)
		st := m.stamp(k)
		happens(m)
		if got := m.put(&st, rec); got != want || m.has("/x") != want {
			t.Errorf("%s: stored %t, want %t", what, got, want)
		}
	}
	other := keyOf("/y")
	f("nothing", func(*memory) {}, true)
	f("deleted", func(m *memory) { m.delete(&k, oneDeletion) }, false)
	f("another deleted", func(m *memory) { m.delete(&other, oneChange) }, true)
	f("changed in redis", func(m *memory) { m.delete(&k, oneChange) }, false)
	f("flushed", func(m *memory) { m.flush() }, false)
	f("purged", func(m *memory) { m.generation.Add(1) }, false)
	f("stored", func(m *memory) { m.keep("/x", recordOf("/x", 9)) }, true)
}

// TestMemoryBound holds what fastcache is built like, as this package knows it.
func TestMemoryBound(t *testing.T) {
	bounds := []int64{1 << 20, 5 << 20, 32 << 20, 33 << 20, 100 << 20}
	if testing.Short() || effort > 1 {
		bounds = bounds[:2]
	}
	for _, bound := range bounds {
		for _, size := range []int{100, 3000, 9000, 33_000} {
			if bound/int64(size) > 500_000 && !testkit.Soak {
				continue
			}
			m := newMemory(bound, 1<<30)
			rec := recordOf("x", size)
			for i := 0; i < int(bound*3/2)/size; i++ {
				m.keep(strconv.Itoa(i), rec)
			}
			var s fastcache.Stats
			m.c.UpdateStats(&s)
			if s.BytesSize > m.capacity || s.BytesSize < m.capacity*9/10 || m.bytes() > uint64(bound) || m.entries.Load() > int64(m.most) {
				t.Errorf("bound %d, records of %d: chunks %d of %d, in all %d, %d entries of %d",
					bound, size, s.BytesSize, m.capacity, m.bytes(), m.entries.Load(), m.most)
			}
			there := 0
			for i := 0; i < int(bound*3/2)/size; i++ {
				if m.has(strconv.Itoa(i)) {
					there++
				}
			}
			t.Logf("bound=%d size=%d: %d there, %d counted, payload/bound %.2f", bound, size, there, m.entries.Load(),
				float64(there*size)/float64(bound))
			m.close()
		}
	}
}

func TestMemoryCountsEntries(t *testing.T) {
	m := newTestMemory(t, 64<<20, 100)
	for i := range 1000 {
		m.keep(strconv.Itoa(i), recordOf("x", 1000))
	}
	if n, evicted := m.entries.Load(), m.evictions.Load(); n != 100 || evicted != 900 || m.has("899") || !m.has("900") {
		t.Errorf("%d entries, %d evicted", n, evicted)
	}
	for range 10_000 { // the same one, again and again, drives out nobody but half of the others
		m.keep("999", recordOf("x", 1000))
	}
	if n := m.entries.Load(); n < 1 || n > 100 || !m.has("999") || len(m.ledger.pages) > 3 {
		t.Errorf("%d entries, %d pages", n, len(m.ledger.pages))
	}
}

// TestMemoryHotKey reads one key while several times as many others are stored as there is room for.
func TestMemoryHotKey(t *testing.T) {
	n := 400_000
	switch {
	case testkit.Soak:
		n = 1_000_000
	case testing.Short() || effort > 1:
		n = 100_000
	}
	for _, size := range []int{700, 60_000} {
		const bound = 64 << 20
		debug.FreeOSMemory()
		before := residentBytes(t)
		m := newTestMemory(t, bound, 1_000_000)
		if size > 10_000 {
			n /= 20
		}
		hot, rec := keyOf("/hot"), recordOf("/hot", size)
		buf := make([]byte, 0, 2*size+1000)
		cold := recordOf("/cold", size)
		hits, reads := 0, 0
		var k Key
		for i := range n {
			binary.LittleEndian.PutUint64(k[:], uint64(i)*0x9E3779B97F4A7C15)
			st := m.stamp(k)
			m.put(&st, cold)
			if i%10 == 0 {
				reads++
				got, ok := m.get(buf[:0], &hot)
				if ok && bytes.Equal(got, rec) {
					hits++
					continue
				}
				m.keep("/hot", rec)
			}
		}
		took := residentBytes(t) - before
		t.Logf("size=%d: %d cold keys, hot hit ratio %.4f, resident %.2f of the bound, counted %.2f, %d entries", size, n,
			float64(hits)/float64(reads), float64(took)/bound, float64(m.bytes())/bound, m.entries.Load())
		if float64(hits) < 0.95*float64(reads) {
			t.Errorf("size=%d: hot hit ratio %d/%d", size, hits, reads)
		}
		if took > bound*13/10 && effort == 1 {
			t.Errorf("size=%d: %d bytes resident", size, took)
		}
	}
}

func residentBytes(t testing.TB) int64 {
	t.Helper()
	debug.FreeOSMemory()
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("resident memory cannot be measured here")
	}
	pages, _ := strconv.ParseInt(strings.Fields(string(statm))[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

func TestMemoryTogether(t *testing.T) {
	m := newTestMemory(t, 4<<20, 500)
	var wait sync.WaitGroup
	for g := range 4 {
		wait.Go(func() {
			random := rand.New(rand.NewPCG(uint64(g), 1))
			var buf []byte
			for i := range 20_000 / effort {
				name := fmt.Sprint("/", random.IntN(1000))
				k := keyOf(name)
				switch random.IntN(8) {
				case 0:
					m.keep(name, recordOf(name, random.IntN(50_000)))
				case 1:
					m.delete(&k, oneDeletion)
				case 2:
					if i%500 == 0 {
						m.flush()
					}
				case 3:
					if i%500 == 0 {
						m.purge(func(text []byte) bool { return text[1] == '7' })
					}
				default:
					var ok bool
					if buf, ok = m.get(buf[:0], &k); ok {
						if e, whole := Decode(buf); !whole || !Check(buf) || string(e.Key) != name {
							t.Errorf("%s: found %q", name, e.Key)
						}
					}
				}
			}
		})
	}
	wait.Wait()
	n := int64(0)
	for seq := m.ledger.first; seq < m.ledger.next; seq++ {
		if m.ledger.slot(seq).id != (ident{}) {
			n++
		}
	}
	if n != m.entries.Load() {
		t.Errorf("%d entries counted, %d in the ledger", m.entries.Load(), n)
	}
}

// What a flight is told of a change, and what it is not: an echo of our own writing is none.
func TestStampPrecedes(t *testing.T) {
	f := func(was, now Stamp, want bool) {
		t.Helper()
		if got := was.Precedes(&now); got != want {
			t.Errorf("%+v before %+v: %v", was, now, got)
		}
	}
	f(Stamp{}, Stamp{}, false)
	f(Stamp{generation: 1, version: oneDeletion}, Stamp{generation: 1, version: 2 * oneDeletion}, true)
	f(Stamp{generation: 1, version: oneDeletion}, Stamp{generation: 1, version: oneDeletion + oneEcho}, false)
	f(Stamp{generation: 1}, Stamp{generation: 2}, true)
	f(Stamp{generation: 2}, Stamp{generation: 1}, false)
}
