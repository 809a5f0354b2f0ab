package config

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// Whatever was read before, a file is read as if it were the first: its keys, its warnings, its faults.
func TestKeyReaderReadsAnew(t *testing.T) {
	var r KeyReader
	line := func(id string, n int, more string) string {
		return fmt.Sprintf("  - {id: %s, sha256: [\"%064x\"]%s}\n", id, n, more)
	}
	f := func(what, text string, quick bool) {
		t.Helper()
		was := r.known != nil
		read := func(string) ([]byte, error) { return []byte(text), nil }
		file, lines := cutKeyLines(text)
		if got := lines && was && (&KeyReader{known: r.known}).quick("k.yaml", file) != nil; got != quick {
			t.Errorf("%s: quick: %v", what, got)
		}
		got, warned, err := r.Read("k.yaml", read)
		want, warnings, wrong := ReadKeys("k.yaml", read)
		if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(warned, warnings) || fmt.Sprint(err) != fmt.Sprint(wrong) {
			t.Errorf("%s: got %+v %q %v, want %+v %q %v", what, got, warned, err, want, warnings, wrong)
		}
	}
	a, b, c := line("a", 1, ""), line("b", 2, `, models: ["llama-*", x*]`), line("c", 3, ", limits: {rps: 3}")
	f("the first", "keys:\n"+a+b, false)
	f("the same", "keys:\n"+a+b, true)
	f("one more", "# of today\nkeys:\n"+a+"\n# new\n"+c+b, true)
	f("another order, one gone", "keys:\n"+b+a, true)
	f("one has changed", "keys:\n"+line("a", 4, ", disabled: true")+b, true)
	f("with an issuer behind, of which there is something to say", "keys:\n"+a+b+"\njwt: {issuer: i, audience: g, jwks_url: 'http://idp'}\n", true)
	f("a fault behind", "keys:\n"+a+b+"jwt: {issuer: i}\n", false)
	f("after a fault", "keys:\n"+a+b, false)
	f("an id twice", "keys:\n"+a+line("a", 9, ""), false)
	f("again", "keys:\n"+a+b, false)
	f("a hash twice", "keys:\n"+a+line("z", 1, ""), false)
	f("again", "keys:\n"+a+b, false)
	f("a fault in a new line", "keys:\n"+a+line("z", 5, ", weight: 0"), false)
	f("again", "keys:\n"+a+b, false)
	f("keys twice", "keys:\n"+a+"keys: []\n", false)
	f("again", "keys:\n"+a+b, false)
	f("another document", "keys:\n"+a+"---\nkeys: []\n", false)
	f("again", "keys:\n"+a+b, false)
	f("an alias", "keys:\n  - {id: a, sha256: &h [\""+strings.Repeat("1", 64)+"\"]}\n"+"  - {id: b, sha256: *h}\n", false)
	f("again", "keys:\n"+a+b, false)
	f("indented otherwise", "keys:\n"+a+"   "+b, false)
	f("again", "keys:\n"+a+b, false)
	f("on two lines", "keys:\n"+a+"  - {id: q,\n    sha256: "+strings.Repeat("2", 64)+"}\n", false)
	f("in blocks", "keys:\n  - id: q\n    sha256: "+strings.Repeat("2", 64)+"\n", false)
	f("the first of lines", "keys:\n"+a+b, false)
	f("none", "keys: []\n", false)
	f("nothing", "", false)
}

func TestKeyReaderForgetsNothing(t *testing.T) {
	f := func(line string, want bool) {
		t.Helper()
		if got := standsAlone(line); got != want {
			t.Errorf("%s: %v", line, got)
		}
	}
	f(`- {id: a, models: ["*"]}`, true)
	f(`- {id: a, models: [x*]}`, true)
	f(`- {id: a, models: [*x]}`, false)
	f(`- {id: a, sha256: *x}`, false)
	f(`- {<<: *x}`, false)
	f(`- {id: &x a}`, false)
	f(`- {id: !!str a}`, false)
	f(`- {id: a} # }`, false)
	f(`- {id: a,`, false)
}

func BenchmarkKeyReader(b *testing.B) {
	const n = 10_000
	var text strings.Builder
	text.WriteString("keys:\n")
	for i := range n {
		fmt.Fprintf(&text, "  - {id: team-%d, sha256: [\"%064x\"], models: [\"llama-*\"], limits: {rps: 20, burst: 40}}\n", i, i)
	}
	files := [2][]byte{[]byte(text.String()), []byte(strings.Replace(text.String(), "team-7,", "team-x,", 1))}
	b.Run("keys=10000/impl=whole", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			_, _, _ = ReadKeys("k", func(string) ([]byte, error) { return files[i%2], nil })
		}
	})
	var r KeyReader
	_, _, _ = r.Read("k", func(string) ([]byte, error) { return files[1], nil })
	b.Run("keys=10000/impl=one-changed", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			_, _, _ = r.Read("k", func(string) ([]byte, error) { return files[i%2], nil })
		}
	})
}

// Of two files in turn, the second is read as if it were the first.
func FuzzKeyReader(f *testing.F) {
	line := func(id string, n int, more string) string {
		return fmt.Sprintf("  - {id: %s, sha256: [\"%064x\"]%s}\n", id, n, more)
	}
	first := "keys:\n" + line("a", 1, "") + line("b", 2, ", models: [x*]")
	f.Add(first, first+line("c", 3, ", disabled: true"))
	f.Add(first, "keys:\n"+line("a", 1, ", expires: 2027-01-01")+"jwt: {issuer: i, audience: a, jwks_url: 'http://x'}\n")
	f.Add(first, "keys:\n"+line("a", 1, " # }")+"- {}\n")
	f.Fuzz(func(t *testing.T, before, after string) {
		var r KeyReader
		read := func(text string) func(string) ([]byte, error) {
			return func(string) ([]byte, error) { return []byte(text), nil }
		}
		_, _, _ = r.Read("k", read(before))
		got, warned, err := r.Read("k", read(after))
		want, warnings, wrong := ReadKeys("k", read(after))
		if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(warned, warnings) || fmt.Sprint(err) != fmt.Sprint(wrong) {
			t.Errorf("got %+v %q %v, want %+v %q %v", got, warned, err, want, warnings, wrong)
		}
	})
}
