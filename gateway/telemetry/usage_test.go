package telemetry

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// found is what a reader has found in an answer.
type found struct {
	model         string
	input, output int64
	known         bool
}

// readAnswer reads an answer in pieces of a size.
func readAnswer(body string, size int) (f found) {
	r := new(answerReader)
	r.reset()
	for len(body) > 0 {
		n := min(size, len(body))
		r.pass([]byte(body[:n]))
		body = body[n:]
	}
	f.model = string(r.model[:r.modelLen])
	f.input, f.output, f.known = r.usage.tokens()
	return f
}

// sizes are those of pieces.
var sizes = []int{1, 2, 3, 7, 8, 9, 64, 1 << 20}

func expectAnswer(t *testing.T, body string, want found) {
	t.Helper()
	for _, size := range sizes {
		if got := readAnswer(body, size); got != want {
			t.Errorf("in pieces of %d: %+v, want %+v: %.200s", size, got, want, body)
		}
	}
}

// Of a document, model and usage are those at the top level, wherever they stand.
func TestUsageOfDocuments(t *testing.T) {
	f := func(body, model string, input, output int64) {
		t.Helper()
		expectAnswer(t, body, found{model, input, output, true})
	}
	none := func(body, model string) {
		t.Helper()
		expectAnswer(t, body, found{model: model})
	}
	f(`{"choices":[],"model":"a","usage":{"prompt_tokens":3,"completion_tokens":40,"total_tokens":43}}`, "a", 3, 40)
	f("\ufeff\r\n { \"usage\" : {\"input_tokens\" : 3 , \"input_tokens_details\":{\"cached_tokens\":1}, \"output_tokens\" : 5 } , \"model\" : \"a\" }", "a", 3, 5)
	f(`{"object":"list","data":[{"embedding":[0.25,-1e-9]}],"usage":{"prompt_tokens":8,"total_tokens":8}}`, "", 8, 0)
	f(`{"usage":{"prompt_tokens":0,"completion_tokens":2}}`, "", 0, 2)
	f(`{"usage":null,"usage":{"prompt_tokens":1,"completion_tokens":2}}`, "", 1, 2)
	f(`{"usage":{"prompt_tokens":1,"completion_tokens":2},"usage":null}`, "", 1, 2)
	// as vLLM and llama.cpp have them: much behind it, the model behind the choices
	f(`{"id":"c","object":"chat.completion","model":"tiny","choices":[{"index":0,"message":{"role":"assistant","content":"a"}}],`+
		`"usage":{"prompt_tokens":15,"total_tokens":19,"completion_tokens":4,"prompt_tokens_details":null},"prompt_logprobs":null,"metrics":null}`, "tiny", 15, 4)
	f(`{"choices":[{"message":{"content":"x"}}],"created":1,"model":"tiny","usage":{"completion_tokens":4,"prompt_tokens":15,"total_tokens":19,`+
		`"prompt_tokens_details":{"cached_tokens":14}},"id":"c","timings":{"cache_n":14,"prompt_ms":0.553}}`, "tiny", 15, 4)
	// Messages: what came from the cache is input too
	f(`{"type":"message","content":[{"type":"text","text":"x"}],"model":"tiny","usage":{"cache_read_input_tokens":14,"cache_creation_input_tokens":2,"input_tokens":1,"output_tokens":4}}`, "tiny", 17, 4)
	f(`{"usage":{"prompt_tokens":20,"cache_read_input_tokens":14,"completion_tokens":4}}`, "", 20, 4) // where it is a part of the prompt
	// before and behind what is long
	long := strings.Repeat(`long \"and\" {quoted} [text] \\`, 3000)
	f(`{"model":"a","usage":{"prompt_tokens":3,"completion_tokens":40},"choices":[{"message":{"content":"`+long+`"}}]}`, "a", 3, 40)
	f(`{"choices":[{"message":{"content":"`+long+`"}}],"model":"a","usage":{"prompt_tokens":3,"completion_tokens":40},"x":"`+long[:9300]+`"}`, "a", 3, 40)

	// nowhere else
	none(`{"model":"a","choices":[{"usage":{"prompt_tokens":3}}]}`, "a")
	none(`{"model":"a","message":{"usage":{"input_tokens":3}},"response":{"usage":{"input_tokens":3}}}`, "a")
	none(`{"choices":[{"message":{"content":{"model":"b"},"tool_calls":[{"function":{"arguments":{"usage":{"prompt_tokens":3},"model":"b"}}}]}}]}`, "")
	none(`{"choices":[{"message":{"tool_calls":[{"function":{"arguments":"{\"usage\":{\"prompt_tokens\":3},\"model\":\"b\"}"}}]}}],"model":"a"}`, "a")
	none(`{"content":"\\\",\"usage\":{\"prompt_tokens\":9}","model":"\\\\"}`, `\\\\`)
	none(`{"usage":{"details":{"prompt_tokens":7},"list":[{"prompt_tokens":7}]}}`, "")
	none(`{"usage":[{"prompt_tokens":7}]}`, "")
	none(`[{"usage":{"prompt_tokens":7}}]`, "")
	none(`{"a":"usage","b":{"prompt_tokens":7}}`, "")
	none(`{"usage_":{"prompt_tokens":7},"usag":{"prompt_tokens":7},"`+strings.Repeat("u", 40)+`":{"prompt_tokens":7}}`, "")

	// what is no count
	none(`{"usage":{"prompt_tokens":99999999999999999999}}`, "")
	none(`{"usage":{"prompt_tokens":-1,"completion_tokens":1.5}}`, "")
	none(`{"usage":{"prompt_tokens":"7","completion_tokens":null,"input_tokens":[7],"output_tokens":{"a":7}}}`, "")
	none(`{"usage":{"prompt_tokens":1`, "")

	// and no model
	none(`{"model":"a`, "a"[:1])
	none(`{"model":null}`, "")
	none(`{"model":{"model":"b"}}`, "")
	none(`{"model":"`+strings.Repeat("m", maxModel+1)+`"}`, "")
	for _, body := range []string{"", " ", "usage", "\x1f\x8b\x08{", "}", `{]"model":"a"`, `{"a":1}{"model":"a"}`} {
		none(body, "")
	}
}

