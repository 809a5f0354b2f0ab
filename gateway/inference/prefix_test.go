package inference

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
)

// hashesOf are a body's hashes, read in pieces of that size.
func hashesOf(t testing.TB, body string, piece int, model, tenant string) []uint64 {
	t.Helper()
	var s Scanner
	var p Prefix
	p.Reset()
	for from := 0; from < len(body); from += piece {
		part := []byte(body[from:min(len(body), from+piece)])
		if r := s.Scan(part); r != Accepted {
			t.Fatalf("%v: %.100s", r, body)
		}
		p.Read(&s, part)
		clear(part) // it was borrowed
	}
	return slices.Clone(p.Hashes([]byte(model), []byte(tenant)))
}

func message(role string, n int) string {
	return fmt.Sprintf(`{"role":%q,"content":%q}`, role, strings.Repeat("abcdefg ", n/8))
}

func chat(before string, messages ...string) string {
	return `{` + before + `"messages":[` + strings.Join(messages, ",") + `],"model":"m","temperature":0}`
}

// A conversation that grows begins as it did, in whatever pieces it comes.
func TestPrefixGrows(t *testing.T) {
	messages := []string{message("system", 3000)}
	var before []uint64
	for turn := range 30 {
		messages = append(messages, message("user", 200+100*turn), message("assistant", 700))
		body := chat("", messages...)
		hashes := hashesOf(t, body, len(body), "m", "t")
		if len(hashes) < len(before) || !slices.Equal(hashes[:len(before)], before) {
			t.Fatalf("turn %d does not begin as the one before", turn)
		}
		length := len(strings.Join(messages, ",")) + 2
		if want := min(64, length/1024); len(hashes) != want {
			t.Errorf("%d hashes of %d bytes, want %d", len(hashes), length, want)
		}
		for _, piece := range []int{1, 7, 1000, 1024, 4099} {
			if again := hashesOf(t, body, piece, "m", "t"); !slices.Equal(again, hashes) {
				t.Fatalf("in pieces of %d: other hashes", piece)
			}
		}
		before = hashes
	}
	if len(before) != 64 {
		t.Errorf("%d hashes in the end", len(before))
	}
}

// What the model does not read makes no difference; what it reads, the model and the tenant do.
func TestWhatIsHashed(t *testing.T) {
	long, other := message("user", 5000), message("user", 5008)
	base := hashesOf(t, chat("", long), 1<<20, "m", "t")
	f := func(want bool, body, model, tenant string) {
		t.Helper()
		if h := hashesOf(t, body, 1<<20, model, tenant); slices.Equal(h, base) != want || want == (h[0] != base[0]) {
			t.Errorf("equal is not %v: %s, %s, %.80s", want, model, tenant, body)
		}
	}
	f(true, chat("", long), "m", "t")
	f(true, chat(`"stream":true,"user":"u","tools":[{"a":"b"}],`, long), "m", "t")
	f(false, chat("", long), "n", "t")
	f(false, chat("", long), "m", "u")
	f(false, chat("", long), "t", "m")
	f(false, chat("", message("system", 5000)), "m", "t")
	f(false, chat(`"system":"x",`, long), "m", "t")
	if h := hashesOf(t, chat("", other), 1<<20, "m", "t"); len(h) != len(base) || h[0] != base[0] || h[len(h)-1] != base[len(base)-1] {
		t.Error("what follows the last block is hashed, or blocks before it are not")
	}

	// A short system prompt is a block of its own, wherever its members stand, and however often.
	h := hashesOf(t, `{"system":"be brief","messages":[`+long+`]}`, 1<<20, "m", "t")
	if len(h) != 1+len(base) {
		t.Errorf("%d hashes with a system prompt, %d without", len(h), len(base))
	}
	if twice := hashesOf(t, `{"system":"be brief","messages":[`+long+`],"system":"be long"}`, 1<<20, "m", "t"); !slices.Equal(twice, h) {
		t.Error("a second system prompt counts")
	}
	if behind := hashesOf(t, `{"messages":[`+long+`],"system":"be brief"}`, 5, "m", "t"); !slices.Equal(behind[:len(base)], base) {
		t.Error("a system prompt behind the messages is read before them")
	}
	for _, body := range []string{`{}`, `{"messages":[]}`, chat("", message("user", 900)), `{"model":"m","input":7}`, `{"messages":null}`} {
		if h := hashesOf(t, body, 1<<20, "m", "t"); len(h) != 0 {
			t.Errorf("%s: %v", body, h)
		}
	}
	for _, body := range []string{`{"prompt":"` + strings.Repeat("x", 3000) + `"}`, `{"input":["` + strings.Repeat("x", 3000) + `"]}`} {
		for _, piece := range []int{3, 1 << 20} {
			if h := hashesOf(t, body, piece, "m", "t"); len(h) != 2 {
				t.Errorf("%.20s: %d hashes", body, len(h))
			}
		}
	}
}

