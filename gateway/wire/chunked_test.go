package wire

import (
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// decode feeds the pieces to a decoder, as they would come from a connection. end is what follows the body.
func decode(pieces ...string) (data, end string, c Chunked, v Violation) {
	var whole strings.Builder
	defer func() { data = whole.String() }()
	for i, p := range pieces {
		for src := []byte(p); len(src) > 0; {
			piece, used, v := c.Next(src)
			whole.Write(piece)
			if v != None {
				return "", "", c, v
			}
			src = src[used:]
			if c.Done() {
				return "", string(src) + strings.Join(pieces[i+1:], ""), c, None
			}
			if used == 0 {
				panic("the decoder stands still")
			}
		}
	}
	return "", "", c, None
}

func TestChunked(t *testing.T) {
	f := func(body, data, end string) {
		t.Helper()
		for _, pieces := range [][]string{{body}, each(body)} {
			got, rest, c, v := decode(pieces...)
			if v != None || got != data || rest != end || !c.Done() {
				t.Errorf("%q: %q, then %q, done %v, %v; want %q, then %q", pieces, got, rest, c.Done(), v, data, end)
			}
		}
	}
	f("0\r\n\r\n", "", "")
	f("5\r\nhello\r\n0\r\n\r\n", "hello", "")
	f("5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\n", "hello", "GET / HTTP/1.1\r\n")
	f("1\r\n\r\r\n2\r\n\r\n\r\n0\r\n\r\n\r\n", "\r\r\n", "\r\n")
	f("A\r\n0123456789\r\na\r\nabcdefghij\r\n000\r\n\r\n", "0123456789abcdefghij", "")
	f("000000000000005\r\nhello\r\n0\r\n\r\n", "hello", "")
	f("5;name=value;x=\"y\"\r\nhello\r\n0;last\r\n\r\n", "hello", "")
	f("5 \t\r\nhello\r\n0  \r\n\r\n", "hello", "") // padded, as some servers do
	f("5;\r\nhello\r\n0\r\n\r\n", "hello", "")
	f("0\r\nX: y\r\nContent-Length: 9\r\n\r\nrest", "", "rest")
	f("0\r\nX: y\r\n folded\r\n\r\n", "", "")
}

func TestChunkedRefuses(t *testing.T) {
	f := func(body string) {
		t.Helper()
		for _, pieces := range [][]string{{body}, each(body)} {
			got, _, c, v := decode(pieces...)
			if v != BadFraming || c.Done() {
				t.Errorf("%q: %q, done %v, %v", pieces, got, c.Done(), v)
				continue
			}
			// An error stays one: no byte behind it is data, or the end.
			if data, _, v := c.Next([]byte("\n0\r\n\r\n")); v != BadFraming || len(data) > 0 || c.Done() {
				t.Errorf("%q: after the refusal %q, done %v, %v", pieces, data, c.Done(), v)
			}
		}
	}
	// sizes
	for _, size := range []string{"", " 5", "\t5", "+5", "-5", "0x5", "5h", "5_0", "g", ";", "5,", "5.", "\x005", "5\x00", "٥", "0000000000000005", "8000000000000000", "ffffffffffffffffff"} {
		f(size + "\r\nhello\r\n0\r\n\r\n")
	}
	// line ends
	f("5\nhello\r\n0\r\n\r\n")
	f("5\rhello\r\n0\r\n\r\n")
	f("5\r\rhello\r\n0\r\n\r\n")
	f("5\r\nhelloX0\r\n\r\n")
	f("2\r\nabX0\r\n\r\n")
	f("2\r\nabXX0\r\n\r\n")
	f("2\r\nab\n0\r\n\r\n")
	f("2\r\nab\rX0\r\n\r\n")
	f("2\r\nabc\r\n0\r\n\r\n")
	f("2\r\nab0\r\n\r\n")
	f("2\r\nab\r\n\r\n0\r\n\r\n")
	f("5;a\nhello\r\n0\r\n\r\n")
	f("5;a\rb\r\nhello\r\n0\r\n\r\n")
	f("5;\x00\r\nhello\r\n0\r\n\r\n")
	f("5;\x7f\r\nhello\r\n0\r\n\r\n")
	// the end
	f("0\n\r\n")
	f("0\r\n\n")
	f("0\r\n\rX")
	f("0\r\nX: y\n\r\n")
	f("0\r\nX: y\rZ\r\n\r\n")
	f("0\r\nX: \x00\r\n\r\n")
}

func TestChunkedBudgets(t *testing.T) {
	f := func(body string, want Violation) {
		t.Helper()
		if _, _, c, v := decode(body); v != want || c.Done() != (want == None) {
			t.Errorf("%.40q… of %d bytes: done %v, %v; want %v", body, len(body), c.Done(), v, want)
		}
	}
	ext := func(n int) string { return strings.Repeat("e", n) }
	// A line.
	f("1;"+ext(maxChunkLine-1)+"\r\nx\r\n0\r\n\r\n", None)
	f("1;"+ext(maxChunkLine)+"\r\nx\r\n0\r\n\r\n", BadFraming)
	f("1"+strings.Repeat(" ", maxChunkLine+1)+"\r\nx\r\n0\r\n\r\n", BadFraming)
	f("1\r\nx\r\n0;"+ext(maxChunkLine)+"\r\n\r\n", BadFraming)
	// Lines that the data does not pay for, together.
	line := "1;" + ext(1000) + "\r\nx\r\n"
	most := maxChunkOverhead / (1001 - chunkCredit - 2)
	f(strings.Repeat(line, most)+"0\r\n\r\n", None)
	f(strings.Repeat(line, most+1)+"0\r\n\r\n", BadFraming)
	f(strings.Repeat(line, most)+"400\r\n"+ext(1024)+"\r\n"+line+"0\r\n\r\n", None)
	f(strings.Repeat(line, most)+"0;"+ext(2000)+"\r\n\r\n", BadFraming)
	// Lines that it pays for, for ever: padded to a width, signed, with a name of each event.
	for _, chunk := range []string{
		"5       \r\nhello\r\n",
		"1;" + ext(chunkCredit) + "\r\nx\r\n",
		"40;chunk-signature=" + ext(64) + "\r\n" + ext(64) + "\r\n",
		"800;" + ext(4000) + "\r\n" + ext(2048) + "\r\n",
	} {
		f(strings.Repeat(chunk, 20_000)+"0\r\n\r\n", None)
	}
	// The trailers have a bound of their own.
	f(strings.Repeat(line, most)+"0\r\nX: "+ext(maxTrailerBytes-3)+"\r\n\r\n", None)
	f("0\r\nX: "+ext(maxTrailerBytes-3)+"\r\n\r\n", None)
	f("0\r\nX: "+ext(maxTrailerBytes)+"\r\n\r\n", BadFraming)
	f("0\r\n"+strings.Repeat("X: y\r\n", 1000)+"\r\n", None)
	f("0\r\n"+strings.Repeat("X: y\r\n", 4000)+"\r\n", BadFraming)
	// A long body in small chunks is not overhead.
	f(strings.Repeat("1\r\nx\r\n", 100_000)+"0\r\n\r\n", None)
	// The huge size is not believed, nor allocated.
	if data, _, c, v := decode("7fffffffffffff\r\nabc"); v != None || data != "abc" || c.Done() {
		t.Errorf("%q, %v", data, v)
	}
}

// encode writes data in random chunks, with extensions and trailers.
func encode(random *rand.Rand, data string) string {
	var b strings.Builder
	for len(data) > 0 {
		n := 1 + random.IntN(min(len(data), 40))
		size := strconv.FormatInt(int64(n), 16)
		if random.IntN(2) == 0 {
			size = strings.ToUpper(size)
		}
		b.WriteString(strings.Repeat("0", random.IntN(3)) + size)
		b.WriteString([]string{"", "", ";a", " ", ";a=\"b;\t\""}[random.IntN(5)] + "\r\n" + data[:n] + "\r\n")
		data = data[n:]
	}
	b.WriteString([]string{"0\r\n\r\n", "00\r\n\r\n", "0;x\r\nA: b\r\nC: d\r\n\r\n"}[random.IntN(3)])
	return b.String()
}

// TestChunkedSplits: a body decodes to the same data wherever its bytes are cut.
func TestChunkedSplits(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		want := make([]byte, random.IntN(120))
		for i := range want {
			want[i] = "\r\n0;:ab\x00\xff"[random.IntN(9)]
		}
		body := encode(random, string(want))
		f := func(pieces []string) {
			t.Helper()
			data, end, c, v := decode(append(pieces, "next")...)
			if v != None || data != string(want) || end != "next" || !c.Done() {
				t.Fatalf("%q: %q, then %q, done %v, %v", pieces, data, end, c.Done(), v)
			}
		}
		f(each(body))
		for i := range len(body) {
			f(cut(body, i))
			f(cut(body, random.IntN(len(body)), i, random.IntN(len(body))))
		}
		// No proper part of it is a whole body.
		for i := range len(body) {
			if _, _, c, v := decode(body[:i]); v != None || c.Done() {
				t.Fatalf("%q: done %v, %v", body[:i], c.Done(), v)
			}
		}
	}
}

