package keys

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"aigateway/gateway/config"
)

var today = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// stated is a key of the file whose keys are these.
func stated(id string, keys ...string) config.Key {
	k := config.Key{ID: id, Weight: 1}
	for _, key := range keys {
		k.Sums = append(k.Sums, sha256.Sum256([]byte(key)))
	}
	return k
}

func TestFind(t *testing.T) {
	expired, last, off := stated("expired", "sk-e"), stated("last-day", "sk-l"), stated("off", "sk-o")
	expired.Expires, last.Expires, off.Disabled = today.Add(-time.Second), today.Add(time.Second), true
	s := New(&config.Keys{List: []config.Key{stated("a", "sk-a", "sk-a2"), expired, last, off}}, nil, TokenOptions{})
	f := func(key, id string, want Reason) {
		t.Helper()
		got, why := s.Find([]byte(key), today)
		if why != want || why == Granted && (got.Key.ID != id || got.Grant == nil) {
			t.Errorf("%s: %v %v, want %q %v", key, got.Key, why, id, want)
		}
	}
	f("sk-a", "a", Granted)
	f("sk-a2", "a", Granted)
	f("sk-l", "last-day", Granted)
	f("sk-e", "", Expired)
	f("sk-o", "", Disabled)
	f("sk-A", "", Unknown)
	f("", "", Unknown)
	f(hex.EncodeToString(expired.Sums[0][:]), "", Unknown) // the hash is no key
	if _, why := New(&config.Keys{}, nil, TokenOptions{}).Find([]byte("sk-a"), today); why != Unknown {
		t.Errorf("an empty list: %v", why)
	}
	if New(nil, nil, TokenOptions{}) != nil {
		t.Error("no file makes a set")
	}
}

// A hash is another one if any of its bits is, wherever it stands, and hashes that begin in the same slot are told apart.
func TestTableComparesAllOfAHash(t *testing.T) {
	sum := sha256.Sum256([]byte("sk-a"))
	neighbours := []entry{{sum: sum, key: &Key{}}}
	for i := range byte(60) {
		other := sum
		other[31] ^= i + 1
		neighbours = append(neighbours, entry{sum: other, key: &Key{}})
	}
	table := newTable(neighbours)
	for i := range neighbours {
		if got := table.find(&neighbours[i].sum); got == nil || got.key != neighbours[i].key {
			t.Errorf("the hash of entry %d finds %v", i, got)
		}
	}
	alone := newTable(neighbours[:1])
	for bit := range 256 {
		other := sum
		other[bit/8] ^= 1 << (bit % 8)
		if same(&other, &sum) || alone.find(&other) != nil {
			t.Errorf("a hash that differs in bit %d is the same", bit)
		}
	}
	if size := unsafe.Sizeof(entry{}); size != 64 {
		t.Errorf("an entry has %d bytes", size)
	}
	if !same(&sum, &sum) {
		t.Error("a hash is not itself")
	}
}

// Whatever their number is, all are found, and no other one, and a probe ends.
func TestTableOfAnySize(t *testing.T) {
	for n := range 300 {
		var entries []entry
		for i := range n {
			entries = append(entries, entry{sum: sha256.Sum256([]byte{byte(i), byte(i >> 8)}), key: &Key{Index: i}})
		}
		table := newTable(entries)
		for i := range 2 * n {
			sum := sha256.Sum256([]byte{byte(i), byte(i >> 8)})
			if e := table.find(&sum); (e != nil) != (i < n) || e != nil && e.key.Index != i {
				t.Fatalf("hash %d of %d: %v", i, n, e)
			}
		}
		if len(table.slots)*4 < 5*n {
			t.Errorf("%d slots for %d", len(table.slots), n)
		}
	}
}

func TestTableOfManyKeys(t *testing.T) {
	list := make([]config.Key, 10_000)
	for i := range list {
		list[i] = stated(fmt.Sprint("k", i), fmt.Sprint("sk-", i))
	}
	s := New(&config.Keys{List: list}, nil, TokenOptions{})
	for i := range list {
		got, why := s.Find(fmt.Append(nil, "sk-", i), today)
		if why != Granted || got.Key.Index != i {
			t.Fatalf("key %d finds %v, %v", i, got.Key, why)
		}
		if _, why := s.Find(fmt.Append(nil, "no-", i), today); why != Unknown {
			t.Fatalf("a key that is not there: %v", why)
		}
	}
	if labels := s.Labels(); len(labels) != 200 || labels[199] != "k199" || s.Keys()[200].Label != Others {
		t.Errorf("%d labels", len(labels))
	}
}

func TestAllows(t *testing.T) {
	f := func(model string, want bool, globs ...string) {
		t.Helper()
		k := stated("a", "sk-a")
		k.Models = globs
		if got := New(&config.Keys{List: []config.Key{k}}, nil, TokenOptions{}).Keys()[0].Allows(model); got != want {
			t.Errorf("%q allow %q: %v", globs, model, got)
		}
	}
	f("any", true)
	f("any", false, []string{}...)
	f("llama-8b", true, "llama-*")
	f("llama-", true, "llama-*")
	f("llama", false, "llama-*")
	f("LLAMA-8b", false, "llama-*")
	f("qwen", true, "llama-*", "qwen")
	f("qwen2", false, "llama-*", "qwen")
	f("meta/llama-8b", true, "meta/*")
	f("meta/llama-8b", true, "*")
	f("meta/llama-8b", true, "*8b")
	f("ababac", true, "*abac")
	f("abab", false, "*abac")
	f("a[b]?", true, "a[b]?") // * is all there is
	f("", true, "*")
	f(strings.Repeat("a", 256), false, strings.Repeat("*a", 128)+"b")
	var none *Key
	if !none.Allows("any") {
		t.Error("where nobody needs a key, every model is allowed")
	}
}