// The hashes must be the same in every replica, of every release that meets another one in a roll-out.
func TestHashesAreShared(t *testing.T) {
	got := hashesOf(t, `{"prompt":"`+strings.Repeat("0123456789", 200)+`"}`, 100, "llama", "team-a")
	if want := []uint64{18037669779704305085}; !slices.Equal(got, want) {
		t.Errorf("got %d", got)
	}
}

func TestAllocPrefix(t *testing.T) {
	body := []byte(chat("", message("system", 30000), message("user", 50000)))
	var s Scanner
	var p Prefix
	model, tenant := []byte("m"), []byte("t")
	if n := testing.AllocsPerRun(50, func() {
		s.Reset()
		p.Reset()
		s.Scan(body)
		p.Read(&s, body)
		p.Hashes(model, tenant)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// In whatever pieces a body comes, its hashes are the same.
func FuzzPrefix(f *testing.F) {
	f.Add([]byte(chat(`"system":"x",`, message("user", 2000))), uint16(100))
	f.Add([]byte(`{"input":[[1,2],"`+strings.Repeat(`\"`, 700)+`"],"system":null,"prompt":"`+strings.Repeat("y", 1500)+`"}`), uint16(3))
	f.Fuzz(func(t *testing.T, body []byte, piece uint16) {
		read := func(n int) []uint64 {
			var s Scanner
			var p Prefix
			p.Reset()
			for part := range slices.Chunk(body, n) {
				if s.Scan(part) != Accepted {
					return nil
				}
				p.Read(&s, part)
			}
			if s.End() != Accepted {
				return nil
			}
			return slices.Clone(p.Hashes(nil, nil))
		}
		if a, b := read(len(body)+1), read(int(piece)+1); !slices.Equal(a, b) {
			t.Errorf("%v, %v", a, b)
		}
	})
}

// BenchmarkPrefix hashes how bodies begin, beside the scan that goes before, and what only one hash over all would cost.
func BenchmarkPrefix(b *testing.B) {
	for _, size := range []int{3 << 10, 64 << 10} {
		body := []byte(chat("", message("user", size)))
		run := func(name string, f func()) {
			b.Run(fmt.Sprintf("%s/bytes=%d", name, size), func(b *testing.B) {
				b.SetBytes(int64(len(body)))
				for b.Loop() {
					f()
				}
			})
		}
		seed := maphash.MakeSeed()
		var s, scanned Scanner
		var p Prefix
		scanned.Scan(body)
		run("impl=prefix", func() {
			p.Reset()
			p.Read(&scanned, body)
			p.Hashes(nil, nil)
		})
		run("impl=scan", func() {
			s.Reset()
			s.Scan(body)
		})
		run("impl=maphash-of-all", func() { maphash.Bytes(seed, body) })
		run("impl=xxhash-of-all", func() { xxhash.Sum64(body) })
	}
}
