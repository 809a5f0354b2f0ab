package telemetry

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func TestOperationOf(t *testing.T) {
	f := func(path string, want Operation) {
		t.Helper()
		if got := OperationOf([]byte(path)); got != want {
			t.Errorf("%s is %v, want %v", path, got, want)
		}
	}
	f("/v1/chat/completions", Chat)
	f("/v1/responses", Chat)
	f("/v1/completions", TextCompletion)
	f("/v1/embeddings", Embeddings)
	f("/v1/models", NoOperation)
	f("/v1/chat/completions/x", NoOperation)
	f("", NoOperation)
}

func TestFindUsage(t *testing.T) {
	f := func(body string, want usage) {
		t.Helper()
		if got := findUsage([]byte(body)); got != want {
			t.Errorf("%s: %+v, want %+v", body, got, want)
		}
	}
	f(`{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":40,"total_tokens":43}}`, usage{true, 3, 40})
	f(`{"usage" : {"input_tokens" : 3, "input_tokens_details":{"cached_tokens":1}, "output_tokens" : 5 } , "user":null}`, usage{true, 3, 5})
	f(`data: {"usage":null}`+"\n\n"+`data: {"usage":{"prompt_tokens":1,"completion_tokens":2}}`+"\n\ndata: [DONE]\n\n", usage{true, 1, 2})
	f(`data: {"usage":{"prompt_tokens":1,"completion_tokens":2}}`+"\n\n"+`data: {"usage":null}`+"\n\n", usage{true, 1, 2})
	f(`data: {"usage":{"prompt_tokens":1,"completion_tokens":2}} data: {"usage":{"prompt_tokens":1,"completion_tokens":9}}`, usage{true, 1, 9})
	f(`{"object":"list","usage":{"prompt_tokens":8,"total_tokens":8}}`, usage{true, 8, 0})
	f(`{"usage":{"prompt_tokens_details":{"prompt_tokens":7}}}`, usage{true, 7, 0}) // odd, and bounded
	f(`{"content":"he said \"usage\":{\"prompt_tokens\":9}"}`, usage{})
	f(`{"usage":{"prompt_tokens":99999999999999999999}}`, usage{})
	f(`{"usage":{"prompt_tokens":-1}}`, usage{})
	f(`{"usage":{"prompt_tokens":1`, usage{})
	f(`{"usage":[1]}`, usage{})
	f(`"usage"`, usage{})
	f(``, usage{})
}

func TestFindModel(t *testing.T) {
	f := func(body, want string) {
		t.Helper()
		if got := string(findModel([]byte(body))); got != want {
			t.Errorf("%s: %q, want %q", body, got, want)
		}
	}
	f(`{"id":"x","model":"qwen3:8b","choices":[]}`, "qwen3:8b")
	f(`{"model" : "a"}`, "a")
	f(`{"content":"\"model\":\"b\"","model":"a"}`, "a")
	f(`{"model":"a`, "")
	f(`{"model":null}`, "")
	f(`"model"`, "")
	f(``, "")
}

