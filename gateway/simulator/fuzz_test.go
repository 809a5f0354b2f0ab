package simulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

// FuzzDecode feeds a body to every decoder. Each must accept it and be able to answer, or name a fault of the client's.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		``, `null`, `[]`, `{"prompt":"hi"}`, `{"prompt":7,"model":null}`,
		`{"model":"m","messages":[{"role":"user","content":"a b"}],"stream":true,"stream_options":{"include_usage":true},"max_tokens":3}`,
		`{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"\u00e9\ud800"}]}]}`,
		`{"model":"m","prompt":["a  b\n"],"max_tokens":1e3}`,
		`{"model":"m","input":[[1,2],[3]],"dimensions":2,"encoding_format":"base64"}`,
		`{"model":"m","input":[{"role":"user","content":"a"},{"type":"x"}],"instructions":"b","max_output_tokens":1}`,
		`{"model":"m","system":[{"type":"text","text":"a"}],"messages":[{"role":"user","content":"b"}],"max_tokens":9}`,
		`{"model":"m","query":"a b","documents":["b",{"text":"c"}],"top_n":1,"return_documents":false}`,
		`{"model":"m","messages":[{"role":"user","content":[{"type":"tool_result","content":[{"text":"7"}]}]}],"max_tokens":9,"tools":[{"name":"f"}]}`,
		`{"model":"m","messages":[{"role":"user","content":"b"}],"tools":[{"type":"function","function":{"name":"f","parameters":{"required":["q"]}}}]}`,
		`{"model":"m","input":"a","tools":[{"type":"function","name":"f"}],"tool_choice":{"type":"function","name":"f"}}`,
		`{"model":"m","input":"a","voice":"v","response_format":"wav"}`,
		`{"model":"m","text_1":"a","text_2":["a","b"]}`, `{"content":"a b"}`, `{"tokens":[0,1]}`,
		`{"model":"m","input":[null],"dimensions":-9223372036854775808}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := decodeInfer(body); err != nil {
			checkFault(t, err)
		}
		for _, decode := range []func([]byte) (question, error){decodeChat, decodeCompletion} {
			if q, err := decode(body); err != nil {
				checkFault(t, err)
			} else {
				checkQuestion(t, q)
			}
		}
		for _, decode := range []func([]byte) (question, error){decodeResponse, decodeMessages} {
			q, err := decode(body)
			if err != nil {
				checkFault(t, err)
				continue
			}
			checkQuestion(t, q)
			for _, p := range []play{newResponse(q, generation{tokens: -1}).play(), newReply(q, generation{tokens: -1}).play()} {
				checkPlay(t, p)
			}
		}
		for _, decode := range []func([]byte) (pairs, error){decodeRerank, decodeScore} {
			p, err := decode(body)
			if err != nil {
				checkFault(t, err)
				continue
			}
			for _, r := range p.ranked() {
				if !(r.Score >= 0 && r.Score <= 1+1e-9) {
					t.Errorf("score %v", r.Score)
				}
			}
		}
		if q, err := decodeTokenize(body); err != nil {
			checkFault(t, err)
		} else {
			var v vocabulary
			if again, ok := v.join(v.number(tokenize(q.text))); !ok || again != q.text {
				t.Errorf("%q came back as %q", q.text, again)
			}
		}
		if _, err := decodeSpeech(body); err != nil {
			checkFault(t, err)
		}
		if _, err := decodeDetokenize(body); err != nil {
			checkFault(t, err)
		}
		if asked, err := decodeEmbeddings(body); err != nil {
			checkFault(t, err)
		} else if list := asked.embed("m"); len(list.Data) != len(asked.inputs) || !json.Valid(encode(list)) {
			t.Errorf("%d vectors for %d inputs", len(list.Data), len(asked.inputs))
		}
	})
}

func checkFault(t *testing.T, err error) {
	t.Helper()
	f, ok := errors.AsType[*fault](err)
	if !ok || f.status != http.StatusBadRequest && f.status != http.StatusUnprocessableEntity || f.message == "" || f.code == "" {
		t.Errorf("not a client's fault: %#v", err)
	}
}

func checkQuestion(t *testing.T, q question) {
	t.Helper()
	tokens, reason := q.speak(-1)
	text, whole := strings.Join(tokens, ""), "echo: "+q.echo
	if q.call.name != "" {
		whole = q.call.arguments
		if !json.Valid([]byte(whole)) {
			t.Errorf("arguments %q", whole)
		}
	}
	switch {
	case reason == "stop" && q.call.name == "", reason == "tool_calls" && q.call.name != "":
		if text != whole {
			t.Errorf("%q is not %q", text, whole)
		}
	case reason == "length":
		if len(tokens) != q.limit || !strings.HasPrefix(whole, text) {
			t.Errorf("%d tokens %q, limit %d, of %q", len(tokens), text, q.limit, whole)
		}
	default:
		t.Errorf("reason %q, call %+v", reason, q.call)
	}
	for _, token := range tokens {
		if token == "" || len(token) > tokenBytes+4 {
			t.Errorf("token %q", token)
		}
	}
}

func checkPlay(t *testing.T, p play) {
	t.Helper()
	frames := append(p.opening, p.closing...)
	for i, token := range p.tokens {
		frames = append(frames, p.part(i, token))
	}
	for _, f := range frames {
		var said struct{ Type string }
		if json.Unmarshal(f.data, &said) != nil || said.Type != f.name || bytes.ContainsRune(f.data, '\n') {
			t.Errorf("event %q: %s", f.name, f.data)
		}
	}
}

// FuzzUpload feeds a form to its decoder, which must accept it or name a fault of the client's.
func FuzzUpload(f *testing.F) {
	f.Add("multipart/form-data; boundary=b", []byte("--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nxyz\r\n"+
		"--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--b--\r\n"))
	f.Add("multipart/form-data; boundary=b", []byte("--b\r\n\r\n"))
	f.Add("text/plain", []byte("x"))
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		r := &http.Request{Header: http.Header{"Content-Type": {kind}}, Body: io.NopCloser(bytes.NewReader(body))}
		u, err := decodeUpload(r.MultipartReader())
		if err != nil {
			checkFault(t, err)
		} else if u.size < 0 || u.size > int64(len(body)) || u.model == "" {
			t.Errorf("%+v of %d bytes", u, len(body))
		}
	})
}

// FuzzSwitches: whatever a field says, it is refused or within its bounds.
func FuzzSwitches(f *testing.F) {
	for _, seed := range []string{"", "0", "-0", "5ms", "-1s", "2540400h", "NaN", "1e3", "0x10", "+7", "99999999999999999999", "503", "3 "} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		for _, name := range []string{"X-Sim-Latency", "X-Sim-Pace", "X-Sim-Tokens", "X-Sim-Error", "X-Sim-Cut"} {
			s, err := readSwitches(http.Header{name: {value}})
			if err != nil {
				checkFault(t, err)
				continue
			}
			if s.latency > maxLatency || s.pace > maxPace || s.tokens > maxTokens || s.tokens == 0 || s.cut > maxCut ||
				s.status >= 0 && (s.status < 400 || s.status > 599) {
				t.Errorf("%s: %q gave %+v", name, value, s)
			}
		}
	})
}