// Of an event stream, they are those of the events.
func TestUsageOfStreams(t *testing.T) {
	f := func(body, model string, input, output int64) {
		t.Helper()
		expectAnswer(t, body, found{model, input, output, input+output > 0})
		expectAnswer(t, strings.ReplaceAll(body, "\n", "\r\n"), found{model, input, output, input+output > 0})
	}
	chunk := `data: {"id":"c","model":"tiny","choices":[{"index":0,"delta":{"content":"con"},"finish_reason":null}]}` + "\n\n"
	last := `data: {"id":"c","model":"tiny","choices":[],"usage":{"prompt_tokens":15,"total_tokens":19,"completion_tokens":4},"system_fingerprint":"f"}` + "\n\n"
	f(chunk+chunk+last+"data: [DONE]\n\n", "tiny", 15, 4)
	f(strings.ReplaceAll(chunk, "]}\n", `],"usage":null}`+"\n")+last+strings.ReplaceAll(chunk, "]}\n", `],"usage":null}`+"\n"), "tiny", 15, 4)
	f(": ping\n\n"+chunk+last+strings.ReplaceAll(last, "4}", "9}"), "tiny", 15, 9) // those in between, with continuous_usage_stats
	f(chunk+strings.ReplaceAll(last, "\n\n", ""), "tiny", 15, 4)                   // without an end
	f(chunk+`data: {"choices":[{"usage":{"prompt_tokens":1},"delta":{"tool_calls":[{"function":{"arguments":"\"usage\":{\"prompt_tokens\":1}"}}]}}]}`+"\n\n", "tiny", 0, 0)
	f(`data: {"model":"","choices":[],"prompt_filter_results":[]}`+"\n\n"+chunk, "tiny", 0, 0)
	f(strings.ReplaceAll(chunk, "data: ", "datum: ")+strings.ReplaceAll(last, "data: ", "event: "), "", 0, 0)

	start := "event: message_start\n" + `data: {"type":"message_start","message":{"id":"m","content":[],"model":"tiny","usage":{"cache_read_input_tokens":14,"input_tokens":1,"output_tokens":0}}}` + "\n\n"
	delta := "event: content_block_delta\n" + `data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"V"}}` + "\n\n"
	end := "event: message_delta\n" + `data: {"type":"message_delta","delta":{"stop_reason":"max_tokens"},"usage":{"output_tokens":4}}` + "\n\nevent: message_stop\n" + `data: {"type":"message_stop"}` + "\n\n"
	f(start+delta+delta+end, "tiny", 15, 4)
	f(start+strings.Repeat(delta, 500)+strings.ReplaceAll(end, `{"output`, `{"input_tokens":2,"output`), "tiny", 16, 4)
	f(start, "tiny", 15, 0)

	f("event: response.created\n"+`data: {"type":"response.created","response":{"id":"r","model":"tiny","usage":null}}`+"\n\n"+
		`data: {"type":"response.completed","response":{"id":"r","output":[{"content":[{"text":"`+strings.Repeat("x", 10_000)+`","usage":{"input_tokens":1}}]}],`+
		`"usage":{"input_tokens":15,"input_tokens_details":{"cached_tokens":0,"input_tokens_per_turn":[]},"output_tokens":4},"metadata":{"x":"`+
		strings.Repeat("y", 10_000)+`"}},"sequence_number":9}`+"\n\n", "tiny", 15, 4)
	f("event: response.in_progress\n"+`data: {"response":{"id":"r"}}`+"\n\n", "", 0, 0)
}

