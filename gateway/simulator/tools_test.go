package simulator

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
)

// The tools of a request, as each dialect describes them.
const (
	chatTools     = `"tools":[{"type":"function","function":{"name":"weather","parameters":{"type":"object","required":["city"]}}},{"type":"function","function":{"name":"time"}}]`
	responseTools = `"tools":[{"type":"web_search"},{"type":"function","name":"weather","parameters":{"required":["city"]}}]`
	messageTools  = `"tools":[{"name":"weather","input_schema":{"type":"object","required":["city"]}}]`
)

// TestCalls: the answers byte for byte, whole and as a stream.
func TestCalls(t *testing.T) {
	f := func(path, body, want string) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			s := inMemory(t, instant())
			if got := s.read(s.ask("POST "+path, body)); !strings.Contains(got, want) {
				t.Errorf("%s %s\n got %s\nwant %s", path, body, got, want)
			}
		})
	}
	said := `"messages":[{"role":"user","content":"Ulm"}],`
	f("/v1/chat/completions", `{"model":"m",`+said+chatTools+`}`,
		`"choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"call_`+firstID+
			`","type":"function","function":{"name":"weather","arguments":"{\"city\":\"Ulm\"}"}}],"refusal":null,"annotations":[]},`+
			`"logprobs":null,"finish_reason":"tool_calls"}],"usage":`+usageOf(1, 1))
	stream := func(delta, end string) string {
		return `"choices":[{"index":0,"delta":` + delta + `,"logprobs":null,"finish_reason":` + end + `}]`
	}
	chunk := `data: {"id":"chatcmpl-` + firstID + `","object":"chat.completion.chunk","created":` + bubbleTime + `,"model":"sim-test",`
	tail := `,"service_tier":"default","system_fingerprint":"fp_sim-test"}` + "\n\n"
	f("/v1/chat/completions", `{"model":"m","stream":true,`+said+chatTools+`,"tool_choice":{"type":"function","function":{"name":"time"}}}`,
		chunk+stream(`{"role":"assistant","tool_calls":[{"index":0,"id":"call_`+firstID+`","type":"function","function":{"name":"time","arguments":""}}]}`, `null`)+tail+
			chunk+stream(`{"tool_calls":[{"index":0,"function":{"arguments":"{\"text\":\"Ulm\"}"}}]}`, `null`)+tail+
			chunk+stream(`{}`, `"tool_calls"`)+tail+"data: [DONE]\n\n")
	f("/v1/messages", `{"model":"m","max_tokens":9,`+said+messageTools+`}`,
		`{"content":[{"id":"toolu_`+firstID+`","input":{"city":"Ulm"},"name":"weather","type":"tool_use"}],"id":"msg_`+firstID+
			`","model":"sim-test","role":"assistant","stop_reason":"tool_use"`)
	f("/v1/messages", `{"model":"m","max_tokens":9,"stream":true,`+said+messageTools+`}`,
		`data: {"content_block":{"id":"toolu_`+firstID+`","input":{},"name":"weather","type":"tool_use"},"index":0,"type":"content_block_start"}`)
	f("/v1/messages", `{"model":"m","max_tokens":9,"stream":true,`+said+messageTools+`}`,
		`data: {"delta":{"partial_json":"{\"city\":\"Ulm\"}","type":"input_json_delta"},"index":0,"type":"content_block_delta"}`)
	f("/v1/responses", `{"model":"m","input":"Ulm",`+responseTools+`}`,
		`"output":[{"arguments":"{\"city\":\"Ulm\"}","call_id":"call_`+firstID+`","id":"fc_`+firstID+`","name":"weather","status":"completed","type":"function_call"}]`)
	f("/v1/responses", `{"model":"m","stream":true,"input":"Ulm",`+responseTools+`}`,
		`data: {"delta":"{\"city\":\"Ulm\"}","item_id":"fc_`+firstID+`","output_index":0,"sequence_number":3,"type":"response.function_call_arguments.delta"}`)
}

