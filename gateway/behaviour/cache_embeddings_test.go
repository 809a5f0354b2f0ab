package behaviour

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"aigateway/gateway/testkit"
)

// An embedder is an engine whose vectors follow from the text, and which notes how often it was asked for each.
type embedder struct {
	*testkit.Upstream
	mu     sync.Mutex
	times  map[string]int
	tokens int
	asked  int
	delay  atomic.Int64 // microseconds
}

// embedding is what it says of an input, which is asked for in that way.
func embedding(input any, format string, dimensions int) string {
	text, _ := json.Marshal(input)
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %d", text, dimensions)
	v := make([]int, max(dimensions, 2))
	for i := range v {
		v[i] = int(h.Sum64() >> (8 * (i % 8)) & 0xFF)
	}
	if format == "base64" {
		return `"` + base64.StdEncoding.EncodeToString(fmt.Append(nil, v)) + `"`
	}
	list, _ := json.Marshal(v)
	return string(list)
}

// tokensOf is what an input costs.
func tokensOf(input any) int { text, _ := json.Marshal(input); return len(text) }

type embeddingRequest struct {
	Input      any    `json:"input"`
	Format     string `json:"encoding_format"`
	Dimensions int    `json:"dimensions"`
}

// inputsOf are the inputs of a request one by one.
func inputsOf(input any) []any {
	list, ok := input.([]any)
	if !ok {
		return []any{input}
	}
	if _, tokens := list[0].(float64); tokens {
		return []any{input}
	}
	return list
}

func startEmbedder(t *testing.T) *embedder {
	e := &embedder{times: map[string]int{}}
	answer := func(r testkit.Message) string {
		var q embeddingRequest
		if err := json.Unmarshal([]byte(r.Body), &q); err != nil {
			t.Errorf("the engine got %q", r.Body)
		}
		time.Sleep(time.Duration(e.delay.Load()) * time.Microsecond)
		var data []string
		tokens := 0
		e.mu.Lock()
		defer e.mu.Unlock()
		for i, input := range inputsOf(q.Input) {
			text, _ := json.Marshal(input)
			e.times[fmt.Sprintf("%s %s %d", text, q.Format, q.Dimensions)]++
			tokens += tokensOf(input)
			vector := embedding(input, q.Format, q.Dimensions)
			if q.Format == "base64" {
				vector += `,"encoding_format":"base64"` // as llama.cpp does
			}
			data = append(data, fmt.Sprintf(`{"index":%d,"object":"embedding","embedding":%s}`, i, vector))
		}
		e.tokens += tokens
		e.asked++
		rand.Shuffle(len(data), func(i, j int) { data[i], data[j] = data[j], data[i] })
		return with(fmt.Sprintf(`{"object":"list","data":[%s],"model":"m","usage":{"prompt_tokens":%d,"total_tokens":%d}}`, strings.Join(data, ", "), tokens, tokens), "Content-Type: application/json")
	}
	e.Upstream = testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for r := c.ReadRequest(); r.Err == nil; r = c.ReadRequest() {
			c.Send("%s", answer(r))
		}
	})
	return e
}

// checkEmbeddings checks an answer against what was asked, and returns the tokens that it tells of.
func checkEmbeddings(t *testing.T, q embeddingRequest, m testkit.Message) (tokens int) {
	t.Helper()
	var got struct {
		Data []struct {
			Index     int             `json:"index"`
			Embedding json.RawMessage `json:"embedding"`
		} `json:"data"`
		Model string `json:"model"`
		Usage struct {
			Prompt int `json:"prompt_tokens"`
			Total  int `json:"total_tokens"`
		} `json:"usage"`
	}
	if err := json.Unmarshal([]byte(m.Body), &got); err != nil || m.Status() != 200 || m.Err != nil {
		t.Errorf("%s %.300s: %v %v", m.First, m.Body, err, m.Err)
		return 0
	}
	inputs := inputsOf(q.Input)
	if len(got.Data) != len(inputs) || got.Model != "m" || got.Usage.Prompt != got.Usage.Total {
		t.Errorf("%d of %d vectors: %.300s", len(got.Data), len(inputs), m.Body)
		return 0
	}
	for i, d := range got.Data {
		if d.Index != i || string(d.Embedding) != embedding(inputs[i], q.Format, q.Dimensions) {
			t.Errorf("input %d, %v, has %.100s", i, inputs[i], d.Embedding)
		}
	}
	return got.Usage.Prompt
}

