package inference

import (
	"reflect"
	"strings"
	"testing"
)

func TestDoubtOfRequest(t *testing.T) {
	f := func(d Dialect, when When, body string, want Doubt) {
		t.Helper()
		var c Canon
		if r := c.Read([]byte(body)); r != Accepted {
			t.Fatalf("%s: %s", body, r)
		}
		if got := d.Doubt(&c, when); got != want {
			t.Errorf("%s %s: %s, want %s", d, body, got, want)
		}
	}
	for _, d := range []Dialect{Chat, Completions, Messages} {
		f(d, Deterministic, `{}`, Sampled)
		f(d, Deterministic, `{"temperature":0}`, NoDoubt)
		f(d, Deterministic, `{"temperature":-0.00e7}`, NoDoubt)
		f(d, Deterministic, `{"temperature":0.0,"n":1}`, NoDoubt)
		f(d, Deterministic, `{"temperature":1e-9}`, Sampled)
		f(d, Deterministic, `{"temperature":"0"}`, Sampled)
		f(d, Deterministic, `{"temperature":null,"seed":null}`, Sampled)
		f(d, Deterministic, `{"seed":0}`, NoDoubt)
		f(d, Deterministic, `{"seed":7,"temperature":1.5,"n":null}`, NoDoubt)
		f(d, Deterministic, `{"seed":7,"n":2}`, Choices)
		f(d, Deterministic, `{"seed":7,"n":1.0}`, Choices)
		f(d, Deterministic, `{"seed":7,"N":2}`, Misspelled)
		f(d, Deterministic, `{"x":{"seed":7}}`, Sampled)
		f(d, Always, `{"n":2}`, NoDoubt)
		f(d, OnRequest, `{"seed":7}`, Unasked)
	}
	for _, d := range []Dialect{Embeddings, Rerank, Score} {
		f(d, Deterministic, `{}`, NoDoubt)
		f(d, OnRequest, `{}`, Unasked)
	}
	for _, d := range []Dialect{Audio, Realtime, Other, Tokenize, CountTokens, Models} {
		f(d, Always, `{"temperature":0}`, OtherDialect)
	}
	f(Responses, Always, `{}`, Stateful)
	f(Responses, Always, `{"store":true}`, Stateful)
	f(Responses, Always, `{"store":false}`, NoDoubt)
	f(Responses, Deterministic, `{"store":false}`, Sampled)
	f(Responses, Deterministic, `{"store":false,"temperature":0,"previous_response_id":null,"background":false}`, NoDoubt)
	f(Responses, Always, `{"store":false,"previous_response_id":"r"}`, Stateful)
	f(Responses, Always, `{"store":false,"conversation":{"id":"c"}}`, Stateful)
	f(Responses, Always, `{"store":false,"background":true}`, Stateful)
	f(Responses, Always, `{"store":false,"Background":true}`, Stateful)
}

// An answer is whole if skipValue says so, and has the parts that partsOf finds.
func TestStrictParts(t *testing.T) {
	f := func(answer string) {
		t.Helper()
		b := []byte(answer)
		end, _, refusal := skipValue(b, 0)
		p, at, ok := strictParts(b, 0)
		if ok != (refusal == Accepted) || ok && at != end {
			t.Errorf("%s: ends at %d, %v, not at %d, %v", answer, at, ok, end, refusal)
		}
		if ok && !reflect.DeepEqual(p, partsOf(b[:end])) {
			t.Errorf("%s: other parts", answer)
		}
	}
	whole := `{ "type" : "message","error":null , "usage":{"a":[1, {"b":2}]},"choices":[{"x":"}"},[]],"type":"other","data":-1.5e3}`
	f("{}")
	f("{ }")
	f(whole + "x")
	for i := 2; i <= len(whole); i++ { // behind the brace, which has been seen
		f(whole[:i])
		for _, c := range `{}[],:" x0\\` {
			f(whole[:i-1] + string(c) + whole[i:])
			f(whole[:i] + string(c) + whole[i:])
		}
	}
}

