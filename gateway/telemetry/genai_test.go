package telemetry

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
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
	f("/v1/messages", Chat)
	f("/v1/messages/count_tokens", NoOperation)
	f("/v1/completions", TextCompletion)
	f("/v1/embeddings", Embeddings)
	f("/v1/rerank", Rerank)
	f("/rerank", Rerank)
	f("/v1/score", Score)
	f("/score", Score)
	f("/v1/audio/transcriptions", Audio)
	f("/v1/audio/speech", Audio)
	f("/v1/models", NoOperation)
	f("/tokenize", NoOperation)
	f("/v1/chat/completions/x", NoOperation)
	f("", NoOperation)
}

// generate passes an answer in pieces of the given size. Its first content comes after a second.
func generate(g *GenAI, op Operation, body string, size int, how Ending) {
	var gen Generation
	g.Begin(&gen, op, 10*time.Second, "")
	for len(body) > 0 {
		n := min(size, len(body))
		g.Pass(&gen, []byte(body[:n]))
		body = body[n:]
	}
	g.End(&gen, &Ended{How: how, At: 15 * time.Second, First: 11 * time.Second})
}

// However an answer is cut into pieces, and however long it is, its usage is found, and its model.
func TestGenerations(t *testing.T) {
	head := `{"id":"x","object":"chat.completion","created":1,"model":"small","choices":[{"message":{"content":"`
	end := `"}}],"usage":{"prompt_tokens":7,"completion_tokens":5,"total_tokens":12},"system_fingerprint":"fp"}`
	chunk := `data: {"model":"small","choices":[{"delta":{"content":"hi"}}],"usage":null}` + "\n\n"
	who := `gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_response_model="small"`
	for _, text := range []string{"", "hello", strings.Repeat("x", 3000), strings.Repeat("é", 100_000)} {
		for _, size := range []int{1, 7, 100, 1 << 10, 1 << 20} {
			o := testOptions()
			o.Models = []string{"small", "large"}
			m := New(o)
			generate(m.GenAI(), Chat, head+text+end, size, Whole)
			stream := strings.Repeat(chunk, len(text)/50) + `data: {"model":"small","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5}}` + "\n\ndata: [DONE]\n\n"
			generate(m.GenAI(), Chat, stream, size, WholeStream)
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
	generate(m.GenAI(), Embeddings, `{"error":{}}`, 100, Failed)
	generate(m.GenAI(), NoOperation, `{"usage":{"prompt_tokens":7}}`, 100, Whole)
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
			for _, how := range []Ending{WholeStream, Failed} {
				generate(m.GenAI(), op, fmt.Sprintf(`{"model":%q,"usage":{"prompt_tokens":7,"completion_tokens":5}}`, model), 1000, how)
			}
		}
	}
	before := seriesCount(m)
	for range 10_000 {
		body := fmt.Sprintf(`{"model":"m%d","usage":{"prompt_tokens":%d,"completion_tokens":%d}}`, rand.Uint64(), rand.IntN(math.MaxInt32), rand.IntN(1000))
		generate(m.GenAI(), Operation(1+rand.IntN(int(operations)-1)), body, 1000, Ending(rand.IntN(3)))
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
		g.Begin(&gen, OperationOf([]byte("/v1/chat/completions")), 0, "")
		for range 50 {
			e.Pass(piece)
			g.Pass(&gen, piece)
		}
		g.End(&gen, &Ended{How: WholeStream, At: 2, First: 1})
		m.EndStream(2, e.N)
	}); allocs >= 1 { // the collector may empty the pool of readers
		t.Errorf("%v allocations", allocs)
	}
}

// What services list has series of its own, up to a bound, and as long as it is listed; what the settings name stays.
func TestListedModels(t *testing.T) {
	o := testOptions()
	o.Models = []string{"small"}
	m := New(o)
	g := m.GenAI()
	has := func(model string) bool {
		t.Helper()
		generate(g, Chat, fmt.Sprintf(`{"model":%q,"usage":{"prompt_tokens":7,"completion_tokens":5}}`, model), 1000, Whole)
		return strings.Contains(page(m), label("gen_ai_response_model", model))
	}
	f := func(model string, want bool) {
		t.Helper()
		if got := has(model); got != want {
			t.Errorf("%s has series: %v", model, got)
		}
	}
	f("a", false)
	g.List([]string{"a", "b", "small", "llama3:latest"})
	f("small", true)
	f("a", true)
	f("b", true)
	f("c", false)
	if generate(g, Chat, `{"model":"llama3"}`, 1000, Whole); !strings.Contains(page(m), label("gen_ai_response_model", "llama3:latest")) {
		t.Error("llama3 is not llama3:latest")
	}
	g.List([]string{"b"})
	f("a", false)
	f("b", true)
	f("small", true)
	if !strings.Contains(page(m), `gen_ai_response_model="b",gen_ai_token_type="input"} 14`) {
		t.Error("who was listed before has begun anew")
	}
	g.List(nil)
	before := seriesCount(m)
	var many []string
	for i := range 10 * maxListed {
		many = append(many, fmt.Sprintf("m%d\"\n", i))
	}
	g.List(many)
	for _, model := range many {
		generate(g, Chat, fmt.Sprintf(`{"model":%q}`, model), 1000, Whole)
	}
	if known := len(*g.models.Load()); known != 1+maxListed {
		t.Errorf("%d models have series", known)
	}
	g.List(nil)
	if got := seriesCount(m); got != before {
		t.Errorf("%d series became %d", before, got)
	}
	scrape(t, m) // and it parses
}

// Who lists while others count disturbs nobody.
func TestListWhileCounting(t *testing.T) {
	m := New(testOptions())
	g := m.GenAI()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 500 {
				switch w {
				case 0:
					g.List([]string{"a", fmt.Sprint(i)})
				case 1:
					page(m)
				default:
					generate(g, Chat, `{"model":"a","usage":{"prompt_tokens":7}}`, 1000, WholeStream)
				}
			}
		})
	}
	wg.Wait()
}
