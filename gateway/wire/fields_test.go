package wire

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func TestCutField(t *testing.T) {
	f := func(block, name, value, rest string, want Violation) {
		t.Helper()
		n, v, r, got := cutField([]byte(block))
		if got != want || string(n) != name || string(v) != value || string(r) != rest {
			t.Errorf("cutField(%q) = %q, %q, %q, %v; want %q, %q, %q, %v", block, n, v, r, got, name, value, rest, want)
		}
		if len(name) == 0 {
			return
		}
		if n, v, r := cutKept([]byte(block)); string(n) != name || string(v) != value || string(r) != rest {
			t.Errorf("cutKept(%q) = %q, %q, %q; want %q, %q, %q", block, n, v, r, name, value, rest)
		}
	}
	f("", "", "", "", None)
	f("\r\n", "", "", "", None)
	f("\r\nrest", "", "", "rest", None)
	f("A: b\r\n", "A", "b", "", None)
	f("A:b\r\n\r\n", "A", "b", "\r\n", None)
	f("A: \t b c \t \r\nB: d\r\n", "A", "b c", "B: d\r\n", None)
	f("A:\r\n", "A", "", "", None)
	f("A: \t\r\n", "A", "", "", None)
	f("A::\r\n", "A", ":", "", None)
	f("!#$%&'*+-.^_`|~09azAZ: x\r\n", "!#$%&'*+-.^_`|~09azAZ", "x", "", None)
	f("A: \xff\x80\xc3\xa9\r\n", "A", "\xff\x80\xc3\xa9", "", None)
	f("A: a\tb\r\n", "A", "a\tb", "", None)

	// no end of the line
	f("A: b", "", "", "", BadFraming)
	f("A: b\r", "", "", "", BadFraming)

	// line feeds: RFC 9112 §2.2
	f("A: b\n", "", "", "", BareLF)
	f("\n", "", "", "", BareLF)
	f("\nA: b\r\n", "", "", "", BareLF)
	f("A: b\nC: d\r\n", "", "", "", BareLF)

	// folding: RFC 9112 §5.2
	f(" A: b\r\n", "", "", "", ObsFold)
	f("\tb\r\n", "", "", "", ObsFold)
	f(" \r\n", "", "", "", ObsFold)

	// names: RFC 9112 §5.1
	f("A : b\r\n", "", "", "", BadName)
	f("A\t: b\r\n", "", "", "", BadName)
	f("A b: c\r\n", "", "", "", BadName)
	f(": b\r\n", "", "", "", BadName)
	f("A\r\n", "", "", "", BadName)
	f("A\x00: b\r\n", "", "", "", BadName)
	f("\rA: b\r\n", "", "", "", BadName)
	f("\r\r\n", "", "", "", BadName)
	for _, c := range []byte("\"(),/;<=>?@[\\]{}\x7f\x80\xff\x0b") {
		f("A"+string([]byte{c})+"B: c\r\n", "", "", "", BadName)
	}

	// values: RFC 9110 §5.5
	f("A: b\rc\r\n", "", "", "", BadValue)
	f("A: b\r\r\n", "", "", "", BadValue)
	f("A: \r\r\n", "", "", "", BadValue)
	f("A: b\x00\r\n", "", "", "", BadValue)
	f("A: b\x7fc\r\n", "", "", "", BadValue)
	f("A: \x0bb\r\n", "", "", "", BadValue)
	f("A: b\x0c\r\n", "", "", "", BadValue)
}

