package inference

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"aigateway/gateway/testkit"
)

// scan reads a body in pieces of that size, whole with 0.
func scan(s *Scanner, body []byte, size int) Refusal {
	s.Reset()
	if size == 0 {
		s.Scan(body)
		return s.End()
	}
	for at := 0; at < len(body); at += size {
		s.Scan(body[at:min(at+size, len(body))])
	}
	return s.End()
}

func TestScanFindsTheModel(t *testing.T) {
	f := func(body, model string) {
		t.Helper()
		for size := range 6 {
			var s Scanner
			if r := scan(&s, []byte(body), size); r != Accepted {
				t.Errorf("%s in pieces of %d: %s", body, size, r)
				continue
			}
			got, stated := s.Model()
			if string(got) != model || stated != (model != "") {
				t.Errorf("%s in pieces of %d: model %q, stated %t", body, size, got, stated)
			}
			if v, ok := s.Value(ModelMember); ok && (body[v.From] != '"' || body[v.To-1] != '"' || v.Kind != String) {
				t.Errorf("%s in pieces of %d: the model stands at %d to %d", body, size, v.From, v.To)
			}
		}
	}
	f(`{"model":"llama-8b"}`, "llama-8b")
	f(`{}`, "")
	f(" \r\n\t{ } \n", "")
	f(`{"messages":[{"role":"user","content":"\"model\":\"x\" \\\\\""}],"model":"a/b:latest" }`, "a/b:latest")
	f(`{"x":{"model":"inner","y":[{"model":2}]},"model":"outer"}`, "outer")
	f(`{"model":"a\u002fb\/c\\d\"e"}`, `a/b/c\d"e`)
	f(`{"mod\u0065l":"escaped"}`, "escaped")
	f(`{"input":[1,2,3,40000,-5, 6.5e3,7,8,9,10,11,12,13],"model":"m"}`, "m")
	f(`{"input":[[1,2],[3,4]],"x":[],"y":{},"z":[{}],"model":"m"}`, "m")
	f(`{"x":"ends with a backslash\\","model":"m"}`, "m")
	f(`{"Modell":"a","mode":"b","models":"c","model ":"d"}`, "")
	f(`{"model":"`+strings.Repeat("a", 256)+`"}`, strings.Repeat("a", 256))
	f(`{"model":"`+strings.Repeat(`\u0061`, 256)+`"}`, strings.Repeat("a", 256))
	f(`{"`+strings.Repeat("long", 100)+`":1,"model":"m"}`, "m")
}

