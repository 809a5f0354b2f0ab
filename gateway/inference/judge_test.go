package inference

import (
	"math/rand/v2"
	"strings"
	"testing"

	"aigateway/gateway/testkit"
)

// randomNested is a nested value that is as deep as it happens, in which all that can stand between tokens does somewhere.
func randomNested(r *rand.Rand, size int) []byte {
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	b, open, loose := []byte{'['}, []byte{'['}, r.IntN(3) == 0
	deep := r.IntN(4) // opens so much more often than it closes
	space := func() {
		if loose {
			b = append(b, pick("", "", " ", "\n  ", "\t", "          ")...)
		}
	}
	for first := true; len(open) > 0; {
		space()
		object := open[len(open)-1] == '{'
		if len(b) > size || len(open) > 1 && r.IntN(4+deep) == 0 {
			b = append(b, map[bool]byte{true: '}', false: ']'}[object])
			open, first = open[:len(open)-1], false
			continue
		}
		if !first {
			b = append(b, ',')
			space()
		}
		if object {
			b = append(b, pick(`"a"`, `""`, `"city\""`, `"a longer name of something, with {braces}"`)...)
			space()
			b = append(b, ':')
			space()
		}
		first = false
		switch n := r.IntN(8 + deep); {
		case n > 5 && len(open) < 520:
			c := "{["[r.IntN(2)]
			b, open, first = append(b, c), append(open, c), true
		case n > 3:
			b = append(b, pick("1", "-12.5e+3", "true", "null", "0")...)
		default:
			b = append(b, '"')
			if r.IntN(4) == 0 { // a long text without a quote, and some backslashes at its end
				b = append(append(b, strings.Repeat("t", r.IntN(600))...), strings.Repeat(`\\`, r.IntN(4)*r.IntN(40))...)
			}
			for range r.IntN(1 + r.IntN(1+r.IntN(200))) {
				b = append(b, pick("a", "b", "é", `\\`, `\"`, "}", "],", `\":`, "text ")...)
			}
			b = append(b, '"')
		}
	}
	return b
}

// TestJudge holds what reads values in blocks against what reads them byte by byte: they say the same of what is well-formed and of what is not,
// whole and in pieces.
func TestJudge(t *testing.T) {
	if !hasJudge {
		t.Skip("the processor has no blocks of that size")
	}
	defer func() { hasJudge = true }()
	values := 10_000
	if testkit.Soak {
		values = 1_000_000
	}
	r := rand.New(rand.NewPCG(9, 10))
	refused := 0
	for range values {
		body := append(append([]byte([]string{`{"x":`, `{"messages":`}[r.IntN(2)]), randomNested(r, r.IntN(1+r.IntN(4000)))...), `,"y":{"z":[1]},"model":"m"}`...)
		cut := r.IntN(len(body))
		for range r.IntN(3) {
			at := r.IntN(len(body))
			cut = min(max(0, at+r.IntN(5)-2), len(body)-1)
			body[at] = "{}[]\",:\\ \n0a.\xac\xa0\xfb"[r.IntN(16)]
		}
		var whole, pieces, plain Scanner
		hasJudge = true
		got := scan(&whole, body, 0)
		pieces.Reset()
		pieces.Scan(body[:cut])
		pieces.Scan(body[cut:])
		inPieces := pieces.End()
		hasJudge = false
		want := scan(&plain, body, 0)
		if got != want || inPieces != want {
			t.Fatalf("%q: %s, cut at %d %s, want %s", body, got, cut, inPieces, want)
		}
		if want != Accepted {
			refused++
		} else if whole.ended != plain.ended || pieces.ended != plain.ended || whole.values != plain.values || pieces.values != plain.values {
			t.Fatalf("%q: cut at %d: other values", body, cut)
		}
	}
	if refused < values/8 || refused > values*7/8 {
		t.Errorf("%d of %d values are refused", refused, values)
	}
}

func BenchmarkJudge(b *testing.B) {
	body := append(append([]byte(`{"x":`), randomNested(rand.New(rand.NewPCG(1, 2)), 100_000)...), '}')
	for _, way := range []string{"blocks", "bytes"} {
		b.Run(way, func(b *testing.B) {
			defer func(was bool) { hasJudge = was }(hasJudge)
			hasJudge = hasJudge && way == "blocks"
			b.SetBytes(int64(len(body)))
			var s Scanner
			for b.Loop() {
				if scan(&s, body, 0) != Accepted {
					b.Fatal("refused")
				}
			}
		})
	}
}