// embeddingsOf asks for what q says.
func embeddingsOf(q embeddingRequest) string {
	body := map[string]any{"input": q.Input, "model": "m"}
	if q.Format != "" {
		body["encoding_format"] = q.Format
	}
	if q.Dimensions != 0 {
		body["dimensions"] = q.Dimensions
	}
	text, _ := json.Marshal(body)
	return askModel("embeddings", string(text))
}

func TestEmbeddingsByItem(t *testing.T) {
	t.Parallel()
	e := startEmbedder(t)
	g := startKeeping(t, e.URL, "")
	f := func(outcome string, tokens int, q embeddingRequest) testkit.Message {
		t.Helper()
		m := g.Do(embeddingsOf(q))
		if got := checkEmbeddings(t, q, m); got != tokens || m.Field("X-Cache") != outcome || m.Field("Content-Type") != "application/json" || m.Field("Date") == "" {
			t.Errorf("%v: %d tokens, want %d\n%s", q.Input, got, tokens, m.Head)
		}
		return m
	}
	list := func(inputs ...any) embeddingRequest { return embeddingRequest{Input: inputs} }
	f("MISS", 3, embeddingRequest{Input: "a"})
	if m := f("HIT", 0, embeddingRequest{Input: "a"}); m.Field("Age") == "" || !strings.Contains(m.Field("Cache-Status"), "ttl=") {
		t.Errorf("%s", m.Head)
	}
	f("HIT", 0, list("a", "a"))
	if m := f("MISS", 4, list("a", "bb", "a", "bb")); !strings.Contains(m.Field("Cache-Status"), "fwd=partial") {
		t.Errorf("%s", m.Head)
	}
	f("MISS", 5, list("ccc", "bb", "a"))
	f("HIT", 0, list("ccc", "bb", "a"))
	f("MISS", 3+4, embeddingRequest{Input: []any{"a", "bb"}, Format: "base64"})
	f("MISS", 3, embeddingRequest{Input: "a", Dimensions: 5})
	f("MISS", 7, list(1.0, 2.0, 3.0)) // one input of three tokens
	f("MISS", 3, list([]any{1.0, 2.0, 3.0}, []any{7.0}))
	f("HIT", 0, list(7.0))
	f("HIT", 0, list([]any{1.0, 2.0, 3.0}))
	if n := g.Parts().Metrics.Cache().SavedTotal(); n == 0 {
		t.Error("no tokens are saved")
	}
	// Another credential, another cache.
	m := g.Do(strings.Replace(embeddingsOf(list("a")), "Host: a\r\n", "Host: a\r\nAuthorization: Bearer x\r\n", 1))
	if got := checkEmbeddings(t, list("a"), m); got != 3 || m.Field("X-Cache") != "MISS" {
		t.Errorf("%s", m.Head)
	}
	if m := g.Do(strings.Replace(embeddingsOf(list("a", "new")), "Host: a\r\n", "Host: a\r\nCache-Control: only-if-cached\r\n", 1)); m.Status() != 504 {
		t.Errorf("%s", m.First)
	}
	for text, n := range e.times {
		if n != 1 && text != `"a"  0` {
			t.Errorf("%s was asked for %d times", text, n)
		}
	}
}

// What the engine refuses, or says in another shape, reaches the client as it is, is not kept, and costs one request, unless the client has
// asked for something twice: then the engine is asked once more, as the client did.
func TestEmbeddingsRefused(t *testing.T) {
	t.Parallel()
	ask := func(inputs, answer, body string, status, asked int) {
		t.Helper()
		o := startOrigin(t, func(testkit.Message, int) string { return answer })
		g := startKeeping(t, o.URL, "")
		for range 2 {
			m := g.Do(askModel("embeddings", `{"input":`+inputs+`,"model":"m"}`))
			if m.Status() != status || m.Body != body || m.Err != nil {
				t.Errorf("%s %q %v, want %d %q", m.First, m.Body, m.Err, status, body)
			}
		}
		if n := len(o.asked()); n != 2*asked {
			t.Errorf("%s: asked %d times", answer, n)
		}
	}
	f := func(answer, body string, status int) { t.Helper(); ask(`["a","b"]`, answer, body, status, 1) }
	same := func(body string) { t.Helper(); f(with(body, "X-A: b"), body, 200) }
	f("HTTP/1.1 400 Bad\r\nContent-Length: 5\r\nX-A: b\r\n\r\nnever", "never", 400)
	f("HTTP/1.1 429 Slow\r\nContent-Length: 2\r\n\r\n{}", "{}", 429)
	same(`{"data":[{"index":0,"embedding":[1]}]}`)
	same(`{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[2]}],"model":"m"}`)
	same(`{"data":[{"index":1,"embedding":[1]},{"index":2,"embedding":[2]}],"model":"m"}`)
	same(`{"data":[{"embedding":[1]},{"embedding":[2]}],"model":"m"}`)
	same(`{"data":[{"index":0,"embedding":[1]},{"index":-1,"embedding":[2]}]}`)
	same(`{"error":{}}`)
	f(chunkedOf([]string{"oo", "ps"}), "oops", 200)
	f(with(`{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[2]}]}`, "Cache-Control: no-store"),
		`{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1]},{"object":"embedding","index":1,"embedding":[2]}],"usage":{"prompt_tokens":0,"total_tokens":0}}`, 200)
	ask(`["a","a"]`, with(`{"data":[{"index":7,"embedding":[1]}]}`), `{"data":[{"index":7,"embedding":[1]}]}`, 200, 2)
}