// TestCallsOrNot: when a function is called, and which.
func TestCallsOrNot(t *testing.T) {
	s := onLoopback(t, instant())
	f := func(path, members, want string) {
		t.Helper()
		resp := s.ask("POST "+path, `{"model":"m",`+members+`}`)
		if got := s.read(resp); !strings.Contains(got, want) || strings.Contains(want, "echo: ") && strings.Contains(got, "call_") {
			t.Errorf("%s %s: %d %s, want %s", path, members, resp.StatusCode, got, want)
		}
	}
	const chat, messages, responses = "/v1/chat/completions", "/v1/messages", "/v1/responses"
	said := `"messages":[{"role":"user","content":"a b"}],`
	f(chat, said+chatTools+`,"tool_choice":"auto"`, `"name":"weather"`)
	f(chat, said+chatTools+`,"tool_choice":"required"`, `"name":"weather"`)
	f(chat, said+chatTools+`,"tool_choice":"none"`, `"content":"echo: a b"`)
	f(chat, said+`"tools":[]`, `"content":"echo: a b"`)
	f(chat, said+`"tools":[{"type":"custom_thing"}]`, `"content":"echo: a b"`)
	f(chat, said+chatTools+`,"max_tokens":1`, `"arguments":"{\"city\":\"a"`)
	f(chat, said+chatTools+`,"max_tokens":1`, `"finish_reason":"length"`)
	f(chat, said+chatTools+`,"tool_choice":{"type":"function","function":{"name":"nobody"}}`, `"param":"tool_choice"`)
	f(chat, said+`"tools":[{"type":"function","function":{}}]`, `"param":"tools[0].name"`)
	f(chat, said+`"tools":"x"`, `"param":"tools"`)
	f(chat, `"messages":[{"role":"user","content":"a"},{"role":"assistant","content":null},{"role":"tool","content":"12 degrees"}],`+chatTools, `"content":"echo: 12 degrees"`)
	f(messages, `"max_tokens":9,`+said+messageTools+`,"tool_choice":{"type":"none"}`, `"text":"echo: a b"`)
	f(messages, `"max_tokens":9,`+said+messageTools+`,"tool_choice":{"type":"tool","name":"weather"}`, `"stop_reason":"tool_use"`)
	f(messages, `"max_tokens":1,`+said+messageTools, `"input":{},"name":"weather"`)
	f(messages, `"max_tokens":9,"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"x","content":"12"}]}],`+messageTools, `"text":"echo: 12"`)
	f(messages, `"max_tokens":9,"messages":[{"role":"user","content":[{"type":"tool_result","content":[{"type":"text","text":"13"}]}]}],`+messageTools, `"text":"echo: 13"`)
	f(responses, `"input":"a b",`+responseTools+`,"tool_choice":{"type":"function","name":"weather"}`, `"type":"function_call"`)
	f(responses, `"input":"a b",`+responseTools+`,"tool_choice":"none"`, `"text":"echo: a b"`)
	f(responses, `"input":[{"role":"user","content":"a b"},{"type":"function_call","name":"weather"},{"type":"function_call_output","output":"12"}],`+responseTools, `"text":"echo: a b"`)
}

func TestSpeech(t *testing.T) {
	s := onLoopback(t, instant())
	f := func(members, kind string, size int) string {
		t.Helper()
		resp := s.ask("POST /v1/audio/speech", `{"model":"m","voice":"alloy","input":"a b"`+members+`}`)
		got := s.read(resp)
		if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != kind || len(got) != size {
			t.Errorf("%s: %d %s, %d bytes", members, resp.StatusCode, resp.Header.Get("Content-Type"), len(got))
		}
		return got
	}
	const three = 3 * 960 // "echo:", " a", " b"
	pcm := f(`,"response_format":"pcm"`, "audio/pcm", three)
	if wav := f(`,"response_format":"wav"`, "audio/wav", 44+three); !strings.HasPrefix(wav, "RIFF\x64\x0b\x00\x00WAVEfmt ") || wav[44:] != pcm {
		t.Errorf("%q", wav[:44])
	}
	if f("", "audio/mpeg", three) != pcm || f(`,"speed":2`, "audio/mpeg", three) != pcm {
		t.Error("the same text sounds different")
	}
	var last struct {
		Type  string
		Usage map[string]int
	}
	events := strings.Split(strings.TrimSpace(s.read(s.ask("POST /v1/audio/speech", `{"model":"m","voice":"alloy","input":"a b","stream_format":"sse"}`))), "\n\n")
	if err := json.Unmarshal([]byte(strings.TrimPrefix(events[len(events)-1], "data: ")), &last); err != nil || len(events) != 4 || last.Usage["total_tokens"] != 5 {
		t.Errorf("%v: %q", err, events)
	}
}
