package cache

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"strings"
	"testing"
)

func wholeEntry() Entry {
	return Entry{
		Meta: Meta{
			Status: 203, Flags: NoCache | Heuristic, RequestTime: 1_700_000_000_123, ResponseTime: 1_700_000_000_456,
			InitialAge: 7, Lifetime: 300, StaleWhileRevalidate: 30, StaleIfError: 600, LastModified: -5, ETag: []byte(`W/"x"`),
		},
		Until: 1_800_000_000_000, Key: []byte("GET http://a/b?c"), Variant: []byte("accept-encoding: gzip\n"),
		Head: []byte("Content-Type: text/plain\r\nContent-Length: 5\r\n\r\n"), Body: []byte("hello"),
	}
}

func TestEntry(t *testing.T) {
	want := wholeEntry()
	rec := AppendEntry([]byte("before"), &want)[6:]
	got, ok := Decode(rec)
	if !ok || !Check(rec) {
		t.Fatal("not a record")
	}
	want.Start = got.Start
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if string(rec[got.Start:]) != string(want.Head)+string(want.Body) {
		t.Errorf("head and body are not together at the end: %q", rec[got.Start:])
	}
	empty := AppendEntry(nil, &Entry{})
	if e, ok := Decode(empty); !ok || !Check(empty) || len(e.Key)+len(e.Body) != 0 || len(empty) != fixedSize {
		t.Error("the empty record is none")
	}
}

func TestDecodeRefuses(t *testing.T) {
	f := func(what string, change func(rec []byte) []byte, decodes bool) {
		t.Helper()
		e := wholeEntry()
		rec := change(AppendEntry(nil, &e))
		if _, ok := Decode(rec); ok != decodes {
			t.Errorf("%s: Decode %t, want %t", what, ok, decodes)
		}
		if Check(rec) {
			t.Errorf("%s: passes Check", what)
		}
	}
	set32 := func(at int, n uint32) func([]byte) []byte {
		return func(rec []byte) []byte { binary.LittleEndian.PutUint32(rec[at:], n); return rec }
	}
	set64 := func(at int, n int64) func([]byte) []byte {
		return func(rec []byte) []byte { binary.LittleEndian.PutUint64(rec[at:], uint64(n)); return rec }
	}
	f("nothing", func([]byte) []byte { return nil }, false)
	f("cut in the fixed head", func(rec []byte) []byte { return rec[:fixedSize-1] }, false)
	f("cut by a byte", func(rec []byte) []byte { return rec[:len(rec)-1] }, false)
	f("longer by a byte", func(rec []byte) []byte { return append(rec, 0) }, false)
	f("another version", func(rec []byte) []byte { rec[3]++; return rec }, false)
	f("text", func([]byte) []byte { return []byte(strings.Repeat("HTTP/1.1 200 OK\r\n", 20)) }, false)
	for at := 8; at < 28; at += 4 {
		f("length of 4 GB", set32(at, 1<<32-1), false)
		f("length of 0", set32(at, 0), false)
	}
	f("status 1000", func(rec []byte) []byte { binary.LittleEndian.PutUint16(rec[28:], 1000); return rec }, false)
	for at := 48; at < 80; at += 8 {
		f("negative duration", set64(at, -1), false)
		f("huge duration", set64(at, 1<<62), false)
	}
	f("another time", set64(32, 1), true)
	f("another body", func(rec []byte) []byte { rec[len(rec)-1] ^= 1; return rec }, true)
	f("another checksum", func(rec []byte) []byte { rec[4] ^= 1; return rec }, true)

	long := AppendEntry(nil, &Entry{Key: make([]byte, MaxKeyText+1)})
	if Check(long) {
		t.Error("a key of 64 KB and a byte passes")
	}
}

func TestKeyTextOf(t *testing.T) {
	e := wholeEntry()
	rec := AppendEntry(nil, &e)
	for n := range len(rec) {
		text, ok := keyTextOf(rec[:n])
		if whole := n >= fixedSize+len(e.Key); ok != whole || ok && !bytes.Equal(text, e.Key) {
			t.Errorf("of %d bytes: %t %q", n, ok, text)
		}
	}
}

// FuzzDecode: what is allocated is TestDecodeAlloc's.
func FuzzDecode(f *testing.F) {
	e := wholeEntry()
	f.Add(AppendEntry(nil, &e))
	f.Add(AppendEntry(nil, &Entry{}))
	f.Add(AppendEntry(nil, &Entry{Meta: Meta{Flags: Varies}, Key: []byte("k"), Body: []byte("list")}))
	f.Add([]byte(recordMagic))
	f.Fuzz(func(t *testing.T, rec []byte) {
		e, ok := Decode(rec)
		checked := Check(rec)
		text, has := keyTextOf(rec)
		if !ok {
			if checked {
				t.Error("passes Check, not Decode")
			}
			return
		}
		if !has || !bytes.Equal(text, e.Key) {
			t.Error("two texts of the key")
		}
		again := AppendEntry(nil, &e)
		if !Check(again) || checked && !bytes.Equal(again, rec) {
			t.Errorf("not the same again:\n%q\n%q", rec, again)
		}
	})
}

// A record that is written around its body gets its checksum on the way to Redis, where its bytes are doubted.
func TestChecksumOnTheWayToRedis(t *testing.T) {
	e := Entry{Key: []byte("/a"), Head: []byte("\r\n"), Body: []byte("body")}
	b := append(make([]byte, 200), e.Body...)
	start, ok := EntryAround(b, 200, &e)
	if !ok || Check(b[start:]) {
		t.Fatalf("made: %v; a checksum already: %v", ok, Check(b[start:]))
	}
	var q queue
	q.init()
	if !q.put(write{rec: b[start:]}) || !Check(q.order[0].rec) || Check(b[start:]) {
		t.Error("what goes to Redis has no checksum, or what stays here has got one")
	}
}