func TestScanRefuses(t *testing.T) {
	f := func(body string, want Refusal, about Member) {
		t.Helper()
		for size := range 6 {
			var s Scanner
			if r := scan(&s, []byte(body), size); r != want || s.Culprit() != about {
				t.Errorf("%.80q in pieces of %d: %s about %q, want %s about %q", body, size, r, s.Culprit(), want, about)
			}
			if s.Complete() {
				t.Errorf("%.80q in pieces of %d: complete", body, size)
			}
		}
	}
	f("", NotObject, NoMember)
	f("  ", NotObject, NoMember)
	f("[]", NotObject, NoMember)
	f(`"model"`, NotObject, NoMember)
	f("\x1f\x8b\x08", NotObject, NoMember)
	f("\xef\xbb\xbf{}", ByteOrderMark, NoMember)
	f("\xff\xfe{\x00}\x00", ByteOrderMark, NoMember)
	f("{\x00\"\x00", Malformed, NoMember)

	f(`{"model":"a","model":"b"}`, Duplicate, ModelMember)
	f(`{"model":"a","x":{},"mod\u0065l":"b"}`, Duplicate, ModelMember)
	f(`{"model":"a","MODEL":"b"}`, Duplicate, ModelMember)
	f(`{"max_tokens":1,"max_to\u212aens":2}`, Duplicate, MaxTokensMember)
	f(`{"max_tokens":1,"max_toKens":2}`, Duplicate, MaxTokensMember)
	f("{\"max_tokens\":1,\"max_to\u212aens\":2}", Duplicate, MaxTokensMember)
	f(`{"stream":false,"ſtream":true}`, Duplicate, StreamMember)
	f(`{"stream":false,"\u017ftream":true}`, Duplicate, StreamMember)
	f(`{"n":1,"n":1`, Duplicate, NMember)
	f(`{"Model":"a"}`, OtherCase, ModelMember)
	f(`{"\u004dodel":"a"}`, OtherCase, ModelMember)

	f(`{"model":null}`, ModelNotString, ModelMember)
	f(`{"model":["a"]}`, ModelNotString, ModelMember)
	f(`{"model":7}`, ModelNotString, ModelMember)
	f(`{"model":"`+strings.Repeat("a", 257)+`"}`, ModelTooLong, ModelMember)
	f(`{"model":"`+strings.Repeat(`\u0061`, 257)+`"}`, ModelTooLong, ModelMember)
	f(`{"model":"a\nb"}`, ModelUnprintable, ModelMember)
	f(`{"model":"a`+"\x01"+`b"}`, ModelUnprintable, ModelMember)
	f(`{"model":"é"}`, ModelUnprintable, ModelMember)
	f(`{"model":"\u00e9"}`, ModelUnprintable, ModelMember)
	f(`{"model":"\x61"}`, Malformed, ModelMember)
	f(`{"temperature":0.`+strings.Repeat("0", 100)+`}`, ValueTooLong, TemperatureMember)
	f(`{"temperature":01}`, Malformed, TemperatureMember)
	f(`{"stream":tru}`, Malformed, StreamMember)
	f(`{"n":NaN}`, Malformed, NoMember)

	f(`{`, Cut, NoMember)
	f(`{"model":"a"`, Cut, NoMember)
	f(`{"model":"a`, Cut, NoMember)
	f(`{"x":"a\"}`, Cut, NoMember)
	f(`{"x":[1,2,{"a":"b"`, Cut, NoMember)
	f(`{"x":tr`, Cut, NoMember)
	f(`{}{}`, Trailing, NoMember)
	f(`{"model":"a"}x`, Trailing, NoMember)
	f(`{"x":`+strings.Repeat("[", 600), TooDeep, NoMember)
	f(`{"x":`+strings.Repeat(`{"a":`, 600), TooDeep, NoMember)

	for _, body := range []string{`{,}`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{"a" "b"}`, `{"a":1 "b":2}`, `{"a"::1}`, `{'a':1}`, `{a:1}`, `{"a":[1,]}`,
		`{"a":[,1]}`, `{"a":[1 "b"]}`, `{"a":[1}`, `{"a":{"b":1]}`, `{"a":{"b"}}`, `{"a":{"b":}}`, `{"a":{"b":1,}}`, `{"a":{,}}`, `{"a":{1:2}}`,
		`{"a":[/*"*/1]}`, `{/**/"a":1}`, `{"a":[1,2,3,4,5,6,7,8,]}`, `{"a":["b""c"]}`, `{"a":{"b":1 2}}`, `{"a":x}`, `{"a":[x]}`, `{"a":]}`, `{]`} {
		f(body, Malformed, NoMember)
	}
}

func TestScanReadsWhatDecides(t *testing.T) {
	body := `{"temperature":0,"seed":-12,"n":2,"max_tokens":1e3,"stream":true,"stream_options":{"include_usage":true},` +
		`"tools":[{"x":[1]}],"user":"u\"","prompt":null,"max_completion_tokens":12.5}`
	for size := range 9 {
		var s Scanner
		if r := scan(&s, []byte(body), size); r != Accepted {
			t.Fatalf("pieces of %d: %s", size, r)
		}
		f := func(m Member, kind Kind, text string, number float64) {
			t.Helper()
			v, ok := s.Value(m)
			if !ok || v.Kind != kind || body[v.From:v.To] != text || v.Kind == Number && v.Number != number {
				t.Errorf("pieces of %d: %s is %+v, %t", size, m, v, ok)
			}
		}
		f(TemperatureMember, Number, "0", 0)
		f(SeedMember, Number, "-12", -12)
		f(NMember, Number, "2", 2)
		f(MaxTokensMember, Number, "1e3", 1000)
		f(StreamMember, True, "true", 0)
		f(StreamOptionsMember, Object, `{"include_usage":true}`, 0)
		f(ToolsMember, Array, `[{"x":[1]}]`, 0)
		f(UserMember, String, `"u\""`, 0)
		f(PromptMember, Null, "null", 0)
		f(MaxCompletionTokensMember, Number, "12.5", 12.5)
		if _, ok := s.Value(InputMember); ok || !s.Streams() {
			t.Error("an input that is not there, or no stream")
		}
	}
}

// deciding is what encoding/json makes of the same members.
type deciding struct {
	Model               json.RawMessage `json:"model"`
	Stream              json.RawMessage `json:"stream"`
	StreamOptions       json.RawMessage `json:"stream_options"`
	MaxTokens           json.RawMessage `json:"max_tokens"`
	MaxCompletionTokens json.RawMessage `json:"max_completion_tokens"`
	MaxOutputTokens     json.RawMessage `json:"max_output_tokens"`
	Temperature         json.RawMessage `json:"temperature"`
	Seed                json.RawMessage `json:"seed"`
	N                   json.RawMessage `json:"n"`
	User                json.RawMessage `json:"user"`
	Messages            json.RawMessage `json:"messages"`
	Prompt              json.RawMessage `json:"prompt"`
	Input               json.RawMessage `json:"input"`
	Tools               json.RawMessage `json:"tools"`
}

func (d *deciding) all() [members]json.RawMessage {
	return [members]json.RawMessage{nil, d.Model, d.Stream, d.StreamOptions, d.MaxTokens, d.MaxCompletionTokens, d.MaxOutputTokens,
		d.Temperature, d.Seed, d.N, d.User, d.Messages, d.Prompt, d.Input, d.Tools}
}

// agrees says in what the scanner and encoding/json differ about a body; empty if in nothing, or if the scanner refuses with
// a right to.
func agrees(body []byte, size int) string {
	var whole, pieces Scanner
	r := scan(&whole, body, 0)
	if p := scan(&pieces, body, size); p != r || whole.ended != pieces.ended && r == Accepted {
		return fmt.Sprintf("whole: %s, in pieces of %d: %s", r, size, p)
	}
	if hasJudge {
		var plain Scanner
		hasJudge = false
		p := scan(&plain, body, 0)
		if hasJudge = true; p != r || r == Accepted && (plain.ended != whole.ended || plain.values != whole.values) || plain.Culprit() != whole.Culprit() {
			return fmt.Sprintf("%s at %d, and %s at %d without blocks", r, whole.ended, p, plain.ended)
		}
	}
	if !json.Valid(body) {
		return ""
	}
	switch r {
	case Accepted:
	case Malformed, Cut, Trailing, ByteOrderMark:
		return "refused as " + r.String() + ", but it is valid"
	case NotObject:
		if b := bytes.TrimLeft(body, " \t\r\n"); b[0] == '{' {
			return "it is an object"
		}
		return ""
	default:
		return ""
	}
	var d deciding
	if err := json.Unmarshal(body, &d); err != nil {
		return err.Error()
	}
	var exact map[string]json.RawMessage
	if err := json.Unmarshal(body, &exact); err != nil {
		return err.Error()
	}
	for m, want := range d.all() {
		v, ok := whole.Value(Member(m))
		w, _ := pieces.Value(Member(m))
		switch {
		case m == 0:
		case ok != (want != nil), !bytes.Equal(want, exact[Member(m).String()]):
			return fmt.Sprintf("%s: found %t, %q by struct, %q by map", Member(m), ok, want, exact[Member(m).String()])
		case ok && !bytes.Equal(body[v.From:v.To], want), v != w:
			return fmt.Sprintf("%s: %+v, in pieces %+v, want %q", Member(m), v, w, want)
		case ok && v.Kind == Number:
			var n float64
			if json.Unmarshal(want, &n) == nil && n != v.Number {
				return fmt.Sprintf("%s: %v, want %v", Member(m), v.Number, n)
			}
		}
	}
	var model string
	_ = json.Unmarshal(d.Model, &model)
	if got, _ := whole.Model(); string(got) != model {
		return fmt.Sprintf("model %q, want %q", got, model)
	}
	if got, _ := pieces.Model(); string(got) != model {
		return fmt.Sprintf("model %q in pieces, want %q", got, model)
	}
	return ""
}

// randomBody is a body made of what matters, sometimes broken.
func randomBody(r *rand.Rand) []byte {
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	var value func(depth int) string
	name := func() string {
		return pick(`"model"`, `"model"`, `"stream"`, `"max_tokens"`, `"n"`, `"messages"`, `"input"`, `"x"`, `"role"`, `"content"`, `"top_p"`, `"mod\u0065l"`,
			`"Model"`, `"ſeed"`, `"seed"`, `"max_to`+"\u212a"+`ens"`, `"\u212A"`, `""`, `"a\"b"`, `"temperature"`, `"prompt"`, `"us\u0065r"`, `"response_format"`, `"\ud83d\ude00"`)
	}
	value = func(depth int) string {
		if depth > 4 {
			return "1"
		}
		switch r.IntN(9) {
		case 0, 1:
			return pick(`"a"`, `""`, `"model"`, `"\\"`, `"\""`, `"a longer text, with \n lines \\\" and so on"`, `"\u0061"`, `"{[\""`, `"`+strings.Repeat("é", r.IntN(30))+`"`)
		case 2:
			return pick("1", "0", "-1.5", "1e3", "0.0", "true", "false", "null", "1E+2", "123456789012345678901234567890")
		case 3, 4:
			var items []string
			for range r.IntN(4) {
				items = append(items, value(depth+1))
			}
			return "[" + strings.Join(items, pick(",", ", ", " ,")) + "]"
		case 5:
			var items []string
			for range r.IntN(40) {
				items = append(items, fmt.Sprint(r.IntN(200000)-100))
			}
			return "[" + strings.Join(items, pick(",", ", ")) + "]"
		case 6, 7:
			var items []string
			for range r.IntN(4) {
				items = append(items, name()+pick(":", ": ")+value(depth+1))
			}
			return "{" + strings.Join(items, ",") + "}"
		}
		return `"llama-8b"`
	}
	var items []string
	if r.IntN(3) == 0 { // a long one
		var messages []string
		for range r.IntN(80) {
			messages = append(messages, value(r.IntN(4)))
		}
		items = append(items, pick(`"messages"`, `"x"`, `"tools"`)+":"+pick("[", `{"x":[`, `[[`)+strings.Join(messages, pick(",", ", ", ",\n  ")))
		items[0] += pick("]", "]}", "]]", "]")
	}
	for range r.IntN(6) {
		n := name()
		v := value(0)
		if n == `"model"` && r.IntN(4) > 0 {
			v = pick(`"m"`, `"a\/b"`, `"\u0061b"`, `"x\ty"`, `"`+strings.Repeat("m", 250+r.IntN(10))+`"`)
		}
		items = append(items, pick("", " ")+n+pick(":", " :", ": ")+v)
	}
	body := []byte(pick("", " ", "\n") + "{" + strings.Join(items, pick(",", ", ")) + "}" + pick("", "\n"))
	for r.IntN(3) == 0 { // broken
		at := r.IntN(len(body))
		switch r.IntN(3) {
		case 0:
			body = append(body[:at:at], body[min(at+1+r.IntN(3), len(body)):]...)
		case 1:
			body[at] = `{}[]",:\ 0a`[r.IntN(11)]
		default:
			body = bytes.Join([][]byte{body[:at], body[at:]}, []byte(pick(`"`, `,`, `\`, `}`, `]`, `{`, ` `, `model`)))
		}
		if len(body) == 0 {
			return []byte("{}")
		}
	}
	return body
}

// TestScanAgrees tries as many bodies as there is time for: a million in a test of endurance.
func TestScanAgrees(t *testing.T) {
	bodies := 20_000
	if testkit.Soak {
		bodies = 1_000_000
	}
	r := rand.New(rand.NewPCG(1, 2))
	var valid, accepted int
	for range bodies {
		body := randomBody(r)
		if diff := agrees(body, 1+r.IntN(12)*r.IntN(40)); diff != "" {
			t.Fatalf("%q: %s", body, diff)
		}
		if json.Valid(body) {
			valid++
		}
		var s Scanner
		if scan(&s, body, 0) == Accepted {
			accepted++
		}
	}
	t.Logf("%d bodies: %d valid, %d accepted", bodies, valid, accepted)
	if valid < bodies/4 || accepted < bodies/10 || accepted > bodies*9/10 {
		t.Errorf("%d bodies, of which %d are valid and %d accepted, say little", bodies, valid, accepted)
	}
}

// FuzzScan: where encoding/json takes a body, the scanner sees the same or refuses; and pieces make no difference.
func FuzzScan(f *testing.F) {
	for _, seed := range []string{`{"model":"a"}`, `{"messages":[{"role":"user","content":"\"\\"}],"max_tokens":1,"model":"a\u002fb"}`,
		`{"input":[1,2,3,4,5,6,7,8,9,10],"n":1e2}`, `{"Model":"a","ſtream":true}`, "\ufeff{}", `{"a":{"b":[]},"stream":false} `} {
		f.Add([]byte(seed), uint8(3))
	}
	f.Fuzz(func(t *testing.T, body []byte, size uint8) {
		if diff := agrees(body, 1+int(size)); diff != "" {
			t.Errorf("%q: %s", body, diff)
		}
	})
}

func TestScanAllocatesNothing(t *testing.T) {
	body := []byte(`{"messages":[{"role":"user","content":"` + strings.Repeat(`word \"`, 1000) + `"}],"max_tokens":12,"temperature":0.5,"mod\u0065l":"a\/b"}`)
	var s Scanner
	for _, size := range []int{0, 7, 1000} {
		if n := testing.AllocsPerRun(100, func() {
			if scan(&s, body, size) != Accepted {
				t.Error("refused")
			}
		}); n != 0 {
			t.Errorf("pieces of %d: %v allocations", size, n)
		}
	}
}

// TestStringEnd holds the ways to look for a quote against the definition, over all that blocks and pieces could get wrong.
func TestStringEnd(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 40_000 {
		text := make([]byte, r.IntN(300+r.IntN(700)))
		escapes := 1 + r.IntN(40)*(1+r.IntN(10))
		for i := range text {
			text[i] = 'a'
			if r.IntN(escapes) == 0 {
				text[i] = `\\\\\\"`[r.IntN(7)]
			}
		}
		from := r.IntN(len(text) + 1)
		if at := from + 64*r.IntN(12); r.IntN(3) == 0 && at < len(text) { // a quote where a block begins, behind backslashes
			for i := range text[:at] {
				text[i] = 'a'
			}
			for i := max(from, at-r.IntN(4)); i < at; i++ {
				text[i] = '\\'
			}
			text[at] = '"'
		}
		want := -1
		for i := from; i < len(text) && want < 0; i++ {
			if text[i] == '\\' {
				i++
			} else if text[i] == '"' {
				want = i + 1
			}
		}
		if got := stringEnd(text, from); got != want {
			t.Fatalf("%q from %d: %d, want %d", text, from, got, want)
		}
	}
}

// TestNumbersInBlocks holds the ways to go over numbers against each other.
func TestNumbersInBlocks(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	plain := func(text []byte) int {
		for i, c := range text {
			comma, space := i > 0 && text[i-1] == ',', i > 0 && text[i-1] == ' '
			if ok := '0' <= c && c <= '9' || c == ',' && !comma && !space || c == ' ' && comma; !ok {
				return i
			}
		}
		return len(text)
	}
	for range 20_000 {
		text := []byte("7")
		for range r.IntN(60) {
			text = append(text, []string{",", ",", ", ", "12", "5", "900"}[r.IntN(6)]...)
		}
		if r.IntN(2) == 0 {
			text = append(text, bytes.Repeat([]byte(",12"), r.IntN(60))...)
		}
		if r.IntN(3) == 0 {
			text[r.IntN(len(text))] = "-,. :/\xac\xa0\xb05"[r.IntN(10)]
		}
		if n := len(text) &^ 31; n > 0 && hasBlocks {
			if blocks, eights := numbersInBlocks(&text[0], n), numbersByEights(text); blocks != eights&^31 {
				t.Fatalf("%q: %d in blocks, %d by eights", text, blocks, eights)
			}
		}
		if n := len(text) &^ 63; n > 0 && hasJudge {
			if wide, want := numbersInWideBlocks(&text[0], n), plain(text[:n]); wide != want {
				t.Fatalf("%q: %d in wide blocks, want %d", text, wide, want)
			}
		}
	}
}