func TestReadAnswer(t *testing.T) {
	f := func(d Dialect, answer string, want Doubt, in, out int64) {
		t.Helper()
		r := d.ReadAnswer([]byte(answer))
		if r.Doubt != want || r.Usage.Input != in || r.Usage.Output != out {
			t.Errorf("%s %s: %s, %d in, %d out, want %s, %d, %d", d, answer, r.Doubt, r.Usage.Input, r.Usage.Output, want, in, out)
		}
	}
	const chat = `{"choices":[{"index":0,"message":{"role":"assistant","content":"x","tool_calls":[]},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":5}}`
	f(Chat, chat, NoDoubt, 3, 5)
	f(Chat, chat+" \n", NoDoubt, 3, 5)
	f(Chat, chat[:len(chat)-1], NotWhole, 0, 0)
	f(Chat, chat+"x", NotWhole, 0, 0)
	f(Chat, ``, OtherAnswer, 0, 0)
	f(Chat, `[]`, OtherAnswer, 0, 0)
	f(Chat, `{}`, Unfinished, 0, 0)
	f(Chat, `{"error":{"message":"x"}}`, Failing, 0, 0)
	f(Chat, `{"object":"error","message":"x"}`, Failing, 0, 0)
	f(Chat, `{"choices":[{"finish_reason":null}]}`, Unfinished, 0, 0)
	f(Chat, `{"choices":[{"finish_reason":"abort"}]}`, Unfinished, 0, 0)
	f(Chat, `{"choices":[{"finish_reason":"stop"},{"finish_reason":"error"}]}`, Unfinished, 0, 0)
	f(Chat, `{"choices":[{"finish_reason":"content_filter"}]}`, Unfinished, 0, 0)
	f(Chat, `{"choices":[{"finish_reason":"stop"},{"finish_reason":null}]}`, Unfinished, 0, 0)
	f(Chat, `{"choices":[{"index":1,"finish_reason":"stop"},{"index":0,"finish_reason":"stop"}]}`, NoDoubt, 0, 0)
	f(Completions, `{"choices":[{"text":"x","finish_reason":"length"}]}`, NoDoubt, 0, 0)
	f(Messages, `{"type":"message","content":[{"type":"text"}],"stop_reason":"end_turn","usage":{"input_tokens":2,"cache_read_input_tokens":3,"output_tokens":4}}`, NoDoubt, 5, 4)
	f(Messages, `{"type":"error","error":{}}`, Failing, 0, 0)
	f(Messages, `{"type":"message","stop_reason":null}`, Unfinished, 0, 0)
	f(Messages, `{"type":"message","stop_reason":"refusal"}`, Unfinished, 0, 0)
	f(Responses, `{"status":"completed","error":null,"output":[{"type":"message"}],"usage":{"input_tokens":2,"output_tokens":4}}`, NoDoubt, 2, 4)
	f(Responses, `{"status":"incomplete","output":[]}`, Unfinished, 0, 0)
	f(Responses, `{"status":"in_progress"}`, Unfinished, 0, 0)
	f(Embeddings, `{"data":[{"embedding":[1]}],"usage":{"prompt_tokens":9}}`, NoDoubt, 9, 0)
	f(Embeddings, `{"data":[]}`, Unfinished, 0, 0)
	f(Rerank, `{"results":[{"index":0}]}`, NoDoubt, 0, 0)
	f(Score, `{"data":[{"score":0}]}`, NoDoubt, 0, 0)
}

func TestReadEvents(t *testing.T) {
	f := func(d Dialect, stream string, want Doubt, in, out int64) {
		t.Helper()
		for _, end := range []string{"\n", "\r\n", "\r"} {
			s := strings.ReplaceAll(stream, "\n", end)
			r := d.ReadStream([]byte(s))
			if r.Doubt != want || r.Usage.Input != in || r.Usage.Output != out {
				t.Errorf("%s %q: %s, %d in, %d out, want %s, %d, %d", d, s, r.Doubt, r.Usage.Input, r.Usage.Output, want, in, out)
			}
		}
	}
	const words, stop, use, done = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":null}]}\n\n", "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
		"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":5}}\n\n", "data: [DONE]\n\n"
	f(Chat, words+stop+use+done, NoDoubt, 3, 5)
	f(Chat, ": ping\n\n"+words+"event: x\nid: 7\n"+words+stop+done[:len(done)-1], NoDoubt, 0, 0)
	f(Chat, words+stop+use, NotWhole, 3, 5)
	f(Chat, words+done, Unfinished, 0, 0)
	f(Chat, words+stop+done+words, OtherAnswer, 0, 0)
	f(Chat, words+"data: {\"error\":{\"message\":\"x\"}}\n\n"+stop+done, Failing, 0, 0)
	f(Chat, words+"data: oops\n\n"+stop+done, OtherAnswer, 0, 0)
	f(Chat, words+"data: {\ndata: }\n\n"+stop+done, OtherAnswer, 0, 0)
	f(Chat, words+"data: {\"choices\":[{\"finish_reason\":\"abort\"}]}\n\n"+done, Unfinished, 0, 0)
	const second = "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"b\"}}]}\n\n"
	f(Chat, words+second+stop+done, Unfinished, 0, 0)
	f(Chat, words+second+stop+"data: {\"choices\":[{\"index\":1,\"finish_reason\":\"stop\"}]}\n\n"+words+done, NoDoubt, 0, 0)
	f(Chat, words+"event: error\ndata: {\"message\":\"x\"}\n\n"+stop+done, Failing, 0, 0)
	f(Chat, words+"event:error\ndata: {\"message\":\"x\"}\n\n"+stop+done, Failing, 0, 0)
	f(Chat, "\ufeff"+words+stop+use+done, NoDoubt, 3, 5)
	f(Chat, "\ufeffdata: {\"error\":{\"message\":\"x\"}}\n\n"+words+stop+done, Failing, 0, 0)
	f(Chat, words+"\ufeff"+stop+done, Unfinished, 0, 0) // in the middle it is a part of the name, as for clients
	f(Chat, "", NotWhole, 0, 0)
	const begin, delta, last, end = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":4,\"output_tokens\":1}}}\n\n", "data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"x\"}}\n\n",
		"data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"max_tokens\"},\"usage\":{\"output_tokens\":9}}\n\n", "data: {\"type\":\"message_stop\"}\n\n"
	f(Messages, begin+delta+last+end, NoDoubt, 4, 9)
	f(Messages, begin+delta+end, Unfinished, 4, 1)
	f(Messages, begin+delta+last, NotWhole, 4, 9)
	f(Messages, begin+"data: {\"type\":\"error\",\"error\":{}}\n\n"+last+end, Failing, 4, 9)
	const created, completed = "data: {\"type\":\"response.created\",\"response\":{\"status\":\"in_progress\"}}\n\n", "data: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\",\"usage\":{\"input_tokens\":1,\"output_tokens\":2}}}\n\n"
	f(Responses, created+completed, NoDoubt, 1, 2)
	f(Responses, created, NotWhole, 0, 0)
	f(Responses, created+"data: {\"type\":\"response.incomplete\",\"response\":{\"status\":\"incomplete\"}}\n\n", Unfinished, 0, 0)
	f(Responses, created+"data: {\"type\":\"response.failed\",\"response\":{\"status\":\"failed\"}}\n\n", Failing, 0, 0)
}