// What was to be shared and cannot be taken apart is the client's with all that the engine says of it; those who wait for a part of it ask
// for themselves, at once and once.
func TestEmbeddingsWithWrongIndexes(t *testing.T) {
	t.Parallel()
	const answer = `{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[2]}],"model":"m","usage":{"prompt_tokens":9}}`
	const others = 20
	begun, answered := make(chan struct{}, 1+others), make(chan struct{})
	o := startOrigin(t, func(_ testkit.Message, n int) string {
		begun <- struct{}{}
		<-answered
		return with(answer, "X-A: b", fmt.Sprint("X-N: ", n))
	})
	g := startKeeping(t, o.URL, "")
	clients := g.crowd(1+others, same(askModel("embeddings", `{"input":["a","b"],"model":"m"}`)))
	<-begun
	answered <- struct{}{}
	for range others { // all of them are under way before the first one has its answer
		<-begun
	}
	close(answered)
	all(clients, func(i int, m testkit.Message) {
		if m.Status() != 200 || m.Body != answer || m.Field("X-A") != "b" || m.Field("X-Cache") != "MISS" || !strings.Contains(m.Field("Cache-Status"), "detail=shape") {
			t.Errorf("%d: %s\n%s %v", i, m.Head, m.Body, m.Err)
		}
	})
	if n := len(o.asked()); n != 1+others {
		t.Errorf("the engine was asked %d times", n)
	}
}

// An answer that is longer than what is held goes to the client as it comes, from one request.
func TestEmbeddingsTooLongToHold(t *testing.T) {
	t.Parallel()
	for _, framing := range []string{"length", "chunks"} {
		t.Run(framing, func(t *testing.T) {
			t.Parallel()
			long := `{"data":[{"index":0,"embedding":"` + strings.Repeat("A", 17<<20) + `"}],"model":"m"}`
			o := startOrigin(t, func(testkit.Message, int) string {
				if framing == "length" {
					return with(long)
				}
				return chunkedOf([]string{long[:9<<20], long[9<<20:]})
			})
			g := startKeeping(t, o.URL, "")
			m := g.Do(askModel("embeddings", `{"input":"a","model":"m"}`))
			if m.Status() != 200 || m.Body != long || m.Err != nil || !strings.Contains(m.Field("Cache-Status"), "detail=too_large") {
				t.Errorf("%s: %d bytes, %v", m.Head, len(m.Body), m.Err)
			}
			if n := len(o.asked()); n != 1 {
				t.Errorf("the engine was asked %d times", n)
			}
		})
	}
}

// Requests for the same texts at once make one request for each; when who fetches leaves, the others get theirs.
func TestEmbeddingsTogether(t *testing.T) {
	t.Parallel()
	e := startEmbedder(t)
	e.delay.Store(300_000)
	g := startKeeping(t, e.URL, "")
	q := embeddingRequest{Input: []any{"a", "b"}}
	first := g.crowd(1, same(embeddingsOf(q)))[0]
	others := g.crowd(30, func(i int) string { return embeddingsOf(embeddingRequest{Input: []any{"b", "a", fmt.Sprint(i % 3)}}) })
	first.Abort()
	all(others, func(i int, m testkit.Message) {
		checkEmbeddings(t, embeddingRequest{Input: []any{"b", "a", fmt.Sprint(i % 3)}}, m)
	})
	for text, n := range e.times {
		if n != 1 {
			t.Errorf("%s was asked for %d times", text, n)
		}
	}
}

