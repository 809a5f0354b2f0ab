package cache

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"
)

func openTestStore(t testing.TB, o Options) *Store {
	t.Helper()
	if o.MemoryBytes == 0 {
		o.MemoryBytes = 16 << 20
	}
	if o.MaxEntries == 0 {
		o.MaxEntries = 10_000
	}
	if o.MaxRecord == 0 {
		o.MaxRecord = 1 << 20
	}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func (s *Store) set(text string, body int) bool {
	return s.Put(s.Stamp(keyOf(text)), recordOf(text, body), time.Now().UnixMilli())
}

func (s *Store) tier(t testing.TB, text string) Tier {
	t.Helper()
	rec, tier := s.Get([]byte("before"), keyOf(text), time.Now().UnixMilli())
	if string(rec[:6]) != "before" || tier == Nowhere && len(rec) != 6 {
		t.Errorf("%s: what was in the buffer is gone: %q", text, rec[:6])
	}
	if tier != Nowhere {
		if e, ok := Decode(rec[6:]); !ok || !Check(rec[6:]) || string(e.Key) != text {
			t.Errorf("%s: not its record", text)
		}
	}
	return tier
}

func beginsWith(prefix string) func([]byte) bool {
	return func(text []byte) bool { return strings.HasPrefix(string(text), prefix) }
}

func TestStoreOff(t *testing.T) {
	var s *Store
	k := keyOf("/")
	if rec, tier := s.Get([]byte("b"), k, 0); string(rec) != "b" || tier != Nowhere {
		t.Error("found something")
	}
	if s.Put(s.Stamp(k), recordOf("/", 1), 0) {
		t.Error("kept something")
	}
	s.Delete(k)
	s.Flush()
	if n, err := s.Purge(context.Background(), nil); n != 0 || err != nil {
		t.Error(n, err)
	}
	if st := s.Stats(); st.Entries != 0 {
		t.Error(st)
	}
	s.Close()
}

func TestOpenRefuses(t *testing.T) {
	f := func(o Options, want string) {
		t.Helper()
		if s, err := Open(o); s != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	f(Options{MemoryBytes: 1<<20 - 1, MaxEntries: 1, MaxRecord: 1000}, "1 MiB")
	f(Options{MemoryBytes: 1 << 20, MaxEntries: 0, MaxRecord: 1000}, "without an entry")
	f(Options{MemoryBytes: 1 << 20, MaxEntries: 1, MaxRecord: 10}, "room for a record")
	f(Options{MemoryBytes: 1 << 20, MaxEntries: 1, MaxRecord: 1000, Redis: &RedisOptions{}}, "without an address")
}

func TestStoreInMemory(t *testing.T) {
	s := openTestStore(t, Options{})
	for _, name := range []string{"/a/1", "/a/2", "/b/1", "/b/2"} {
		if !s.set(name, 100) || s.tier(t, name) != Memory {
			t.Error(name, "is not kept")
		}
	}
	k, now := keyOf("/a/1"), time.Now()
	if _, tier := s.Get(nil, k, now.Add(time.Minute+time.Second).UnixMilli()); tier != Nowhere {
		t.Error("found after its time")
	}
	if s.Put(s.Stamp(k), recordOf("/a/1", 1), now.Add(time.Hour).UnixMilli()) {
		t.Error("kept after its time")
	}
	if s.Put(s.Stamp(k), []byte("short"), 0) {
		t.Error("kept what is not a record")
	}
	st := s.Stamp(k)
	s.Delete(k)
	if s.tier(t, "/a/1") != Nowhere || s.Put(st, recordOf("/a/1", 1), now.UnixMilli()) {
		t.Error("deleted, and still there or stored again")
	}
	b := s.Stamp(keyOf("/new"))
	if n, err := s.Purge(context.Background(), beginsWith("/b/")); n != 2 || err != nil {
		t.Error(n, err)
	}
	if s.tier(t, "/b/1") != Nowhere || s.tier(t, "/a/2") != Memory {
		t.Error("not what was to be purged")
	}
	if s.Put(b, recordOf("/new", 1), now.UnixMilli()) {
		t.Error("stored what was asked for before a purge")
	}
	if n, err := s.Purge(context.Background(), nil); n != 1 || err != nil || s.tier(t, "/a/2") != Nowhere {
		t.Error(n, err)
	}
	if st := s.Stats(); st.Entries != 0 || st.Bytes == 0 || st.Invalidations["purge"] != 2 || st.Invalidations["delete"] != 1 || st.Redis != nil {
		t.Errorf("%+v", st)
	}
	rec := recordOf("/c", 10)
	s.Put(s.Stamp(keyOf("/c")), rec, now.UnixMilli())
	clear(rec)
	if got, _ := s.Get(nil, keyOf("/c"), now.UnixMilli()); !bytes.Equal(got, recordOf("/c", 10)) && !Check(got) {
		t.Error("not a copy was kept")
	}
}