// Whatever the document, what is found is what a parser finds, and it does not matter how it is cut.
func FuzzUsage(f *testing.F) {
	f.Add([]byte(`{"model":"a","usage":{"prompt_tokens":3,"completion_tokens":40}}`), 3)
	f.Add([]byte(`{"a":[{"model":"b\\"}],"model":"a","usage":{"x":[],"prompt_tokens":3,"y":{"completion_tokens":40}}}`), 1)
	f.Add([]byte("data: {\"model\":\"a\"}\n\ndata: {\"message\":{\"usage\":{\"input_tokens\":40}}}\n\n"), 5)
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		got := readAnswer(string(b), max(1, size))
		if whole := readAnswer(string(b), 1<<30); got != whole {
			t.Fatalf("%q: %+v in pieces, %+v as a whole", b, got, whole)
		}
		if got.input < 0 || got.output < 0 || got.input > 3*maxTokens || got.output > maxTokens {
			t.Fatalf("%q: %+v", b, got)
		}
		var members map[string]json.RawMessage
		if json.Unmarshal(b, &members) != nil || strings.Contains(string(b), `\`) || strings.Count(string(b), `usage`) > 1 || strings.Count(string(b), `"prompt_tokens"`) > 1 {
			return // members named twice or with escapes are anybody's guess
		}
		var counts map[string]json.RawMessage
		want := int64(0)
		if json.Unmarshal(members["usage"], &counts) == nil {
			if json.Unmarshal(counts["prompt_tokens"], &want) != nil || want < 0 || want > maxTokens {
				want = 0
			}
		}
		if len(counts) == 1 && got.input != want && counts["prompt_tokens"] != nil {
			t.Fatalf("%q: %+v, want %d", b, got, want)
		}
	})
}

// Documents as a model may write them, with the words in all places, are read as a parser reads them.
func TestUsageOfRandomDocuments(t *testing.T) {
	words := []string{"usage", "model", "prompt_tokens", "completion_tokens", "message", "response", "a\"b", "\\", "{", "}]", "é", "x"}
	var value func(depth int) any
	value = func(depth int) any {
		switch n := rand.IntN(10); {
		case n < 2 && depth > 0:
			list := []any{}
			for range rand.IntN(4) {
				list = append(list, value(depth-1))
			}
			return list
		case n < 6 && depth > 0:
			object := map[string]any{}
			for range rand.IntN(6) {
				object[words[rand.IntN(len(words))]] = value(depth - 1)
			}
			return object
		case n < 8:
			return rand.IntN(1000)
		}
		return words[rand.IntN(len(words))]
	}
	for range 20_000 {
		top := map[string]any{"model": "m", "x": value(4)}
		want := found{model: "m"}
		if rand.IntN(2) == 0 {
			n := int64(rand.IntN(1000))
			top["usage"] = map[string]any{"prompt_tokens": n, "a": value(3), "z": value(2)}
			want.input, want.known = n, true
		}
		for _, word := range words[6:] {
			top[word] = value(3)
		}
		b, err := json.Marshal(top)
		if err != nil {
			t.Fatal(err)
		}
		if got := readAnswer(string(b), 1+rand.IntN(40)); got != want {
			t.Fatalf("%+v, want %+v: %s", got, want, b)
		}
	}
}

// BenchmarkPass is what looking costs an answer of 20 events, and long documents of the kinds there are.
func BenchmarkPass(b *testing.B) {
	g := New(testOptions()).GenAI()
	event := `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":"hi"}}]%s}` + "\n\n"
	last := []byte(`data: {"model":"m","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5}}` + "\n\ndata: [DONE]\n\n")
	for name, usage := range map[string]string{"usage=none": "", "usage=null": `,"usage":null`} {
		piece := fmt.Appendf(nil, event, usage)
		b.Run("events/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var gen Generation
				var e Events
				g.Begin(&gen, Chat, 0, "")
				for range 20 {
					e.Pass(piece)
					g.Pass(&gen, piece)
				}
				g.Pass(&gen, last)
				g.End(&gen, &Ended{How: WholeStream, At: 3, First: 1})
			}
		})
	}
	prose := strings.Repeat(`Some words of an answer, with \"quotes\" here and there,\nand lines. `, 4)
	var floats []string
	for range 1024 {
		floats = append(floats, fmt.Sprint(rand.Float32()-0.5))
	}
	f := func(name, head, middle, end string, times int) {
		body := []byte(head + strings.Repeat(middle, times) + end)
		b.Run("document/"+name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				var gen Generation
				g.Begin(&gen, Chat, 0, "")
				for at := 0; at < len(body); at += 16 << 10 {
					g.Pass(&gen, body[at:min(at+16<<10, len(body))])
				}
				g.End(&gen, &Ended{How: Whole, At: 3, First: 1})
			}
		})
	}
	usage := `,"model":"m","usage":{"prompt_tokens":7,"completion_tokens":5}}`
	f("prose", `{"choices":[{"message":{"content":"`, prose, `"}}]`+usage, 1000)
	f("floats", `{"data":[`, `{"embedding":[`+strings.Join(floats, ",")+`]},`, `{}]`+usage, 30)
	f("base64", `{"data":[`, `{"embedding":"`+strings.Repeat("QUJD", 1024)+`"},`, `{}]`+usage, 60)
	f("logprobs", `{"choices":[{"logprobs":{"content":[`, `{"token":"hi","logprob":-0.0123,"bytes":[104,105],"top_logprobs":[{"token":"hi","logprob":-0.0123,"bytes":[104,105]}]},`, `{}]}}]`+usage, 2000)
	f("arguments", `{"choices":[{"message":{"tool_calls":[{"function":{"arguments":"`, `{\"name\":\"value\",\"n\":1},`, `"}}]}}]`+usage, 8000)
}