// Random batches, many at a time, with repeats: none has a wrong vector or lacks one, the engine is asked for each text once, and what
// the answers tell of tokens is what it was asked.
func TestEmbeddingsRandomBatches(t *testing.T) {
	t.Parallel()
	batches, texts := 3000, 400
	switch {
	case testkit.Soak:
		batches, texts = 100_000, 20_000
	case testkit.Race || testing.Short():
		batches = 800
	}
	e := startEmbedder(t)
	g := startKeeping(t, e.URL, "", "CACHE_MAX_ENTRIES=1000000")
	var tokens, sent atomic.Int64
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(worker), 18))
			c := g.Dial()
			for sent.Add(1) <= int64(batches) && !t.Failed() {
				q := embeddingRequest{Format: []string{"", "", "float", "base64"}[r.IntN(4)], Dimensions: []int{0, 0, 3}[r.IntN(3)]}
				q.Input = randomInputs(r, texts)
				c.Send("%s", embeddingsOf(q))
				tokens.Add(int64(checkEmbeddings(t, q, c.ReadResponse())))
			}
		})
	}
	wg.Wait()
	for text, n := range e.times {
		if n != 1 {
			t.Errorf("%s was asked for %d times", text, n)
		}
	}
	if int(tokens.Load()) != e.tokens {
		t.Errorf("the answers tell of %d tokens, the engine has read %d", tokens.Load(), e.tokens)
	}
	t.Logf("%d batches, %d different inputs, %d requests upstream", batches, len(e.times), e.asked)
}

// randomInputs are texts or lists of tokens: one, or several with repeats. Few texts are asked for often.
func randomInputs(r *rand.Rand, texts int) any {
	one := func() any {
		n := min(r.IntN(texts), r.IntN(texts))
		return fmt.Sprintf("text %d %s", n, strings.Repeat("é\"\\", n%4))
	}
	if r.IntN(4) == 0 {
		one = func() any {
			list := []any{float64(min(r.IntN(texts), r.IntN(texts)))}
			for range r.IntN(3) {
				list = append(list, float64(len(list)))
			}
			return list
		}
	}
	if r.IntN(5) == 0 {
		return one()
	}
	var list []any
	for range 1 + r.IntN(12) {
		list = append(list, one())
	}
	return list
}

// A short request may have a long answer, of one vector many times. It has a share of the memory for answers under way, and goes to the
// engine as it came where there is none.
func TestEmbeddingsRepeated(t *testing.T) {
	t.Parallel()
	vector := "[" + strings.Repeat("0.25,", 40_000) + "1]"
	var asked atomic.Int64
	o := startOrigin(t, func(r testkit.Message, _ int) string {
		var q embeddingRequest
		if err := json.Unmarshal([]byte(r.Body), &q); err != nil {
			t.Errorf("the engine got %q", r.Body)
		}
		asked.Add(int64(len(inputsOf(q.Input))))
		if len(inputsOf(q.Input)) > 1 {
			return with(`{"data":[],"much":true}`, "Content-Type: application/json")
		}
		return with(`{"data":[{"index":0,"embedding":`+vector+`}],"model":"m","usage":{"prompt_tokens":1,"total_tokens":1}}`, "Content-Type: application/json")
	})
	g := startKeeping(t, o.URL, "", "CACHE_MEMORY_BYTES=8388608")
	times := func(n int) testkit.Message {
		return g.Do(askModel("embeddings", `{"model":"m","input":["a"`+strings.Repeat(`,"a"`, n-1)+`]}`))
	}
	if m := times(20); m.Status() != 200 || strings.Count(m.Body, vector) != 20 || asked.Load() != 1 {
		t.Errorf("%q, %d vectors; the engine was asked for %d", m.First, strings.Count(m.Body, vector), asked.Load())
	}
	if m := times(60); !strings.Contains(m.Body, `"much":true`) || asked.Load() != 61 {
		t.Errorf("%q, %d bytes; the engine was asked for %d", m.First, len(m.Body), asked.Load())
	}
	if m := times(30); m.Status() != 200 || strings.Count(m.Body, vector) != 30 { // nothing is kept of what was refused
		t.Errorf("%q, %d vectors", m.First, strings.Count(m.Body, vector))
	}
}
