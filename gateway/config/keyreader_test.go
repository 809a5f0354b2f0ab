package config

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// wholly reads a file by its tree alone.
func wholly(text string) (*Keys, []string, error) {
	d := newKeyDraft("k.yaml", func(string) ([]byte, error) { return nil, nil })
	keys := d.parseKeys("k.yaml", []byte(text))
	if len(d.faults) > 0 {
		return nil, nil, &Faults{List: d.faults}
	}
	return keys, d.warnings, nil
}

// Whatever was read before, and whichever way, a file is read as its tree says: its keys, its warnings, its faults.
func TestKeyReaderReadsAnew(t *testing.T) {
	var r KeyReader
	line := func(id string, n int, more string) string {
		return fmt.Sprintf("  - {id: %s, sha256: [\"%064x\"]%s}\n", id, n, more)
	}
	f := func(what, text string, quick bool) {
		t.Helper()
		read := func(string) ([]byte, error) { return []byte(text), nil }
		file, cut := cutKeyItems(text)
		if got := cut && new(KeyReader).quick("k.yaml", file) != nil; got != quick {
			t.Errorf("%s: quick: %v", what, got)
		}
		got, warned, err := r.Read("k.yaml", read)
		want, warnings, wrong := wholly(text)
		if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(warned, warnings) || fmt.Sprint(err) != fmt.Sprint(wrong) {
			t.Errorf("%s: got %+v %q %v, want %+v %q %v", what, got, warned, err, want, warnings, wrong)
		}
	}
	a, b, c := line("a", 1, ""), line("b", 2, `, models: ["llama-*", x*]`), line("c", 3, ", limits: {rps: 3}")
	f("the first", "keys:\n"+a+b, true)
	f("the same", "keys:\n"+a+b, true)
	f("one more", "# of today\nkeys:\n"+a+"\n# new\n"+c+b, true)
	f("another order, one gone", "keys:\n"+b+a, true)
	f("one has changed", "keys:\n"+line("a", 4, ", disabled: true")+b, true)
	f("with an issuer behind, of which there is something to say", "keys:\n"+a+b+"\njwt: {issuer: i, audience: g, jwks_url: 'http://idp'}\n", true)
	f("a fault behind", "keys:\n"+a+b+"jwt: {issuer: i}\n", false)
	f("after a fault", "keys:\n"+a+b, true)
	f("an id twice", "keys:\n"+a+line("a", 9, ""), false)
	f("again", "keys:\n"+a+b, true)
	f("a hash twice", "keys:\n"+a+line("z", 1, ""), false)
	f("again", "keys:\n"+a+b, true)
	f("a fault in a new line", "keys:\n"+a+line("z", 5, ", weight: 0"), false)
	f("again", "keys:\n"+a+b, true)
	f("keys twice", "keys:\n"+a+"keys: []\n", false)
	f("again", "keys:\n"+a+b, true)
	f("another document", "keys:\n"+a+"---\nkeys: []\n", false)
	f("again", "keys:\n"+a+b, true)
	f("an alias", "keys:\n  - {id: a, sha256: &h [\""+strings.Repeat("1", 64)+"\"]}\n"+"  - {id: b, sha256: *h}\n", false)
	f("again", "keys:\n"+a+b, true)
	f("indented otherwise", "keys:\n"+a+"   "+b, false)
	f("again", "keys:\n"+a+b, true)
	f("on two lines", "keys:\n"+a+"  - {id: q,\n    sha256: "+strings.Repeat("2", 64)+"}\n", true)
	f("in blocks", "keys:\n  - id: q\n    sha256: "+strings.Repeat("2", 64)+"\n", true)
	f("in blocks of blocks", "keys:\n- id: q\n  sha256:\n  - "+strings.Repeat("2", 64)+"\n  limits:\n    rps: 3\n", true)
	f("a comment in the middle", "keys:\n- id: q\n# of today\n  sha256: "+strings.Repeat("2", 64)+"\n", false)
	f("behind an issuer", "---\njwt: {issuer: i, audience: g, jwks_url: 'https://idp'}\nkeys:\n"+a+b, true)
	f("within a text", "jwt: {issuer: i, audience: g, jwks_url: 'https://idp', tenant_claim: \"\nkeys:\n"+a+"\"}\n", false)
	f("of carriage returns", strings.ReplaceAll("keys:\n"+a+"  - id: q\n    sha256: "+strings.Repeat("2", 64)+"\n", "\n", "\r\n"), true)
	f("without an end", "keys:\n"+strings.TrimSpace(a), true)
	f("a quote over two tenants", "keys:\n  - {id: \"a\n  - b\"}\n", false)
	f("the first of lines", "keys:\n"+a+b, true)
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
}

