package inference

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestUsageFilter(t *testing.T) {
	chunk := `data: {"choices":[{"delta":{"content":"a"}}],"usage":null}` + "\n\n"
	usage := `data: {"id":"x","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}` + "\n\n"
	long := `data: {"choices":[{"delta":{"content":"` + strings.Repeat("x", maxFiltered) + `"}}]}` + "\n\n"
	crlf := func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }
	f := func(name, in, want string) {
		t.Helper()
		rnd := rand.New(rand.NewPCG(1, 1))
		for try := range 30 {
			var filter UsageFilter
			var out []byte
			rest := []byte(in)
			for len(rest) > 0 {
				n := len(rest)
				if try > 0 {
					n = min(1+rnd.IntN(1+try*try*10), n)
				}
				out = filter.Pass(out, rest[:n])
				rest = rest[n:]
			}
			if out = filter.End(out); string(out) != want {
				t.Fatalf("%s: %.300q, want %.300q", name, out, want)
			}
		}
	}
	f("nothing", "", "")
	f("a stream", chunk+chunk+usage+"data: [DONE]\n\n", chunk+chunk+"data: [DONE]\n\n")
	f("with CRLF", crlf(chunk+chunk+usage+"data: [DONE]\n\n"), crlf(chunk+chunk+"data: [DONE]\n\n"))
	f("comments stay", ": ping\n\n"+chunk+usage, ": ping\n\n"+chunk)
	f("with fields", "event: x\n"+usage+chunk, chunk)
	f("a long one passes", long+usage+long+chunk, long+long+chunk)
	f("a long one with CRLF", crlf(long+usage+long+chunk), crlf(long+long+chunk))
	f("cut", chunk+`data: {"choices":[`, chunk+`data: {"choices":[`)
	f("cut in the usage", chunk+usage[:len(usage)-10], chunk+usage[:len(usage)-10])
	f("without the last line feed", chunk+usage[:len(usage)-1], chunk)
	f("the same words in a text", `data: {"choices":[{"delta":{"content":"\"usage\":{}"}}]}`+"\n\n", `data: {"choices":[{"delta":{"content":"\"usage\":{}"}}]}`+"\n\n")
	f("usage beside choices", `data: {"choices":[{}],"usage":{"a":1}}`+"\n\n", `data: {"choices":[{}],"usage":{"a":1}}`+"\n\n")
	f("no usage", `data: {"choices":[],"prompt_filter_results":[],"usage":null}`+"\n\n", `data: {"choices":[],"prompt_filter_results":[],"usage":null}`+"\n\n")
}

// An event goes on as soon as it is whole, in the same piece.
func TestUsageFilterDelaysNothing(t *testing.T) {
	var f UsageFilter
	out := f.Pass(nil, []byte("data: 1\n\ndata: 2"))
	if string(out) != "data: 1\n\n" {
		t.Errorf("%q", out)
	}
	if out = f.Pass(nil, []byte("\n\n")); string(out) != "data: 2\n\n" {
		t.Errorf("%q", out)
	}
}

func TestInject(t *testing.T) {
	f := func(body, want string) {
		t.Helper()
		var s Scanner
		s.Reset()
		if s.Scan([]byte(body)); s.End() != Accepted {
			t.Fatal(body)
		}
		in := s.Inject(nil, held(body))
		got := body
		if in.With != nil {
			got = body[:in.From] + string(in.With) + body[in.To:]
		}
		if got != want || !json.Valid([]byte(got)) {
			t.Errorf("%s\n got %s\nwant %s", body, got, want)
		}
	}
	const all = `"stream_options":{"include_usage":true}`
	f(`{"stream":true,"model":"m"}`, `{"stream":true,`+all+`,"model":"m"}`)
	f(`{"stream" : true}`, `{"stream" : true,`+all+`}`)
	f(`{"stream":false}`, `{"stream":false}`)
	// What pydantic takes for true stays as it came.
	for _, yes := range []string{`1`, `1.0`, `"true"`, `"True"`, `"1"`, `"yes"`, `"ON"`, `"y"`, `"t"`} {
		f(`{"stream":`+yes+` }`, `{"stream":`+yes+`,`+all+` }`)
	}
	for _, no := range []string{`0`, `2`, `"false"`, `"off"`, `"0"`, `"no"`, `""`, `"tru"`, `"trues"`, `null`, `[]`, `{}`, `[true]`} {
		f(`{"stream":`+no+`}`, `{"stream":`+no+`}`)
	}
	f(`{"model":"m"}`, `{"model":"m"}`)
	f(`{"stream":true,"stream_options":null}`, `{"stream":true,`+all+`}`)
	f(`{"stream":true,"stream_options":{}}`, `{"stream":true,`+all+`}`)
	f(`{"stream_options":{"include_usage":true},"stream":true}`, `{"stream_options":{"include_usage":true},"stream":true}`)
	f(`{"stream_options":{"include_usage": false, "a":[1] },"stream":true}`, `{"stream_options":{"a":[1],"include_usage":true},"stream":true}`)
	// Who says it in several ways, of which readers take the last, does not get by.
	f(`{"stream":true,"stream_options":{"include_usage":true,"include_usage":false}}`, `{"stream":true,"stream_options":{"include_usage":true}}`)
	f(`{"stream":true,"stream_options":{"include\u005fusage":false}}`, `{"stream":true,"stream_options":{"include\u005fusage":false,"include_usage":true}}`)
	f(`{"stream":true,"stream_options":{"include_usage":true,"Include_Usage":false}}`, `{"stream":true,"stream_options":{"Include_Usage":false,"include_usage":true}}`)
	f(`{"stream_options":"x","stream":true}`, `{"stream_options":"x","stream":true}`)
}

// A held is a body of which so much is held.
type held string

func (h held) HeldPart(from, to int64) []byte {
	if to > int64(len(h)) {
		return nil
	}
	return []byte(h[from:to])
}

// What is not held, or may still come, stays as it is.
func TestInjectIntoWhatIsNotHeld(t *testing.T) {
	f := func(body string) {
		t.Helper()
		var s Scanner
		s.Reset()
		s.Scan([]byte(body))
		if in := s.Inject(nil, held(body[:8])); in.With != nil {
			t.Errorf("%s: %d to %d, %s", body, in.From, in.To, in.With)
		}
	}
	f(`{"stream":true,"prompt":"a`)
	f(`{"stream":"true"}`)
	f(`{"stream":true,"stream_options":{}}`)
}

func FuzzUsageFilter(f *testing.F) {
	f.Add([]byte("data: {\"choices\":[],\"usage\":{}}\n\ndata: 1\r\n\r\n"), uint8(3))
	f.Fuzz(func(t *testing.T, in []byte, n uint8) {
		var whole, pieces UsageFilter
		want := whole.End(whole.Pass(nil, in))
		var got []byte
		for rest := in; len(rest) > 0; {
			k := min(int(n)+1, len(rest))
			got = pieces.Pass(got, rest[:k])
			rest = rest[k:]
		}
		if got = pieces.End(got); string(got) != string(want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}