func FuzzUsage(f *testing.F) {
	f.Add([]byte(`{"model":"a","usage":{"prompt_tokens":3,"completion_tokens":40}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if u := findUsage(b); u.input < 0 || u.output < 0 || u.input > maxTokens || u.output > maxTokens {
			t.Fatalf("%q: %+v", b, u)
		}
		findModel(b)
	})
}

// generate passes an answer in pieces of the given size, that end a second apart from the first.
func generate(g *GenAI, op Operation, body string, size int, stream, failed bool) {
	var gen Generation
	g.Begin(&gen, op, 10*time.Second)
	now := 11 * time.Second
	for len(body) > 0 {
		n := min(size, len(body))
		g.Pass(&gen, []byte(body[:n]), now)
		body, now = body[n:], 12*time.Second
	}
	g.End(&gen, stream, failed, 15*time.Second)
}

// However an answer is cut into pieces, and however long it is, its last usage is found, and its model.
func TestGenerations(t *testing.T) {
	head := `{"id":"x","object":"chat.completion","created":1,"model":"small","choices":[{"message":{"content":"`
	end := `"}}],"usage":{"prompt_tokens":7,"completion_tokens":5,"total_tokens":12},"system_fingerprint":"fp"}`
	chunk := `data: {"model":"small","choices":[{"delta":{"content":"hi"}}],"usage":null}` + "\n\n"
	who := `gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_response_model="small"`
	for _, text := range []string{"", "hello", strings.Repeat("x", 3000), strings.Repeat("é", 100_000)} {
		for _, size := range []int{1, 7, 100, windowSize - 1, windowSize, windowSize + 1, 1 << 20} {
			o := testOptions()
			o.Models = []string{"small", "large"}
			m := New(o)
			// A first piece that holds the beginning holds the model; an event is never shorter in practice, and has it again.
			generate(m.GenAI(), Chat, head+text+end, max(size, 100), false, false)
			stream := strings.Repeat(chunk, len(text)/50) + `data: {"model":"small","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5}}` + "\n\ndata: [DONE]\n\n"
			generate(m.GenAI(), Chat, stream, size, true, false)
			got := page(m)
			for _, want := range []string{
				`gen_ai_client_token_usage_sum{` + who + `,gen_ai_token_type="input"} 14`,
				`gen_ai_client_token_usage_sum{` + who + `,gen_ai_token_type="output"} 10`,
				`gen_ai_server_request_duration_sum{` + who + `} 10`,
				`gen_ai_server_time_to_first_token_sum{` + who + `} 1`,
				`gen_ai_server_time_per_output_token_sum{` + who + `} 1`,
			} {
				if !strings.Contains(got, "\n"+want+"\n") {
					t.Errorf("%d bytes in pieces of %d: no %s", len(text), size, want)
				}
			}
		}
	}
}

// A failed generation has a duration of its own, and no tokens.
func TestFailedGeneration(t *testing.T) {
	m := New(testOptions())
	generate(m.GenAI(), Embeddings, `{"error":{}}`, 100, false, true)
	generate(m.GenAI(), NoOperation, `{"usage":{"prompt_tokens":7}}`, 100, false, false)
	text := page(m)
	who := `gen_ai_operation_name="embeddings",gen_ai_provider_name="openai",gen_ai_response_model="other"`
	if !strings.Contains(text, `gen_ai_server_request_duration_count{`+who+`,error_type="_OTHER"} 1`) || strings.Contains(text, "token_usage_sum") {
		t.Error(text)
	}
}

// No answer makes a series that the settings do not name.
func TestModelsAreBounded(t *testing.T) {
	o := testOptions()
	o.Models = []string{"small"}
	m := New(o)
	for op := Chat; op < operations; op++ {
		for _, model := range []string{"small", "x"} {
			for _, failed := range []bool{false, true} {
				generate(m.GenAI(), op, fmt.Sprintf(`{"model":%q,"usage":{"prompt_tokens":7,"completion_tokens":5}}`, model), 1000, true, failed)
			}
		}
	}
	before := seriesCount(m)
	for range 10_000 {
		body := fmt.Sprintf(`{"model":"m%d","usage":{"prompt_tokens":%d,"completion_tokens":%d}}`, rand.Uint64(), rand.IntN(math.MaxInt32), rand.IntN(1000))
		generate(m.GenAI(), Operation(1+rand.IntN(3)), body, 1000, rand.IntN(2) == 0, rand.IntN(2) == 0)
	}
	if got := seriesCount(m); got != before {
		t.Errorf("%d series became %d", before, got)
	}
	scrape(t, m) // and it parses
}

func TestAllocGenerations(t *testing.T) {
	o := testOptions()
	o.Models = []string{"small"}
	m := New(o)
	g := m.GenAI()
	piece := []byte(`data: {"model":"small","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5}}` + "\n\n")
	var gen Generation
	if allocs := testing.AllocsPerRun(1000, func() {
		var e Events
		m.BeginStream()
		g.Begin(&gen, OperationOf([]byte("/v1/chat/completions")), 0)
		for range 50 {
			e.Pass(piece)
			g.Pass(&gen, piece, 1)
		}
		g.End(&gen, true, false, 2)
		m.EndStream(2, e.N)
	}); allocs >= 1 { // the collector may empty the pool of windows
		t.Errorf("%v allocations", allocs)
	}
}

// BenchmarkPass is what looking costs an answer of 20 events.
func BenchmarkPass(b *testing.B) {
	g := New(testOptions()).GenAI()
	piece := []byte(`data: {"id":"chatcmpl-1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":"hi"}}],"usage":null}` + "\n\n")
	last := []byte(`data: {"model":"m","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5}}` + "\n\ndata: [DONE]\n\n")
	b.ReportAllocs()
	for b.Loop() {
		var gen Generation
		var e Events
		g.Begin(&gen, Chat, 0)
		for range 20 {
			e.Pass(piece)
			g.Pass(&gen, piece, 1)
		}
		g.Pass(&gen, last, 2)
		g.End(&gen, true, false, 3)
	}
}
