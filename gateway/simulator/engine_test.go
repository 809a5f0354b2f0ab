package simulator

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// run steps the engine until it is idle, and checks after each step that its memory adds up.
func (e *Engine) run(t *testing.T) (done []*Job) {
	t.Helper()
	for range 1_000_000 {
		if _, working := e.Next(); !working {
			if len(e.waiting) > 0 || e.used != 0 {
				t.Errorf("idle with %d waiting and %d blocks used", len(e.waiting), e.used)
			}
			return done
		}
		done = append(done, e.Step()...)
		e.check(t)
	}
	t.Fatal("it never ends")
	return nil
}

func (e *Engine) check(t *testing.T) {
	t.Helper()
	known, own := 0, 0
	for _, b := range e.blocks {
		if (b.users == 0) != (b.place != nil) {
			t.Fatalf("a block with %d users is in the wrong place", b.users)
		}
		if b.users > 0 {
			known++
		}
	}
	for _, j := range e.batch {
		own += j.own
	}
	if e.used != known+own || e.used+e.unused.Len() > e.options.KVBlocks || len(e.blocks) != known+e.unused.Len() {
		t.Fatalf("%d used, of them %d known and %d own; %d unused; %d in all", e.used, known, own, e.unused.Len(), e.options.KVBlocks)
	}
	if len(e.batch) > e.options.Batch {
		t.Fatalf("%d in a batch of %d", len(e.batch), e.options.Batch)
	}
}

// chain is the hashes of a conversation's blocks.
func chain(name uint64, n int) (all []uint64) {
	rng := rand.New(rand.NewPCG(name, 1))
	for range n {
		all = append(all, rng.Uint64())
	}
	return all
}

func exact(o EngineOptions) *Engine {
	o.Jitter = 1e-12
	return NewEngine(o)
}

func TestEngineTimes(t *testing.T) {
	ms := func(d time.Duration) string { return d.Round(10 * time.Microsecond).String() }
	f := func(what string, e *Engine, j *Job, first, done string, hit int) {
		t.Helper()
		now, _ := e.Next()
		e.Submit(now, j)
		e.run(t)
		if got := ms(j.First-now) + " " + ms(j.Done-now); got != first+" "+done || j.Hit != hit {
			t.Errorf("%s: %s, %d found; want %s %s, %d", what, got, j.Hit, first, done, hit)
		}
	}
	e := exact(EngineOptions{})
	// One step of 8 ms + 1000 × 0.1 ms reads it and gives a token; nine more are 8.2 ms each.
	f("cold", e, &Job{Blocks: chain(1, 63), Prompt: 1000, Output: 10}, "108ms", "181.8ms", 0)
	f("the same again", e, &Job{Blocks: chain(1, 63), Prompt: 1000, Output: 10}, "8.8ms", "82.6ms", 992)
	f("another one", e, &Job{Blocks: chain(2, 63), Prompt: 1000, Output: 1}, "108ms", "108ms", 0)
	f("a longer one", e, &Job{Blocks: chain(1, 126), Prompt: 2000, Output: 1}, "107.2ms", "107.2ms", 1008) // with what was answered
	f("in two steps", e, &Job{Blocks: chain(3, 200), Prompt: 3000, Output: 1}, "316ms", "316ms", 0)
}

// The batch has an end, and so has memory: then jobs wait, in their order, and all are done.
func TestEngineLimits(t *testing.T) {
	e := exact(EngineOptions{Batch: 2, KVBlocks: 100})
	var jobs []*Job
	for i := range 5 {
		j := &Job{Blocks: chain(uint64(i), 20), Prompt: 160, Output: 160}
		jobs = append(jobs, j)
		if !e.Submit(0, j) {
			t.Fatal("refused")
		}
	}
	if l := e.Load(); l.Running != 1 || l.Waiting != 4 { // the others came while it was at work
		t.Errorf("%+v", l)
	}
	e.Step()
	if l := e.Load(); l.Running != 2 || l.Waiting != 3 {
		t.Errorf("%+v", l)
	}
	done := e.run(t)
	if !slices.Equal(done, jobs) {
		t.Error("not in the order in which they came")
	}
	if e.Submit(0, &Job{Prompt: 1600, Output: 1}) {
		t.Error("what cannot fit is taken")
	}

	// Memory for three prompts, but not for what they become: the last one is put off, and done all the same.
	e = exact(EngineOptions{KVBlocks: 36})
	for i := range 3 {
		e.Submit(0, &Job{Blocks: chain(uint64(i), 20), Prompt: 160, Output: 160})
	}
	if done := e.run(t); len(done) != 3 {
		t.Errorf("%d done", len(done))
	}
}

