package simulator

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const form = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\nRIFF\r\n" +
	"--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nMODEL\r\n"

const formType = "Content-Type: multipart/form-data; boundary=b"

// field is a form of a file, a model and one more field.
func field(model, name, value string) string {
	f := strings.Replace(form, "MODEL", model, 1)
	if name != "" {
		f += "--b\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value + "\r\n"
	}
	return f + "--b--\r\n"
}

// asked is one whole request for each dialect that names a model.
func asked(model string) map[string]string {
	m := `{"model":"` + model + `",`
	return map[string]string{
		"/v1/chat/completions":      m + `"messages":[{"role":"user","content":"a b"}]}`,
		"/v1/completions":           m + `"prompt":"a b"}`,
		"/v1/embeddings":            m + `"input":"a b"}`,
		"/v1/responses":             m + `"input":"a b"}`,
		"/v1/messages":              m + `"max_tokens":9,"messages":[{"role":"user","content":"a b"}]}`,
		"/v1/messages/count_tokens": m + `"messages":[{"role":"user","content":"a b"}]}`,
		"/v1/rerank":                m + `"query":"a","documents":["a","b"]}`,
		"/rerank":                   m + `"query":"a","documents":["a","b"]}`,
		"/v1/score":                 m + `"text_1":"a","text_2":"b"}`,
		"/score":                    m + `"text_1":"a","text_2":"b"}`,
		"/tokenize":                 m + `"prompt":"a b"}`,
		"/detokenize":               m + `"tokens":[]}`,
		"/v1/audio/speech":          m + `"input":"a b","voice":"alloy"}`,
		"/v1/audio/transcriptions":  field(model, "", ""),
		"/v1/audio/translations":    field(model, "", ""),
	}
}

// kindFor is the Content-Type that a path wants.
func kindFor(path string) string {
	if strings.HasPrefix(path, "/v1/audio/tran") {
		return formType
	}
	return "Content-Type: application/json"
}

// TestModels: every dialect serves the models there are and refuses another one in its own shape.
func TestModels(t *testing.T) {
	o := instant()
	o.Models = []string{"org/big", "small"}
	s := onLoopback(t, o)
	for path, body := range asked("org/big") {
		resp := s.ask("POST "+path, body, kindFor(path))
		got := s.read(resp)
		named := strings.Contains(got, `"model":"org/big"`)
		silent := strings.Contains(path, "token") || strings.Contains(path, "audio")
		if resp.StatusCode != 200 || named == silent {
			t.Errorf("%s: %d %s", path, resp.StatusCode, got)
		}
	}
	for path, body := range asked("nope") {
		resp := s.ask("POST "+path, body, kindFor(path))
		got := s.read(resp)
		want := `"code":"model_not_found"}}`
		if isMessages(path) {
			want = `{"error":{"message":"The model \"nope\" does not exist.","type":"not_found_error"},"type":"error"}`
		}
		if resp.StatusCode != 404 || !strings.HasSuffix(got, want) {
			t.Errorf("%s: %d %s, want %s", path, resp.StatusCode, got, want)
		}
	}
	for _, id := range []string{"org/big", "org%2Fbig", "org%2fbig", "small"} {
		if resp := s.ask("GET /v1/models/"+id, ""); resp.StatusCode != 200 {
			t.Errorf("%s: %d", id, resp.StatusCode)
		}
	}
	if got := s.read(s.ask("GET /v1/models", "")); strings.Count(got, `"id":`) != 2 {
		t.Errorf("listed: %s", got)
	}
	if resp := s.ask("GET /v1/models/sim-test", ""); resp.StatusCode != 404 {
		t.Errorf("sim-test: %d", resp.StatusCode)
	}
	if resp := s.ask("POST /tokenize", `{"prompt":"a"}`); resp.StatusCode != 200 {
		t.Errorf("without a model: %d", resp.StatusCode)
	}
}

