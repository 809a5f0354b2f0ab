package simulator

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
)

// The tests that compare whole answers run in a synctest bubble, where it is always 2000-01-01T00:00:00Z.
const bubbleTime = "946684800"

const noDetails = `"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},` +
	`"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}`

func usageOf(prompt, completion int) string {
	return fmt.Sprintf(`{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,%s}`, prompt, completion, prompt+completion, noDetails)
}

func TestWholeCompletions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := inMemory(t, instant())
		f := func(line, body, want string) {
			t.Helper()
			if got := s.read(s.ask(line, body)); got != want {
				t.Errorf("%s %s\n got %s\nwant %s", line, body, got, want)
			}
		}
		f("POST /v1/chat/completions", `{"model":"m","messages":[{"role":"system","content":"be kind"},{"role":"user","content":"a & b"}]}`,
			`{"id":"chatcmpl-`+firstID+`","object":"chat.completion","created":`+bubbleTime+`,"model":"sim-test",`+
				`"choices":[{"index":0,"message":{"role":"assistant","content":"echo: a & b","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],`+
				`"usage":`+usageOf(5, 4)+`,"service_tier":"default","system_fingerprint":"fp_sim-test"}`)
		f("POST /v1/completions", `{"model":"m","prompt":"one two three","max_tokens":2}`,
			`{"id":"cmpl-`+secondID+`","object":"text_completion","created":`+bubbleTime+`,"model":"sim-test",`+
				`"choices":[{"index":0,"text":"echo: one","logprobs":null,"finish_reason":"length"}],`+
				`"usage":`+usageOf(3, 2)+`,"system_fingerprint":"fp_sim-test"}`)
	})
}

// firstID and secondID are what seed 7 draws for generations 1 and 2, now and in any later version.
const (
	firstID  = "9e2fb1ae31686d3d"
	secondID = "a0478edb161b8564"
)

// TestChatEchoes: what is said in which form, and what comes back.
func TestChatEchoes(t *testing.T) {
	s := onLoopback(t, instant())
	f := func(members, want string, usage [2]int, fields ...string) {
		t.Helper()
		var got struct {
			Choices []struct {
				Message      struct{ Content string }
				FinishReason string `json:"finish_reason"`
			}
			Usage struct {
				Prompt     int `json:"prompt_tokens"`
				Completion int `json:"completion_tokens"`
				Total      int `json:"total_tokens"`
			}
		}
		body := s.read(s.ask("POST /v1/chat/completions", `{"model":"m",`+members+`}`, fields...))
		if err := json.Unmarshal([]byte(body), &got); err != nil || len(got.Choices) != 1 {
			t.Fatalf("%s: %v in %s", members, err, body)
		}
		text := got.Choices[0].Message.Content + "|" + got.Choices[0].FinishReason
		if text != want || [2]int{got.Usage.Prompt, got.Usage.Completion} != usage || got.Usage.Total != usage[0]+usage[1] {
			t.Errorf("%s\n got %s %+v\nwant %s %v", members, text, got.Usage, want, usage)
		}
	}
	f(`"messages":[{"role":"user","content":"hi"}]`, "echo: hi|stop", [2]int{1, 2})
	f(`"messages":[{"role":"user","content":""}]`, "echo: |stop", [2]int{0, 2})
	f(`"messages":[{"role":"user","content":"first"},{"role":"assistant","content":null},{"role":"tool","content":"last"}]`, "echo: last|stop", [2]int{2, 2})
	f(`"messages":[{"role":"user","content":[{"type":"text","text":"a "},{"type":"image_url"},{"type":"text","text":"b"}]}]`, "echo: a b|stop", [2]int{2, 3})
	f(`"temperature":"unread","messages":[{"role":"user","content":"hi","name":"x"}]`, "echo: hi|stop", [2]int{1, 2})
	f(`"messages":[{"role":"user","content":"a b c"}],"max_tokens":3`, "echo: a b|length", [2]int{3, 3})
	f(`"messages":[{"role":"user","content":"a b c"}],"max_tokens":4`, "echo: a b c|stop", [2]int{3, 4})
	f(`"messages":[{"role":"user","content":"a b c"}],"max_completion_tokens":1,"max_tokens":null`, "echo:|length", [2]int{3, 1})
	f(`"messages":[{"role":"user","content":"a b c"}],"max_completion_tokens":3,"max_tokens":2`, "echo: a|length", [2]int{3, 2})
	f(`"messages":[{"role":"user","content":"a b"}]`, "echo: a b token token|stop", [2]int{2, 5}, "X-Sim-Tokens: 5")
	f(`"messages":[{"role":"user","content":"a b"}]`, "echo: a|stop", [2]int{2, 2}, "X-Sim-Tokens: 2")
	f(`"messages":[{"role":"user","content":"a b"}],"max_tokens":4`, "echo: a b token|length", [2]int{2, 4}, "X-Sim-Tokens: 5")
}