func TestAppendChunkSize(t *testing.T) {
	for _, n := range []int{0, 1, 9, 10, 15, 16, 255, 256, 65535, 65536, 1 << 40, 1<<63 - 1} {
		if got, want := string(AppendChunkSize([]byte("x"), n)), "x"+strconv.FormatInt(int64(n), 16)+"\r\n"; got != want {
			t.Errorf("%d: %q", n, got)
		}
	}
	body := AppendChunkSize(nil, 3)
	body = append(body, "abc\r\n"+LastChunk...)
	if data, _, c, v := decode(string(body)); data != "abc" || !c.Done() || v != None {
		t.Errorf("%q: %q, %v", body, data, v)
	}
}

var (
	sizeLine    = regexp.MustCompile(`^([0-9a-fA-F]{1,15})(?:[; \t][\t -~\x80-\xff]*)?$`)
	trailerLine = regexp.MustCompile(`^[\t -~\x80-\xff]*$`)
)

// decodeByLines is a decoder of the same language, written differently: whole lines, and regular expressions
// over Latin-1. more tells that the end is missing.
func decodeByLines(body string) (data, end string, more, ok bool) {
	for {
		line, rest, found := strings.Cut(body, "\r\n")
		if !found {
			return data, "", true, true
		}
		m := sizeLine.FindStringSubmatch(latin1(line))
		if m == nil {
			return data, "", false, false
		}
		n, err := strconv.ParseInt(m[1], 16, 64)
		if err != nil {
			return data, "", false, false
		}
		body = rest
		if n == 0 {
			break
		}
		if int64(len(body)) < n+2 {
			return data, "", true, true
		}
		data += body[:n]
		if body[n:n+2] != "\r\n" {
			return data, "", false, false
		}
		body = body[n+2:]
	}
	for {
		line, rest, found := strings.Cut(body, "\r\n")
		if !found {
			return data, "", true, true
		}
		if !trailerLine.MatchString(latin1(line)) {
			return data, "", false, false
		}
		if body = rest; line == "" {
			return data, body, false, true
		}
	}
}