// TestSwitchesEverywhere: a demanded failure and a cut meet every dialect, whole and streamed.
func TestSwitchesEverywhere(t *testing.T) {
	s := onLoopback(t, instant())
	var n uint64
	for path, body := range asked("m") {
		resp := s.ask("POST "+path, body, kindFor(path), "X-Sim-Error: 503")
		if got := s.read(resp); resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "1" ||
			isMessages(path) != strings.Contains(got, `"type":"overloaded_error"`) {
			t.Errorf("%s: %d %s", path, resp.StatusCode, got)
		}
		resp = s.ask("POST "+path, body, kindFor(path), "X-Sim-Cut: 3")
		if b := make([]byte, 4); resp.StatusCode != 200 {
			t.Errorf("%s cut: %d", path, resp.StatusCode)
		} else if got, _ := resp.Body.Read(b); got != 3 {
			t.Errorf("%s cut: %d bytes", path, got)
		}
		n++
	}
	for path, body := range streams("m") {
		resp := s.ask("POST "+path, body, kindFor(path), "X-Sim-Cut: 2")
		b := make([]byte, 1<<16)
		read := 0
		for {
			k, err := resp.Body.Read(b[read:])
			read += k
			if err != nil {
				break
			}
		}
		if got := string(b[:read]); strings.Count(got, "data: ") != 2 {
			t.Errorf("%s stream cut: %s", path, got)
		}
		n++
	}
	for deadline := time.Now().Add(20 * time.Second); s.Stats().Cut != n; time.Sleep(time.Millisecond) { // a cut shows before it is counted
		if time.Now().After(deadline) {
			t.Fatalf("%+v, want %d cut", s.Stats(), n)
		}
	}
}

func streams(model string) map[string]string {
	all := asked(model)
	for path, body := range all {
		switch path {
		case "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages":
			all[path] = strings.Replace(body, `"model"`, `"stream":true,"model"`, 1)
		case "/v1/audio/speech":
			all[path] = strings.Replace(body, `"model"`, `"stream_format":"sse","model"`, 1)
		case "/v1/audio/transcriptions":
			all[path] = field(model, "stream", "true")
		default:
			delete(all, path)
		}
	}
	return all
}

// TestStreamsOfEveryDialect: the events in their order, and where the usage stands.
func TestStreamsOfEveryDialect(t *testing.T) {
	s := onLoopback(t, instant())
	f := func(path, want, last string) {
		t.Helper()
		got := s.read(s.ask("POST "+path, streams("m")[path], kindFor(path)))
		var names []string
		for _, m := range regexp.MustCompile(`(?m)^event: (.*)$`).FindAllStringSubmatch(got, -1) {
			names = append(names, m[1])
		}
		if strings.Join(names, " ") != want || !strings.Contains(got, last) {
			t.Errorf("%s: %s\n%s", path, strings.Join(names, " "), got)
		}
	}
	f("/v1/responses", "response.created response.in_progress response.output_item.added response.content_part.added "+
		"response.output_text.delta response.output_text.delta response.output_text.delta response.output_text.done "+
		"response.content_part.done response.output_item.done response.completed", `"total_tokens":5}},"sequence_number":10,"type":"response.completed"}`)
	f("/v1/messages", "message_start content_block_start ping content_block_delta content_block_delta content_block_delta "+
		"content_block_stop message_delta message_stop", `"type":"message_delta","usage":{"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"input_tokens":2,"output_tokens":3}}`)
	f("/v1/audio/speech", "", `{"type":"speech.audio.done","usage":{"input_tokens":2,"output_tokens":3,"total_tokens":5}}`)
	f("/v1/audio/transcriptions", "", `"type":"transcript.text.done","usage":{"input_token_details":{"audio_tokens":1,"text_tokens":0},"input_tokens":1`)
}