func TestReadAnswerSeesCalls(t *testing.T) {
	f := func(d Dialect, events bool, answer string, want bool) {
		t.Helper()
		if got := readAs(d, []byte(answer), events).Calls; got != want {
			t.Errorf("%s %s: %t", d, answer, got)
		}
	}
	f(Chat, false, `{"choices":[{"message":{"content":"x","tool_calls":null},"finish_reason":"stop"}]}`, false)
	f(Chat, false, `{"choices":[{"message":{"tool_calls":[{"id":"1"}]},"finish_reason":"stop"}]}`, true)
	f(Chat, false, `{"choices":[{"message":{"function_call":{"name":"f"}},"finish_reason":"stop"}]}`, true)
	f(Chat, false, `{"choices":[{"message":{},"finish_reason":"tool_calls"}]}`, true)
	f(Chat, true, "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0}]}}]}\n\n", true)
	f(Chat, true, "data: {\"choices\":[{\"delta\":{\"content\":\"tool_calls\"}}]}\n\n", false)
	f(Messages, false, `{"content":[{"type":"text"},{"type":"tool_use"}],"stop_reason":"end_turn"}`, true)
	f(Messages, true, "data: {\"type\":\"content_block_start\",\"content_block\":{\"type\":\"server_tool_use\"}}\n\n", true)
	f(Messages, true, "data: {\"type\":\"content_block_start\",\"content_block\":{\"type\":\"text\"}}\n\n", false)
	f(Responses, false, `{"status":"completed","output":[{"type":"function_call"}]}`, true)
	f(Responses, false, `{"status":"completed","output":[{"type":"reasoning"},{"type":"message"}]}`, false)
	f(Responses, true, "data: {\"type\":\"response.output_item.added\",\"item\":{\"type\":\"web_search_call\"}}\n\n", true)
}

func FuzzReadAnswer(f *testing.F) {
	f.Add([]byte("data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"), uint8(Chat), true)
	f.Add([]byte(`{"status":"completed","output":[{"type":"message"}]}`), uint8(Responses), false)
	f.Fuzz(func(t *testing.T, answer []byte, dialect uint8, events bool) {
		d := Dialect(dialect % uint8(dialects))
		r := readAs(d, answer, events)
		if r.Doubt != NoDoubt {
			return
		}
		// A part of what is whole is not.
		if cut := readAs(d, answer[:len(answer)/2], events); !events && cut.Doubt == NoDoubt {
			t.Fatalf("half of %q is whole", answer)
		}
	})
}

func BenchmarkReadAnswer(b *testing.B) {
	whole := []byte(`{"id":"c","choices":[{"index":0,"message":{"role":"assistant","content":"` + strings.Repeat("word ", 400) + `"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":99}}`)
	stream := []byte(strings.Repeat("data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"word\"},\"finish_reason\":null}]}\n\n", 100) +
		"data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")
	for name, answer := range map[string][]byte{"whole": whole, "stream": stream} {
		b.Run("answer="+name, func(b *testing.B) {
			b.SetBytes(int64(len(answer)))
			b.ReportAllocs()
			for b.Loop() {
				if r := readAs(Chat, answer, name == "stream"); r.Doubt != NoDoubt {
					b.Fatal(r.Doubt)
				}
			}
		})
	}
}

// readAs reads an answer as what it is.
func readAs(d Dialect, answer []byte, events bool) Reading {
	if events {
		return d.ReadStream(answer)
	}
	return d.ReadAnswer(answer)
}
