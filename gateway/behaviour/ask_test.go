package behaviour

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"aigateway/gateway/testkit"
)

// An engine answers each request with what it saw of it: its own name, the target, the framing and the body.
func startEngine(t *testing.T, name string, models ...string) *lister {
	l := &lister{list: testkit.Answer(listOf(models...))}
	l.Upstream = testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for {
			r := c.ReadRequest()
			_, target, _ := strings.Cut(r.First, " ")
			target, _, _ = strings.Cut(target, " ")
			switch {
			case r.Err != nil:
				return
			case target == "/health":
				c.Send("%s", testkit.Answer(""))
			case target == "/v1/models":
				l.mu.Lock()
				l.looked++
				c.Send("%s", l.list)
				l.mu.Unlock()
			default:
				c.Send("%s", testkit.Answer(name+" "+target+" "+r.Field("Content-Length")+r.Field("Transfer-Encoding")+" "+r.Body))
			}
		}
	})
	return l
}

// modelsFile is two engines with a model each, and a third that only stands in.
func modelsFile(a, b, c *lister) string {
	return fmt.Sprintf(`
pools:
  a: {upstreams: [{url: %q}]}
  b: {upstreams: [{url: %q}]}
  c: {upstreams: [{url: %q}]}
models:
  - {name: llama-8b, pool: a, upstream_model: meta-llama/Llama-3.1-8B-Instruct, aliases: [gpt-4o-mini, x], context_max: 8192}
  - {name: qwen, pool: b}
  - {name: secret, pool: c, visible: false}
`, a.URL, b.URL, c.URL)
}

func startModels(t *testing.T, environ ...string) *testGateway {
	t.Helper()
	a, b, c := startEngine(t, "A"), startEngine(t, "B"), startEngine(t, "C")
	return startGatewayFile(t, modelsFile(a, b, c), environ...)
}