// TestWholeDialects: the answers byte for byte.
func TestWholeDialects(t *testing.T) {
	f := func(line, body, want string) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			s := inMemory(t, instant())
			if got := s.read(s.ask(line, body, kindFor(strings.TrimPrefix(line, "POST ")))); got != want {
				t.Errorf("%s %s\n got %s\nwant %s", line, body, got, want)
			}
		})
	}
	f("POST /v1/messages", `{"model":"m","max_tokens":2,"system":"be kind","messages":[{"role":"user","content":[{"type":"text","text":"a b"}]}]}`,
		`{"content":[{"text":"echo: a","type":"text"}],"id":"msg_`+firstID+`","model":"sim-test","role":"assistant","stop_reason":"max_tokens",`+
			`"stop_sequence":null,"type":"message","usage":{"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"input_tokens":4,"output_tokens":2}}`)
	f("POST /v1/messages/count_tokens", `{"model":"m","messages":[{"role":"user","content":"a b"}]}`, `{"input_tokens":2}`)
	f("POST /v1/rerank", `{"model":"m","query":"a b","documents":["c",{"text":"A b"},"a"],"top_n":2}`,
		`{"id":"rerank-`+firstID+`","model":"sim-test","results":[{"index":1,"relevance_score":1,"document":{"text":"A b"}},`+
			`{"index":2,"relevance_score":0.7071067811865475,"document":{"text":"a"}}],"usage":{"prompt_tokens":10,"total_tokens":10}}`)
	f("POST /score", `{"model":"m","text_1":"a","text_2":["a","b"]}`,
		`{"created":`+bubbleTime+`,"data":[{"index":0,"object":"score","score":1},{"index":1,"object":"score","score":0}],"id":"score-`+firstID+
			`","model":"sim-test","object":"list","usage":{"completion_tokens":0,"prompt_tokens":4,"total_tokens":4}}`)
	f("POST /v1/audio/transcriptions", field("m", "", ""), `{"text":"echo: a.wav, 4 bytes","usage":{"input_token_details":{"audio_tokens":1,"text_tokens":0},`+
		`"input_tokens":1,"output_tokens":4,"total_tokens":5,"type":"tokens"}}`)
	f("POST /v1/audio/transcriptions", field("m", "response_format", "text"), "echo: a.wav, 4 bytes\n")
	f("POST /tokenize", `{"prompt":"a b a b"}`, `{"count":4,"max_model_len":131072,"token_strs":null,"tokens":[0,1,2,1]}`)
	f("GET /version", "", `{"version":"0.0.0+simulator"}`)
	f("GET /health", "", "")
}

func TestResponse(t *testing.T) {
	s := onLoopback(t, instant())
	f := func(body, text, status string, prompt, output int) {
		t.Helper()
		var got struct {
			Status string
			Output []struct{ Content []struct{ Text string } }
			Usage  struct {
				Input  int `json:"input_tokens"`
				Output int `json:"output_tokens"`
			}
		}
		raw := s.read(s.ask("POST /v1/responses", body))
		if err := json.Unmarshal([]byte(raw), &got); err != nil || len(got.Output) != 1 {
			t.Fatalf("%v in %s", err, raw)
		}
		if got.Status != status || got.Output[0].Content[0].Text != text || got.Usage.Input != prompt || got.Usage.Output != output {
			t.Errorf("%s: %s", body, raw)
		}
	}
	f(`{"model":"m","input":"a b"}`, "echo: a b", "completed", 2, 3)
	f(`{"model":"m","instructions":"be kind","input":[{"role":"user","content":[{"type":"input_text","text":"x"}]},{"type":"function_call_output","output":"7"}]}`,
		"echo: x", "completed", 3, 2)
	f(`{"model":"m","input":"a b","max_output_tokens":1}`, "echo:", "incomplete", 2, 1)
}