// An empty list of globs is none, and one that the file does not state is all: nil and empty are told apart.
func TestAllowsNothing(t *testing.T) {
	k := stated("a", "sk-a")
	k.Models = []string{}
	if New(&config.Keys{List: []config.Key{k}}, nil, TokenOptions{}).Keys()[0].Allows("any") {
		t.Error("an empty list allows something")
	}
}

// What stays goes on, and what does not is revoked: a key that is gone, switched off, moved to another tenant, or over.
func TestRevoke(t *testing.T) {
	before := []config.Key{stated("stays", "sk-s"), stated("rotates", "sk-old", "sk-new"), stated("goes", "sk-g"), stated("off", "sk-o"), stated("moves", "sk-m")}
	old := New(&config.Keys{List: before}, nil, TokenOptions{})
	grants := map[string]*Grant{}
	for _, key := range []string{"sk-s", "sk-old", "sk-new", "sk-g", "sk-o", "sk-m"} {
		a, _ := old.Find([]byte(key), today)
		grants[key] = a.Grant
	}
	off, stays := stated("off", "sk-o"), stated("stays", "sk-s")
	off.Disabled, stays.Weight, stays.Expires = true, 7, today.Add(time.Hour)
	next := New(&config.Keys{List: []config.Key{stays, stated("rotates", "sk-new"), off, stated("another", "sk-m")}}, old, TokenOptions{})
	if !old.Revoke(next) {
		t.Error("nothing was revoked")
	}
	for key, want := range map[string]bool{"sk-s": false, "sk-old": true, "sk-new": false, "sk-g": true, "sk-o": true, "sk-m": true} {
		if got := grants[key].Revoked().Load(); got != want {
			t.Errorf("%s revoked: %v", key, got)
		}
	}
	if a, _ := next.Find([]byte("sk-m"), today); a.Grant.Revoked().Load() || a.Key.ID != "another" {
		t.Error("who has the key now does not get in")
	}
	if next.Revoke(next) || next.Expire(today) || next.Revoke(nil) {
		t.Error("revoked twice, before its time, or where no keys are needed any more")
	}
	if !next.Expire(today.Add(time.Hour)) || !grants["sk-s"].Revoked().Load() || next.Expire(today.Add(2*time.Hour)) {
		t.Error("a key whose time is over is revoked then, once")
	}
	// What was revoked once begins anew when it is let in again.
	again := New(&config.Keys{List: before}, next, TokenOptions{})
	if a, why := again.Find([]byte("sk-s"), today); why != Granted || a.Grant.Revoked().Load() {
		t.Error("a key that is let in again stays revoked")
	}
	c := old.Changes(next)
	if !slices.Equal(c.Added, []string{"another"}) || !slices.Equal(c.Removed, []string{"goes", "moves"}) || !slices.Equal(c.Changed, []string{"off", "rotates", "stays"}) {
		t.Errorf("%+v", c)
	}
	if !next.Changes(next).None() || (*Set)(nil).Changes(next).None() {
		t.Error("changes of nothing, or none from nothing")
	}
}

// A tenant that differs in any member has changed.
func TestChangesSeesEveryMember(t *testing.T) {
	k := stated("a", "sk-a")
	members := reflect.TypeOf(k)
	for i := range members.NumField() {
		other := k
		switch f := reflect.ValueOf(&other).Elem().Field(i).Addr().Interface().(type) {
		case *string:
			*f = "b"
		case *[][32]byte:
			*f = stated("a", "sk-b").Sums
		case *[]string:
			*f = []string{}
		case *config.KeyLimits:
			f.TPD = 1
		case *config.Priority:
			*f = config.Batch
		case *int:
			*f = 2
		case *time.Time:
			*f = today
		case *bool:
			*f = true
		default:
			t.Fatalf("%T", f)
		}
		if same := k; equal(&k, &other) || !equal(&k, &same) {
			t.Errorf("%s is not seen", members.Field(i).Name)
		}
	}
}

func TestGenerate(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		key, line, err := Generate("team-a")
		if err != nil || len(key) != 46 || !strings.HasPrefix(key, "sk-") || seen[key] || strings.Contains(line, key) {
			t.Fatalf("%q %q %v", key, line, err)
		}
		seen[key] = true
		file := "keys:\n" + line + "\n"
		c, _, err := config.ReadKeys("keys.yaml", func(string) ([]byte, error) { return []byte(file), nil })
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if a, why := New(c, nil, TokenOptions{}).Find([]byte(key), today); why != Granted || a.Key.ID != "team-a" {
			t.Fatalf("%s does not open: %v", line, why)
		}
	}
	if _, line, err := Generate(""); err != nil || !strings.Contains(line, `id: "key-`) {
		t.Errorf("%q %v", line, err)
	}
	if _, _, err := Generate("a b"); err == nil {
		t.Error("an id with a space")
	}
}

func TestFindAllocatesNothing(t *testing.T) {
	s := New(&config.Keys{List: []config.Key{stated("a", "sk-a")}}, nil, TokenOptions{})
	right, wrong := []byte("sk-a"), []byte(strings.Repeat("sk-b", 1000))
	if n := testing.AllocsPerRun(100, func() {
		s.Find(right, today)
		s.Find(wrong, today)
		s.Keys()[0].Allows("any")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
