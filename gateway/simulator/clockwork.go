package simulator

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// A clockwork is an engine in real time. It has no goroutine: whoever waits for a token, or looks, takes the steps that are due.
type clockwork struct {
	mu     sync.Mutex
	engine *Engine
	began  time.Time
}

const (
	bytesPerToken = 4    // of a body, as far as its prompt is concerned
	longest       = 4096 // tokens of an answer
)

func newClockwork(o EngineOptions) *clockwork {
	return &clockwork{engine: NewEngine(o), began: time.Now()}
}

// now takes the steps that are due. To be called with mu.
func (c *clockwork) now() time.Duration {
	now := time.Since(c.began)
	for {
		if at, working := c.engine.Next(); !working || at > now {
			return now
		}
		c.engine.Step()
	}
}

// submit adds a request whose body is what has to be read, until ctx ends.
func (c *clockwork) submit(ctx context.Context, body []byte) (*Job, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	j := &Job{Blocks: blocksOf(body), Prompt: max(1, len(body)/bytesPerToken)}
	j.Output = min(longest, c.engine.options.KVBlocks*KVBlock-j.Prompt)
	if j.Output < 1 || !c.engine.Submit(c.now(), j) {
		return nil, &fault{status: http.StatusBadRequest, code: "context_length_exceeded", message: "The prompt is longer than the engine's memory."}
	}
	context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.now()
		c.engine.Finish(j)
	})
	return j, nil
}

// wait waits until the job has so many tokens, or ctx ends.
func (c *clockwork) wait(ctx context.Context, j *Job, tokens int) error {
	for {
		c.mu.Lock()
		now := c.now()
		next, _ := c.engine.Next()
		there := j.written >= tokens || j.Done > 0
		c.mu.Unlock()
		if there {
			return context.Cause(ctx)
		}
		if err := pause(ctx, max(time.Millisecond, next-now)); err != nil {
			return err
		}
	}
}

// load is what the engine has to do now.
func (c *clockwork) load() EngineLoad {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now()
	return c.engine.Load()
}

// blocksOf is the chained hashes of a body's blocks.
func blocksOf(body []byte) (all []uint64) {
	const size = KVBlock * bytesPerToken
	h := uint64(14695981039346656037)
	for ; len(body) >= size; body = body[size:] {
		for _, b := range body[:size] {
			h = (h ^ uint64(b)) * 1099511628211
		}
		all = append(all, h)
	}
	return all
}

// families are the names that engines have for what they say.
var families = map[string]struct{ running, waiting, kv, hits, asked string }{
	"vllm":     {"vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc", "vllm:prefix_cache_hits_total", "vllm:prefix_cache_queries_total"},
	"sglang":   {"sglang:num_running_reqs", "sglang:num_queue_reqs", "sglang:token_usage", "", ""},
	"llamacpp": {"llamacpp:requests_processing", "llamacpp:requests_deferred", "", "llamacpp:prompt_tokens_cached_total", "llamacpp:prompt_tokens_total"},
	"trtllm":   {"trtllm_num_requests_running", "trtllm_num_requests_waiting", "trtllm_kv_cache_utilization", "", ""},
}

// metrics answers GET /metrics as an engine of the family does.
func (s *Simulator) metrics(w http.ResponseWriter, _ *http.Request) error {
	l := s.engine.load()
	f := families[s.options.Family]
	asked := l.Asked
	if s.options.Family == "llamacpp" {
		asked -= l.Hits // it counts those that it had to read
	}
	text := ""
	add := func(name, kind string, v float64) {
		if name != "" {
			text += fmt.Sprintf("# TYPE %s %s\n%s{model_name=%q} %g\n", name, kind, name, s.model, v)
		}
	}
	add(f.running, "gauge", float64(l.Running))
	add(f.waiting, "gauge", float64(l.Waiting))
	add(f.kv, "gauge", l.KV)
	add(f.hits, "counter", float64(l.Hits))
	add(f.asked, "counter", float64(asked))
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	writeHead(w, http.StatusOK, len(text))
	_, _ = w.Write([]byte(text))
	return nil
}