func (g *testGateway) post(path, contentType, body string) testkit.Message {
	return g.Do(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", path, contentType, len(body), body))
}

// The model of a request leads to its engine, by the engine's own name for it, and nothing else of the body changes.
func TestModelLeadsToItsEngine(t *testing.T) {
	t.Parallel()
	g := startModels(t)
	const llama = "meta-llama/Llama-3.1-8B-Instruct"
	long := strings.Repeat(`{"role":"user","content":"tell me \"more\" about {braces} and \\ signs"},`, 3000)
	for _, c := range []struct{ body, engine, upstream string }{
		{`{"model":"llama-8b","messages":[]}`, "A", llama},
		{`{"messages":[{"role":"user","content":"\"model\":\"qwen\""}],"model":"gpt-4o-mini"}`, "A", llama},
		{` { "model" : "\u0078" , "stream":false } `, "A", llama},
		{`{"messages":[],"model":"qwen"}`, "B", ""},
		{`{"messages":[` + long + `{}],"model":"qwen"}`, "B", ""},
		{`{"messages":[` + long + `{}],"model":"x"}`, "A", llama},
		{`{"model":"x","messages":[` + long + `{}]}`, "A", llama},
		{`{"messages":[` + strings.Repeat(long, 8) + `{}],"model":"llama-8b","n":1}`, "A", llama}, // longer than is held
	} {
		want := c.body
		for _, name := range []string{`"llama-8b"`, `"gpt-4o-mini"`, `"\u0078"`, `"x"`} {
			want = strings.Replace(want, name, `"`+llama+`"`, 1)
		}
		for _, path := range []string{"/v1/chat/completions", "/v1/embeddings", "/v1/messages", "/rerank"} {
			m := g.post(path, "application/json", c.body)
			if whole := fmt.Sprintf("%s %s %d %s", c.engine, path, len(want), want); m.Body != whole || m.Field("X-Upstream-Model") != c.upstream {
				t.Errorf("%.60s: %q, X-Upstream-Model %q, body %.120s… of %d, want %d", c.body, m.First, m.Field("X-Upstream-Model"), m.Body, len(m.Body), len(whole))
			}
		}
		if len(c.body) > 100_000 {
			chunked := g.Do("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + inChunks(c.body))
			if _, body, _ := strings.Cut(chunked.Body, " /v1/chat/completions "); !strings.HasSuffix(body, " "+want) {
				t.Errorf("%.60s in chunks: %.100s… of %d, want %d", c.body, chunked.Body, len(body), len(want))
			}
		}
	}
}

func inChunks(body string) string {
	var b strings.Builder
	for len(body) > 0 {
		n := min(len(body), 1+rand.IntN(40_000))
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	return b.String() + "0\r\n\r\n"
}

// Forms name their model in any order with files, and a tunnel in its query.
func TestModelOfFormsAndQueries(t *testing.T) {
	t.Parallel()
	g := startModels(t)
	file := "--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n" + strings.Repeat("\x00RIFF--X\r\n", 30_000) + "\r\n"
	model := "--XX\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nx\r\n"
	end := "--XX--\r\n"
	for _, body := range []string{file + model + end, model + file + end} {
		m := g.post("/v1/audio/transcriptions", "multipart/form-data; boundary=XX", body)
		want := strings.Replace(body, "\r\n\r\nx\r\n", "\r\n\r\nmeta-llama/Llama-3.1-8B-Instruct\r\n", 1)
		if whole := fmt.Sprintf("A /v1/audio/transcriptions %d %s", len(want), want); m.Body != whole {
			t.Errorf("%q, body of %d, want %d", m.First, len(m.Body), len(whole))
		}
	}
	ask := strings.Replace(testkit.WsRequest("/v1/realtime?a=b&model=gpt%2d4o-mini&c"), "\r\n\r\n", "\r\n\r\n", 1)
	if m := g.Do(ask); !strings.Contains(m.Body, "A /v1/realtime?a=b&model=meta-llama%2FLlama-3.1-8B-Instruct&c ") {
		t.Errorf("%q %q", m.First, m.Body)
	}
}

// What names no model that a client may know is refused in its dialect, and reaches no engine.
func TestModelIsRefused(t *testing.T) {
	t.Parallel()
	g := startModels(t)
	f := func(path, body string, status int, code string, extra ...string) {
		t.Helper()
		m := g.Do(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a\r\n%sContent-Length: %d\r\n\r\n%s", path, strings.Join(extra, ""), len(body), body))
		if m.Status() != status || !strings.Contains(m.Body, `"`+code+`"`) || m.Field("Content-Type") != "application/json" || !json.Valid([]byte(m.Body)) {
			t.Errorf("%s %.80s: %q %s", path, body, m.First, m.Body)
		}
	}
	const chat = "/v1/chat/completions"
	f(chat, `{"model":"nobody"}`, 404, "model_not_found")
	f(chat, `{"model":"secret"}`, 404, "model_not_found")
	f(chat, `{"model":"meta-llama/Llama-3.1-8B-Instruct"}`, 404, "model_not_found")
	f("/v1/messages", `{"model":"nobody"}`, 404, "not_found_error")
	f(chat, `{}`, 400, "model_missing")
	f(chat, ``, 400, "invalid_body")
	f(chat, `[1]`, 400, "invalid_body")
	f(chat, "\xef\xbb\xbf{\"model\":\"qwen\"}", 400, "invalid_body")
	f(chat, `{"model":"qwen"`, 400, "invalid_body")
	f(chat, `{"model":"qwen"} x`, 400, "invalid_body")
	f(chat, `{"model":1}`, 400, "invalid_body")
	f(chat, `{"model":"`+strings.Repeat("q", 257)+`"}`, 400, "invalid_body")
	f(chat, `{"model":"qwen","model":"llama-8b"}`, 400, "duplicate_field")
	f(chat, `{"model":"qwen","Model":"llama-8b"}`, 400, "duplicate_field")
	f(chat, `{"model":"qwen","stream":true,"str\u0065am":false}`, 400, "duplicate_field")
	f(chat, `{"model":"qwen"}`, 415, "unsupported_content_encoding", "Content-Encoding: gzip\r\n")
	f(chat, `{"model":"qwen"}`, 415, "unsupported_content_encoding", "Content-Encoding: identity\r\nContent-Encoding: br\r\n")
	f("/v1/audio/transcriptions", "--XX--\r\n", 400, "model_missing", "Content-Type: multipart/form-data; boundary=XX\r\n")
	f("/v1/audio/transcriptions", "--XX", 400, "invalid_body", "Content-Type: multipart/form-data; boundary=XX\r\n")
	f("/v1/files", `{"model":"qwen"}`, 404, "not_found")
	if m := g.Do(testkit.WsRequest("/v1/realtime?model=nobody")); m.Status() != 404 {
		t.Errorf("%q", m.First)
	}
}

// A name that comes a second time, behind what is held of a body, ends the request before its last byte.
func TestModelTwiceInALongBody(t *testing.T) {
	t.Parallel()
	up := testkit.StartRecorder(t)
	g := startGatewayFile(t, fmt.Sprintf("pools: {a: {upstreams: [{url: %q}]}}\nmodels: [{name: m, pool: a}]", up.URL), "BODY_BUFFER=65536")
	body := `{"model":"m","messages":["` + strings.Repeat("x", 300_000) + `"],"model":"other"}`
	m := g.post("/v1/chat/completions", "application/json", body)
	if m.Status() != 400 || !strings.Contains(m.Body, "duplicate_field") {
		t.Errorf("%q %s", m.First, m.Body)
	}
	testkit.Eventually(t, "the engine sees a request without end", func() bool { return len(up.Broken()) == 1 })
	if n := len(up.Whole()); n != 0 {
		t.Errorf("%d whole requests", n)
	}
	g.holdsNothing()
}

// GET /v1/models tells the models that clients may ask for at this moment.
func TestModelsAreListed(t *testing.T) {
	t.Parallel()
	g := startModels(t)
	ids := func() (list []string) {
		m := g.get("/v1/models")
		var page struct {
			Object string
			Data   []struct{ ID, Object string }
		}
		if err := json.Unmarshal([]byte(m.Body), &page); err != nil || page.Object != "list" || m.Field("Cache-Control") != "private, no-store" {
			t.Fatalf("%q %s", m.First, m.Body)
		}
		for _, d := range page.Data {
			list = append(list, d.ID)
		}
		return list
	}
	testkit.Eventually(t, "both models are there", func() bool { return fmt.Sprint(ids()) == "[llama-8b qwen]" })
	for id, status := range map[string]int{"llama-8b": 200, "gpt-4o-mini": 200, "qwen": 200, "secret": 404, "nobody": 404, "meta-llama/Llama-3.1-8B-Instruct": 404, "meta-llama%2FLlama-3.1-8B-Instruct": 404} {
		if m := g.get("/v1/models/" + id); m.Status() != status || status == 200 && !strings.Contains(m.Body, `"id":"`+id+`"`) {
			t.Errorf("%s: %q %s", id, m.First, m.Body)
		}
	}
}

// Engines that are asked for their models stand behind one setting: each request goes only to those that have its model.
func TestModelsOfDifferentEngines(t *testing.T) {
	t.Parallel()
	a, b := startEngine(t, "A", "one", "both", "tagged:latest"), startEngine(t, "B", "two", "both", "org/name")
	// As llama.cpp does:
	b.list = testkit.Answer(strings.Replace(listOf("two", "both", "org/name"), `"two"`, `"two","aliases":["two","deux"],"tags":[]`, 1))
	g := startGatewayFile(t, discovering, "LLM_SERVICE_URL="+a.URL+","+b.URL+",http://127.0.0.1:1") // who is away is not waited for
	g.Gateway.AwaitModels(testkit.Patience)
	if m := g.get("/v1/models"); strings.Count(m.Body, `"id"`) != 6 {
		t.Fatalf("not all have told their models at the start: %s", m.Body)
	}
	to := make(map[string]int)
	for range 40 {
		for _, model := range []string{"one", "two", "deux", "both", "tagged", "org/name", "nobody"} {
			m := g.post("/v1/chat/completions", "application/json", `{"messages":[],"model":"`+model+`"}`)
			to[model+" "+m.Body[:1]]++
		}
	}
	for _, want := range []string{"one A", "two B", "deux B", "tagged A", "org/name B"} {
		if to[want] != 40 {
			t.Errorf("%s: %d of 40: %v", want, to[want], to)
		}
	}
	if to["both A"] == 0 || to["both B"] == 0 || to["nobody A"] == 0 || to["nobody B"] == 0 {
		t.Errorf("what both have, or nobody, goes to both: %v", to)
	}
	for _, id := range []string{"org/name", "org%2Fname", "one"} {
		if m := g.get("/v1/models/" + id); m.Status() != 200 {
			t.Errorf("%s: %q %s", id, m.First, m.Body)
		}
	}
}

// A body is rewritten for one engine after the other, wherever the name stands in what is held of it, and longer or shorter each time.
func TestModelIsRewrittenAgain(t *testing.T) {
	t.Parallel()
	refuse := func() string {
		return testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
			for r := c.ReadRequest(); r.Err == nil; r = c.ReadRequest() {
				c.Send("HTTP/1.1 429 No\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n")
			}
		}).URL
	}
	g := startGatewayFile(t, fmt.Sprintf(`
pools: {a: {upstreams: [{url: %q}]}, b: {upstreams: [{url: %q}]}, c: {upstreams: [{url: %q}]}}
models:
  - {name: first, pool: a, upstream_model: a-name-that-is-longer-than-what-it-stands-for, fallback: [second, third]}
  - {name: second, pool: b, upstream_model: s}
  - {name: third, pool: c, upstream_model: one/of-another-length}
`, refuse(), refuse(), startEngine(t, "C").URL))
	testkit.Eventually(t, "all are well", func() bool { return strings.Count(g.Log.String(), "upstream is healthy") == 3 })
	const buffer = 64 << 10 // of a body, about
	for _, n := range []int{10, buffer - 60, buffer - 40, buffer + 1000, 2*buffer - 300, 2*buffer - 100, 2*buffer - 60, 2*buffer - 20, 3 * buffer} {
		for _, behind := range []string{"", strings.Repeat("y", 100), strings.Repeat("y", buffer)} {
			f := func(model string) string {
				return `{"prompt":"` + strings.Repeat("x", n) + `","model":"` + model + `","user":"` + behind + `"}`
			}
			want := f("one/of-another-length")
			m := g.post("/v1/completions", "application/json", f("first"))
			if whole := fmt.Sprintf("C /v1/completions %d %s", len(want), want); m.Body != whole {
				t.Errorf("%d bytes before the name and %d behind it: %q, %.40q… of %d, want %d", n, len(behind), m.First, m.Body, len(m.Body), len(whole))
			}
		}
	}
}