func TestRefusals(t *testing.T) {
	s := onLoopback(t, instant())
	f := func(path, body, param, code string) {
		t.Helper()
		resp := s.ask("POST /v1/"+path, body)
		var got struct {
			Error struct {
				Message, Type, Code string
				Param               *string
			}
		}
		text := s.read(resp)
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatalf("%s: %v in %s", body, err, text)
		}
		e := got.Error
		gotParam := ""
		if e.Param != nil {
			gotParam = *e.Param
		}
		if resp.StatusCode != 400 || gotParam != param || e.Code != code || e.Message == "" || e.Type != "invalid_request_error" {
			t.Errorf("%s %s: %d %s, want param %q and code %q", path, body, resp.StatusCode, text, param, code)
		}
	}
	const absent, kind, value = "missing_required_parameter", "invalid_type", "invalid_value"
	for _, path := range []string{"chat/completions", "completions", "embeddings"} {
		f(path, ``, "", "invalid_json")
		f(path, `{"model":`, "", "invalid_json")
		f(path, `[]`, "model", absent)
		f(path, `{}`, "model", absent)
		f(path, `{"model":""}`, "model", absent)
		f(path, `{"model":4}`, "model", kind)
	}
	f("chat/completions", `{"model":"m"}`, "messages", absent)
	f("chat/completions", `{"model":"m","messages":"hi"}`, "messages", kind)
	f("chat/completions", `{"model":"m","messages":["hi"]}`, "messages", kind)
	f("chat/completions", `{"model":"m","messages":[]}`, "messages", value)
	f("chat/completions", `{"model":"m","messages":[null]}`, "messages[0].role", absent)
	f("chat/completions", `{"model":"m","messages":[{"role":"user"},{"role":"king"}]}`, "messages[1].role", value)
	f("chat/completions", `{"model":"m","messages":[{"role":1}]}`, "messages[0].role", kind)
	f("chat/completions", `{"model":"m","messages":[{"role":"user","content":1}]}`, "messages[0].content", kind)
	f("chat/completions", `{"model":"m","messages":[{"role":"user","content":[{"text":1}]}]}`, "messages[0].content[0].text", kind)
	f("chat/completions", `{"model":"m","max_completion_tokens":0}`, "max_completion_tokens", value)
	f("completions", `{"model":"m","max_tokens":-1}`, "max_tokens", value)
	f("completions", `{"model":"m","max_tokens":1.5}`, "max_tokens", kind)
	f("completions", `{"model":"m","max_tokens":1e99}`, "max_tokens", kind)
	f("completions", `{"model":"m","n":2}`, "n", value)
	f("completions", `{"model":"m","n":"1"}`, "n", kind)
	f("completions", `{"model":"m","stream":"yes"}`, "stream", kind)
	f("completions", `{"model":"m","stream_options":{"include_usage":true}}`, "stream_options", value)
	f("completions", `{"model":"m","stream":true,"stream_options":[]}`, "stream_options", kind)
	f("completions", `{"model":"m","stream":true,"stream_options":{"include_usage":1}}`, "stream_options.include_usage", kind)
	f("completions", `{"model":"m"}`, "prompt", absent)
	f("completions", `{"model":"m","prompt":["a","b"]}`, "prompt", value)
	f("completions", `{"model":"m","prompt":""}`, "prompt", kind)
	f("embeddings", `{"model":"m"}`, "input", absent)
	f("embeddings", `{"model":"m","input":{}}`, "input", kind)
	f("embeddings", `{"model":"m","input":[]}`, "input", value)
	f("embeddings", `{"model":"m","input":["a",""]}`, "input", kind)
	f("embeddings", `{"model":"m","input":["a",1]}`, "input", kind)
	f("embeddings", `{"model":"m","input":[`+strings.Repeat(`"a",`, 2048)+`"a"],"dimensions":1}`, "input", value)
	f("embeddings", `{"model":"m","input":[`+strings.Repeat(`"a",`, 400)+`"a"],"dimensions":3072}`, "input", value)
	f("embeddings", `{"model":"m","input":"a","dimensions":0}`, "dimensions", value)
	f("embeddings", `{"model":"m","input":"a","dimensions":3073}`, "dimensions", value)
	f("embeddings", `{"model":"m","input":"a","dimensions":"1"}`, "dimensions", kind)
	f("embeddings", `{"model":"m","input":"a","encoding_format":"hex"}`, "encoding_format", value)
	f("embeddings", `{"model":"m","input":"a","encoding_format":8}`, "encoding_format", kind)
	if got := s.Stats().Generations; got != 0 {
		t.Errorf("%d generations, want none", got)
	}
}

func TestTokenize(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		if got := tokenize(text); strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("tokenize(%q) = %q, want %q", text, got, want)
		}
	}
	f("")
	f("a", "a")
	f("one two  three\n", "one", " two", "  three", "\n")
	f("  ", "  ")
	f("0123456789abcdefgh", "0123456789abcdef", "gh")
	f("ééééééééé", "éééééééé", "é")
	f("a\xffb c", "a\xffb", " c")
}