func TestDetokenize(t *testing.T) {
	s := onLoopback(t, instant())
	const text = "one two  three, déjà vu"
	var got struct{ Tokens json.RawMessage }
	if err := json.Unmarshal([]byte(s.read(s.ask("POST /tokenize", `{"model":"m","prompt":"`+text+`"}`))), &got); err != nil {
		t.Fatal(err)
	}
	if back := s.read(s.ask("POST /detokenize", `{"model":"m","tokens":`+string(got.Tokens)+`}`)); !strings.Contains(back, `"prompt":"`+text+`"`) {
		t.Errorf("%s", back)
	}
	if resp := s.ask("POST /detokenize", `{"tokens":[99]}`); resp.StatusCode != 400 {
		t.Errorf("unknown token: %d", resp.StatusCode)
	}
}

// TestVocabularyForgets: memory is bounded, and what is forgotten is refused rather than guessed.
func TestVocabularyForgets(t *testing.T) {
	var v vocabulary
	for i := range vocabularySize + 1 {
		v.number([]string{strings.Repeat("x", 1+i%7) + string(rune(0x10000+i))})
	}
	if _, ok := v.join([]int{0}); ok || len(v.ids) != vocabularySize || len(v.text) != vocabularySize {
		t.Errorf("kept %d and %d", len(v.ids), len(v.text))
	}
	if _, ok := v.join([]int{1, vocabularySize}); !ok {
		t.Error("forgot too much")
	}
}

func TestDialectRefusals(t *testing.T) {
	s := onLoopback(t, instant())
	f := func(path, body, want string) {
		t.Helper()
		resp := s.ask("POST "+path, body, kindFor(path))
		if got := s.read(resp); resp.StatusCode != 400 || !strings.Contains(got, want) {
			t.Errorf("%s %s: %d %s, want %s", path, body, resp.StatusCode, got, want)
		}
	}
	f("/v1/messages", `{"model":"m","messages":[{"role":"user","content":"a"}]}`, `{"error":{"message":"Missing required parameter: 'max_tokens'.","type":"invalid_request_error"},"type":"error"}`)
	f("/v1/messages", `{`, `"type":"error"`)
	f("/v1/responses", `{"model":"m"}`, `"param":"input"`)
	f("/v1/responses", `{"model":"m","input":[]}`, `"param":"input"`)
	f("/v1/rerank", `{"model":"m","documents":["a"]}`, `"param":"query"`)
	f("/v1/rerank", `{"model":"m","query":"a","documents":[{"TEXT":"a"}]}`, `"param":"documents[0]"`)
	f("/v1/rerank", `{"model":"m","query":"a","documents":["a"],"top_n":0}`, `"param":"top_n"`)
	f("/v1/score", `{"model":"m","text_1":["a","b"],"text_2":"a"}`, `"param":"text_2"`)
	f("/tokenize", `{}`, `missing_required_parameter`)
	f("/detokenize", `{"tokens":["a"]}`, `invalid_type`)
	f("/v1/audio/speech", `{"model":"m","voice":"a"}`, `"param":"input"`)
	f("/v1/audio/speech", `{"model":"m","input":"a"}`, `"param":"voice"`)
	f("/v1/audio/speech", `{"model":"m","input":"a","voice":"a","response_format":"mid"}`, `"param":"response_format"`)
	f("/v1/audio/speech", `{"model":"m","voice":"a","input":"`+strings.Repeat("é", 4097)+`"}`, `4096`)
	f("/v1/audio/transcriptions", "--b--\r\n", `"param":"file"`)
	f("/v1/audio/transcriptions", field("", "", ""), `"param":"model"`)
	f("/v1/audio/transcriptions", field("m", "stream", "perhaps"), `"param":"stream"`)
	f("/v1/audio/transcriptions", field("m", "response_format", "mp3"), `"param":"response_format"`)
	f("/v1/audio/transcriptions", "x", `"code":"invalid_form"`)
	if got := s.Stats().Generations; got != 0 {
		t.Errorf("%d generations", got)
	}
}

func TestModelFaults(t *testing.T) {
	_, err := Start(Options{Models: []string{"a", "", "a", strings.Repeat("x", 257)}})
	if err == nil || strings.Count(err.Error(), "model ") != 3 {
		t.Errorf("%v", err)
	}
}