// A tenant that is read from its text is the one that the tree says; what is not is left to the tree.
func TestReadKeyItem(t *testing.T) {
	sum := strings.Repeat("0aF9", 16)
	f := func(item string, want bool) {
		t.Helper()
		if !strings.HasSuffix(item, "\n") {
			item += "\n"
		}
		got, ok := readKeyItem(item)
		if ok != want {
			t.Errorf("%s: %v", item, ok)
		}
		if ok {
			if keys, _, err := wholly("keys:\n" + item); err != nil || len(keys.List) != 1 || !reflect.DeepEqual(keys.List[0], got) {
				t.Errorf("%s: %+v, want %+v %v", item, got, keys, err)
			}
		}
	}
	f(`  - {id: team-a, sha256: [`+sum+`, "`+strings.Repeat("1", 64)+`"], models: ["llama-*", qwen*, 'a b'], limits: {rps: 20.5, burst: 40, rpm: 600, tpm: 200000, tpm_burst: 1, tpd: 5000000, concurrency: 32}, priority: interactive, weight: 2, expires: 2027-01-01, disabled: false}`, true)
	f(`- {id: "a", sha256: '`+sum+`'}`, true)
	f(`-    {  id:   a  ,  sha256:  [  `+sum+`  ]  ,  models:  [  ]  }  `, true)
	f("  - id: a\n    sha256: "+sum+"\n    models: [x]\n    limits: {rps: 1}\n", true)
	f("  -   id: a\n      sha256: ["+sum+"]  \n", true)
	f(`- {id: 12, sha256: `+sum+`, disabled: on}`, true)
	f(`- {id: 1e5, sha256: `+sum+`, weight: 007}`, true)
	f(`- {id: True, sha256: `+sum+`, limits: {tpm: 5}}`, true)
	for _, left := range []string{
		`- {}`, `- {id: a}`, `- {sha256: ` + sum + `}`, `- {id: a, sha256: []}`, `- {id: a, sha256: ` + sum + `,}`, `- {id: a, sha256: ` + sum + ``,
		`- {id: a, id: b, sha256: ` + sum + `}`, `- {id: null, sha256: ` + sum + `}`, `- {id: ~, sha256: ` + sum + `}`, `- {id: "", sha256: ` + sum + `}`,
		`- {id: a, sha256: ` + sum + `, models: x}`, `- {id: a, sha256: ` + sum + `, models: [""]}`, `- {id: a, sha256: ` + sum + `, limits: {burst: 3}}`,
		`- {id: a, sha256: ` + sum + `, limits: {rps: 1, rps: 2}}`, `- {id: a, sha256: ` + sum + `, limits: {}}`, `- {id: a, sha256: ` + sum + `, weight: 0}`,
		`- {id: a, sha256: ` + sum[:63] + `}`, `- {id: sk-a, sha256: ` + sum + `}`, `- {id: "a\x62", sha256: ` + sum + `}`, `- {id: 'a''b', sha256: ` + sum + `}`,
		`- {id: a b, sha256: ` + sum + `}`, `- {id:a, sha256: ` + sum + `}`, `- {id: a, sha256: ` + sum + `} x`, `- {id: a, sha256: ` + sum + `, unknown: 1}`,
		`- {"id": a, sha256: ` + sum + `}`, `- {id: a, sha256: [` + sum + `,]}`, "- id: a\n  sha256:\n  - " + sum + "\n", "- id: a\n   sha256: " + sum + "\n",
		"- id: a\n  sha256: " + sum + "\n  limits:\n    rps: 1\n", "- id: a\n   b\n  sha256: " + sum + "\n", "- id: a\n sha256: " + sum + "\n",
	} {
		f(left, false)
	}
}

func BenchmarkKeyReader(b *testing.B) {
	const n = 100_000
	var text strings.Builder
	text.WriteString("keys:\n")
	for i := range n {
		fmt.Fprintf(&text, "  - {id: team-%d, sha256: [\"%064x\"], models: [\"llama-*\"], limits: {rps: 20, burst: 40}}\n", i, i)
	}
	read := func(string) ([]byte, error) { return []byte(text.String()), nil }
	b.Run("keys=100000/impl=gateway", func(b *testing.B) {
		for b.Loop() {
			if k, _, err := ReadKeys("k", read); err != nil || len(k.List) != n {
				b.Fatal(err)
			}
		}
	})
	b.Run("keys=100000/impl=tree", func(b *testing.B) {
		for b.Loop() {
			if k, _, err := wholly(text.String()); err != nil || len(k.List) != n {
				b.Fatal(err)
			}
		}
	})
}

// Of two files in turn, the second is read as its tree says.
func FuzzKeyReader(f *testing.F) {
	line := func(id string, n int, more string) string {
		return fmt.Sprintf("  - {id: %s, sha256: [\"%064x\"]%s}\n", id, n, more)
	}
	first := "keys:\n" + line("a", 1, "") + line("b", 2, ", models: [x*]")
	f.Add(first, first+line("c", 3, ", disabled: true"))
	f.Add(first, "keys:\n"+line("a", 1, ", expires: 2027-01-01")+"jwt: {issuer: i, audience: a, jwks_url: 'http://x'}\n")
	f.Add(first, "keys:\n"+line("a", 1, " # }")+"- {}\n")
	f.Add(first, "---\nkeys:\n- id: a\n  sha256: "+strings.Repeat("1", 64)+"\n  limits: {rps: 1.5}\n# b\n- id: 'b'\n  sha256:\n  - "+strings.Repeat("2", 64)+"\n")
	f.Add(first, "jwt: \"\nkeys:\n"+line("a", 1, ""))
	f.Fuzz(func(t *testing.T, before, after string) {
		var r KeyReader
		read := func(text string) func(string) ([]byte, error) {
			return func(string) ([]byte, error) { return []byte(text), nil }
		}
		_, _, _ = r.Read("k.yaml", read(before))
		got, warned, err := r.Read("k.yaml", read(after))
		want, warnings, wrong := wholly(after)
		if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(warned, warnings) || fmt.Sprint(err) != fmt.Sprint(wrong) {
			t.Errorf("got %+v %q %v, want %+v %q %v", got, warned, err, want, warnings, wrong)
		}
	})
}
