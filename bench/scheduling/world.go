package main

import (
	"container/heap"
	"math/rand/v2"
	"slices"
	"time"

	"aigateway/gateway/proxy"
	"aigateway/gateway/simulator"
)

// engineOptions are all stated, because the oracle reckons with them.
var engineOptions = simulator.EngineOptions{Batch: 32, KVBlocks: 8192, Chunk: 2048, PerStep: 8 * time.Millisecond, PerSequence: 200 * time.Microsecond,
	PerToken: 100 * time.Microsecond, Jitter: 0.05}

// A result is what came of a policy.
type result struct {
	Policy     string  `json:"policy"`
	Found      float64 `json:"found"`        // share of the prompts' tokens that were in the engine's cache
	MostByMean float64 `json:"most_by_mean"` // requests of the engine that had most, by the mean
	P50        float64 `json:"ttft_p50_ms"`
	P90        float64 `json:"ttft_p90_ms"`
	P99        float64 `json:"ttft_p99_ms"`

	hits, asked int
	ratios      []float64
	ttft        []time.Duration
}

func (r *result) add(o result) {
	r.hits, r.asked = r.hits+o.hits, r.asked+o.asked
	r.ratios, r.ttft = append(r.ratios, o.ratios...), append(r.ttft, o.ttft...)
}

func (r *result) finish() {
	slices.Sort(r.ttft)
	at := func(share float64) float64 { return r.ttft[int(share*float64(len(r.ttft)-1))].Seconds() * 1000 }
	r.Found, r.P50, r.P90, r.P99 = float64(r.hits)/float64(r.asked), at(0.5), at(0.9), at(0.99)
	for _, v := range r.ratios {
		r.MostByMean += v / float64(len(r.ratios))
	}
}

// An event happens at a time; equal times in the order in which they were planned.
type event struct {
	at    time.Duration
	order int
	do    func()
}

// A world is engines, gateways, and what happens next.
type world struct {
	now    time.Duration
	events events
	order  int
	left   int // turns

	policy   policy
	engines  []*simulator.Engine
	gateways []*gateway
	rng      *rand.Rand
	open     [engines][]*asked
	served   [engines]int
	result   result
}

// asked is a request under way.
type asked struct {
	job     *simulator.Job
	gateway *gateway // nil: the oracle's
	engine  int
	prefix  []uint64
	told    bool // that its answer has begun
	then    func()
}

// run plays the work once.
func run(work []*conversation, p policy, seed uint64) result {
	w := &world{policy: p, rng: rand.New(rand.NewPCG(seed, 2)), left: len(work) * turns}
	for i := range engines {
		o := engineOptions
		o.Seed = seed*engines + uint64(i)
		w.engines = append(w.engines, simulator.NewEngine(o))
	}
	if p.balance != "" {
		for range max(1, p.replicas) {
			w.gateways = append(w.gateways, newGateway(p.balance))
		}
	}
	for _, c := range work {
		w.plan(c.starts, func() { w.ask(c, 0) })
	}
	if p.says != nil {
		for i := range engines {
			w.plan(time.Duration(w.rng.Int64N(int64(p.every))), func() { w.read(i) })
		}
	}
	for w.left > 0 {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		e.do()
	}
	most, mean := slices.Max(w.served[:]), float64(len(work)*turns)/engines
	w.result.ratios = []float64{float64(most) / mean}
	return w.result
}

func (w *world) plan(at time.Duration, do func()) {
	w.order++
	heap.Push(&w.events, event{at, w.order, do})
}

// ask sends a turn, and the next one some time after its answer.
func (w *world) ask(c *conversation, n int) {
	t := &c.turns[n]
	a := &asked{job: &simulator.Job{Blocks: t.blocks, Prompt: t.prompt, Output: t.output}}
	if len(w.gateways) == 0 {
		a.engine = foresee(w.engines, engineOptions, a.job)
	} else {
		a.gateway = w.gateways[w.rng.IntN(len(w.gateways))]
		a.engine, a.prefix = a.gateway.choose(c, t)
	}
	a.then = func() {
		if w.left--; n+1 < len(c.turns) {
			w.plan(w.now+c.turns[n+1].think, func() { w.ask(c, n+1) })
		}
	}
	w.served[a.engine]++
	w.open[a.engine] = append(w.open[a.engine], a)
	e := w.engines[a.engine]
	_, working := e.Next()
	if !e.Submit(w.now, a.job) {
		panic("BUG: a conversation that fits no engine")
	}
	if !working {
		w.work(a.engine)
	}
}

// work plans the end of an engine's step.
func (w *world) work(i int) {
	if at, working := w.engines[i].Next(); working {
		w.plan(at, func() { w.step(i) })
	}
}

func (w *world) step(i int) {
	w.engines[i].Step()
	w.open[i] = slices.DeleteFunc(w.open[i], func(a *asked) bool {
		j := a.job
		if j.First > 0 && !a.told {
			a.told = true
			w.result.ttft = append(w.result.ttft, j.First-j.Arrived)
			w.result.hits, w.result.asked = w.result.hits+j.Hit, w.result.asked+j.Prompt
			if a.gateway != nil {
				a.gateway.balancer.Answered(i, a.prefix)
			}
		}
		if j.Done > 0 {
			if a.gateway != nil {
				a.gateway.balancer.Release(i)
			}
			a.then()
		}
		return j.Done > 0
	})
	w.work(i)
}

// read has all gateways read what an engine says.
func (w *world) read(i int) {
	l := w.engines[i].Load()
	said := w.policy.says(i, proxy.Load{Engine: "vllm", Running: int64(l.Running), Waiting: int64(l.Waiting), KV: l.KV}, w.rng)
	w.plan(w.now+w.policy.late, func() {
		for _, g := range w.gateways {
			g.balancer.Tell(i, said)
		}
	})
	w.plan(w.now+w.policy.every*9/10+time.Duration(w.rng.Int64N(int64(w.policy.every/5))), func() { w.read(i) })
}

// events is a heap.
type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].order < e[j].order
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }

// Push implements [heap.Interface].
func (e *events) Push(v any) { *e = append(*e, v.(event)) }

// Pop implements [heap.Interface].
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}