// The longest unused goes first, of a sequence from its end.
func TestEngineForgets(t *testing.T) {
	e := exact(EngineOptions{KVBlocks: 100})
	ask := func(name uint64) int {
		now, _ := e.Next()
		j := &Job{Blocks: chain(name, 40), Prompt: 640, Output: 1}
		e.Submit(now, j)
		e.run(t)
		return j.Hit
	}
	for i, want := range []int{0, 0, 624, 624, 0, 624, 288} {
		if got := ask([]uint64{1, 2, 1, 2, 3, 2, 1}[i]); got != want {
			t.Errorf("ask %d: %d found, want %d", i, got, want)
		}
	}
}

// Whatever comes and goes, memory adds up, and a seed makes a run.
func TestEngineAtRandom(t *testing.T) {
	play := func(seed uint64) string {
		rng := rand.New(rand.NewPCG(seed, 0))
		e := NewEngine(EngineOptions{Batch: 1 + rng.IntN(6), KVBlocks: 30 + rng.IntN(100), Chunk: 50 + rng.IntN(500), Seed: seed})
		var open []*Job
		times := ""
		for range 400 {
			now, working := e.Next()
			switch n := rng.IntN(10); {
			case n < 4 || !working:
				tokens := 1 + rng.IntN(300)
				j := &Job{Blocks: chain(rng.Uint64N(6), (tokens+100)/KVBlock), Prompt: tokens, Output: 1 + rng.IntN(100)}
				if e.Submit(now, j) {
					open = append(open, j)
				}
			case n == 4 && len(open) > 0:
				i := rng.IntN(len(open))
				e.Cancel(open[i])
				open = slices.Delete(open, i, i+1)
			default:
				for _, j := range e.Step() {
					if j.First < j.Arrived || j.Done < j.First || j.Hit >= j.Prompt {
						t.Fatalf("%+v", *j)
					}
					times += fmt.Sprint(j.Done, " ")
					open = slices.DeleteFunc(open, func(k *Job) bool { return k == j })
				}
			}
			e.check(t)
		}
		if done := e.run(t); len(done) != len(open) {
			t.Errorf("seed %d: %d done of %d", seed, len(done), len(open))
		}
		return times
	}
	for seed := range uint64(30) {
		if a, b := play(seed), play(seed); a != b {
			t.Fatalf("seed %d makes two runs", seed)
		}
	}
}

// An engine in real time: what was read once is quick the next time, and the page of metrics has the family's names.
func TestEngineServes(t *testing.T) {
	for family, names := range families {
		s, err := Start(Options{Family: family, Engine: EngineOptions{PerToken: 20 * time.Microsecond, PerStep: time.Millisecond}})
		if err != nil {
			t.Fatal(err)
		}
		body := `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("word ", 4000) + `"}],"max_tokens":5,"stream":true}`
		first := func() time.Duration {
			begun := time.Now()
			r, err := http.Post(s.URL()+"/v1/chat/completions", "application/json", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			took := time.Since(begun)
			text, _ := io.ReadAll(r.Body)
			r.Body.Close()
			if r.StatusCode != 200 || !strings.HasSuffix(strings.TrimSpace(string(text)), "[DONE]") {
				t.Fatalf("%d %.200s", r.StatusCode, text)
			}
			return took
		}
		if cold := first(); cold < 90*time.Millisecond { // 5000 tokens
			t.Errorf("%s: it read 20 KB in %v", family, cold)
		}
		first()
		r, err := http.Get(s.URL() + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		page, _ := io.ReadAll(r.Body)
		r.Body.Close()
		for _, name := range []string{names.running, names.waiting, names.kv, names.hits} {
			if !strings.Contains(string(page), name) {
				t.Errorf("%s: no %s in %s", family, name, page)
			}
		}
		if l := s.engine.load(); l.Hits < 4900 || l.Asked < 10000 {
			t.Errorf("%s: %+v", family, l)
		}
		s.Close()
	}
	if _, err := Start(Options{Family: "abacus"}); err == nil {
		t.Error("an unknown family is taken")
	}
}