func latin1(s string) string {
	r := make([]rune, len(s))
	for i := range len(s) {
		r[i] = rune(s[i])
	}
	return string(r)
}

func FuzzChunked(f *testing.F) {
	for _, body := range []string{
		"0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\nGET", "5;x=y\r\nhello\r\n0\r\nA: b\r\n\r\n", "5 \r\nhello\r\n0\r\n\r\n", "abX0\r\n\r\n", "2\r\nabX0\r\n\r\n",
		"0x3\r\nabc\r\n0\r\n\r\n", "+3\r\nabc\r\n0\r\n\r\n", "8000000000000000\r\n", "3\nabc\n0\n\n", "0\r\n\rX", "0\r\nA\rB\r\n\r\n", "ffffffffffffffff1\r\nx", "5\r\nhel",
	} {
		f.Add([]byte(body), uint64(1))
	}
	f.Fuzz(func(t *testing.T, body []byte, seed uint64) {
		if len(body) > maxChunkLine/2 {
			return // budgets have their own test
		}
		data, end, more, ok := decodeByLines(string(body))
		random := rand.New(rand.NewPCG(seed, 7))
		for range 4 {
			pieces := cut(string(body), random.IntN(len(body)+1), random.IntN(len(body)+1), random.IntN(len(body)+1))
			got, rest, c, v := decode(pieces...)
			switch {
			case !ok:
				if v != BadFraming || c.Done() {
					t.Fatalf("%q: accepted: %q, done %v", pieces, got, c.Done())
				}
			case more:
				if c.Done() || v == None && !strings.HasPrefix(got, data) {
					t.Fatalf("%q: done %v, %q; want %q and more to come", pieces, c.Done(), got, data)
				}
			default:
				if v != None || !c.Done() || got != data || rest != end {
					t.Fatalf("%q: %q, then %q, done %v, %v; want %q, then %q", pieces, got, rest, c.Done(), v, data, end)
				}
			}
		}
	})
}