func TestValidValue(t *testing.T) {
	slow := func(v []byte) bool {
		for _, c := range v {
			if c != '\t' && c < ' ' || c == 0x7f {
				return false
			}
		}
		return true
	}
	// Every byte at every place, among quiet and loud neighbours.
	for length := range 25 {
		for place := range length {
			for c := range 256 {
				for _, filler := range []byte{' ', 'x', '~', '\t', 0x80, 0xff} {
					v := bytes.Repeat([]byte{filler}, length)
					v[place] = byte(c)
					if got := validValue(v); got != slow(v) {
						t.Fatalf("validValue(%q) = %v", v, got)
					}
				}
			}
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 200_000 {
		v := make([]byte, random.IntN(40))
		for i := range v {
			v[i] = " \t\x1f\x20\x21\x7e\x7f\x80\xa0\xff\x00\x01ab"[random.IntN(14)]
		}
		if got := validValue(v); got != slow(v) {
			t.Fatalf("validValue(%q) = %v", v, got)
		}
	}
}

func TestParseLength(t *testing.T) {
	f := func(v string, want int64, ok bool) {
		t.Helper()
		if got, is := parseLength([]byte(v)); is != ok || ok && got != want {
			t.Errorf("parseLength(%q) = %d, %v", v, got, is)
		}
	}
	f("0", 0, true)
	f("7", 7, true)
	f("00012", 12, true)
	f("999999999999999999", 999999999999999999, true)
	for _, bad := range []string{
		"", " 1", "1 ", "+1", "-1", "0x1", "1_0", "1,1", "1, 1", "1e3", "1.0", "١", "1\x00", ";",
		"1000000000000000000", "9223372036854775808", "18446744073709551617", strings.Repeat("0", 19),
	} {
		f(bad, 0, false)
	}
}

func TestIs(t *testing.T) {
	f := func(name, lower string, want bool) {
		t.Helper()
		if len(name) != len(lower) {
			t.Fatalf("%q and %q differ in length", name, lower)
		}
		if got := is([]byte(name), lower); got != want {
			t.Errorf("is(%q, %q) = %v", name, lower, got)
		}
	}
	f("Host", "host", true)
	f("hOST", "host", true)
	f("Content-Length", "content-length", true)
	f("Content_Length", "content-length", false)
	f("HTTP2-Settings", "http2-settings", true)
	// Setting bit 5 must not make a letter, digit or hyphen of another character that a name or a value may hold.
	for c := range 256 {
		b := byte(c)
		if !tchar[b] && !validBytes([]byte{b}) {
			continue
		}
		for _, l := range []byte("abcdefghijklmnopqrstuvwxyz0123456789-") {
			f(string([]byte{b}), string([]byte{l}), bytes.EqualFold([]byte{b}, []byte{l}) && b < 0x80)
		}
	}
}

func TestConnectionNominates(t *testing.T) {
	// The fields of both policies, with the lines that are left.
	f := func(block, kept string, closes bool) {
		t.Helper()
		block += "\r\n"
		var q RequestHead
		if v := q.Scan([]byte("GET"), []byte("/"), []byte("HTTP/1.1"), []byte("Host: a\r\n"+block)); v != None {
			t.Fatalf("%q: %v", block, v)
		}
		if got := string(q.AppendKept(nil)); got != kept || q.Close != closes {
			t.Errorf("request %q keeps %q, close %v; want %q, %v", block, got, q.Close, kept, closes)
		}
		var r ResponseHead
		if v := r.Scan([]byte("HTTP/1.1 200 OK\r\n" + block)); v != None {
			t.Fatalf("%q: %v", block, v)
		}
		if got := string(r.AppendKept(nil)); got != kept || r.Close != closes {
			t.Errorf("response %q keeps %q, close %v; want %q, %v", block, got, r.Close, kept, closes)
		}
	}
	f("", "", false)
	f("Connection: close\r\nA: 1\r\n", "A: 1\r\n", true)
	f("A: 1\r\nConnection: CLOSE\r\n", "A: 1\r\n", true)
	f("connection: keep-alive\r\nA: 1\r\n", "A: 1\r\n", false)
	f("Connection: keep-alive, close\r\n", "", true)
	f("Connection: closed\r\nA: 1\r\n", "A: 1\r\n", false)
	f("Connection:\r\nA: 1\r\n", "A: 1\r\n", false)
	f("Connection: ,\t,, ,\r\nA: 1\r\n", "A: 1\r\n", false)

	f("A: 1\r\nConnection: A\r\nB: 2\r\n", "B: 2\r\n", false)
	f("Connection: a\r\nA: 1\r\nB: 2\r\na: 3\r\n", "B: 2\r\n", false)
	f("A: 1\r\nB: 2\r\nC: 3\r\nConnection: B\r\nD: 4\r\n", "A: 1\r\nC: 3\r\nD: 4\r\n", false)
	f("A: 1\r\nB: 2\r\nC: 3\r\nConnection: a, C\r\n", "B: 2\r\n", false)
	f("A: 1\r\nB: 2\r\nConnection: A\r\nConnection: \tB\t, close\r\n", "", true)
	f("A: 1\r\nConnection:,A,,\r\nAA: 2\r\n", "AA: 2\r\n", false)
	f("A: 1\r\nConnection: A B\r\n", "A: 1\r\n", false) // one token that is none
	f("A: 1\r\nConnection: \"A\"\r\n", "A: 1\r\n", false)
	f("A: 1\r\nConnection: A;q=1\r\n", "A: 1\r\n", false)
	f("Cookie: 1\r\nConnection: cookie, nobody\r\n", "", false)

	// What the framing says, Connection cannot take away.
	var q RequestHead
	block := "Host: a\r\nContent-Length: 3\r\nX-Forwarded-For: 1.2.3.4\r\nConnection: Host, Content-Length, X-Forwarded-For, Connection\r\n\r\n"
	if v := q.Scan([]byte("POST"), []byte("/"), []byte("HTTP/1.1"), []byte(block)); v != None || q.ContentLength != 3 || string(q.Host) != "a" || len(q.ForwardedFor) != 1 {
		t.Errorf("%v, length %d, host %q, for %q", v, q.ContentLength, q.Host, q.ForwardedFor)
	}
}

// A head within its limit must not cost more than its bytes: names times lines would be millions of steps.
func TestConnectionNominatesManyCheaply(t *testing.T) {
	steps := func(names, lines int) time.Duration {
		block := []byte("Host: a\r\nConnection: " + strings.Repeat("b,", names) + "\r\n" + strings.Repeat("a:\r\n", lines) + "\r\n")
		var h RequestHead
		best := time.Hour
		for range 5 {
			start := time.Now()
			h.Scan([]byte("GET"), []byte("/"), []byte("HTTP/1.1"), block)
			best = min(best, time.Since(start))
		}
		return best
	}
	many, few := steps(4000, 2000), steps(1, 4000)
	t.Logf("16 KB with 4,000 names in Connection: %v; with one: %v", many, few)
	if many > 40*few {
		t.Errorf("a head of 16 KB with 4,000 names in Connection takes %v, one without %v", many, few)
	}
}

func TestField(t *testing.T) {
	block := "Host: a\r\nA: 1\r\nConnection: gone\r\nGone: x\r\nB:  2 \r\na: 3\r\nEmpty:\r\n\r\n"
	var h RequestHead
	if v := h.Scan([]byte("GET"), []byte("/"), []byte("HTTP/1.1"), []byte(block)); v != None {
		t.Fatal(v)
	}
	f := func(name, want string, ok bool) {
		t.Helper()
		if got, is := h.Field(name); is != ok || string(got) != want {
			t.Errorf("Field(%q) = %q, %v", name, got, is)
		}
	}
	f("a", "1", true)
	f("b", "2", true)
	f("empty", "", true)
	f("gone", "", false)
	f("host", "", false)
	f("connection", "", false)
	f("c", "", false)
}

func TestViolationNamesItself(t *testing.T) {
	seen := map[string]Violation{}
	for v := None; int(v) < len(violations); v++ {
		if other, ok := seen[v.String()]; ok {
			t.Errorf("%d and %d have the same text %q", v, other, v)
		}
		seen[v.String()] = v
		if v != None && (v.Error() == "" || v.Error() != fmt.Sprint(v)) {
			t.Errorf("violation %d says %q", v, v.Error())
		}
	}
}
