package telemetry

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// A Snapshot is what a person looks at, added up over routes. Counts begin at the start of the process, so that who takes
// two of them has what happened in between.
type Snapshot struct {
	Requests Responses    `json:"requests"`
	Duration Distribution `json:"duration"`
	Overhead Distribution `json:"overhead"`
	Cache    CacheCounts  `json:"cache"`
	Refused  struct {
		Client uint64 `json:"client"`
		Global uint64 `json:"global"`
	} `json:"refused"`
	Clients   int              `json:"clients"` // in the limiter's table
	Streams   int64            `json:"streams"` // open now
	Left      uint64           `json:"left"`    // clients, before their answer was whole
	Truncated uint64           `json:"truncated"`
	Panics    uint64           `json:"panics"`
	Upstreams []UpstreamCounts `json:"upstreams"`
	Engines   []EngineState    `json:"engines,omitempty"`
	Prefixes  []PrefixState    `json:"prefixes,omitempty"`
	Queues    []QueueCounts    `json:"queues"`

	Generations Generations       `json:"generations"`
	Waiting     map[string]int64  `json:"waiting,omitempty"` // requests that wait for a place now, in all pools, by class
	Load        EngineLoad        `json:"load"`
	Again       map[string]uint64 `json:"again,omitempty"`   // requests that were sent again, by why
	Budgets     map[string]uint64 `json:"budgets,omitempty"` // requests that a limit of a key, a model or all has refused, by the limit
}

// EngineLoad is what all engines together say of themselves.
type EngineLoad struct {
	Running int64 `json:"running"`
	Waiting int64 `json:"waiting"`
}

// Generations are what was asked of models, and what came of it.
type Generations struct {
	Active   int64         `json:"active"` // under way now
	Input    int64         `json:"input"`  // tokens, of all models
	Output   int64         `json:"output"`
	First    Distribution  `json:"first"` // until the first token, of streams
	PerToken Distribution  `json:"per_token"`
	Models   []ModelCounts `json:"models"` // those of which something is known, by name
}

// ModelCounts are those of one model.
type ModelCounts struct {
	Model  string `json:"model"`
	Count  uint64 `json:"count"` // of generations, those that failed too
	Failed uint64 `json:"failed"`
	Input  int64  `json:"input"` // tokens
	Output int64  `json:"output"`
}

// Responses are requests by the class of their status; the refused and those whose client left are of the fourth.
type Responses struct {
	Total uint64    `json:"total"`
	Class [6]uint64 `json:"class"` // by the first digit; 0: no status that there is
}

// A Distribution is a histogram: Counts has one more than Bounds, and is not cumulative.
type Distribution struct {
	Bounds []float64 `json:"bounds"` // seconds
	Counts []uint64  `json:"counts"`
	Sum    float64   `json:"sum"` // seconds
}

// CacheCounts are hits by tier. Without a cache there are no tiers.
type CacheCounts struct {
	Tiers     []string `json:"tiers"`
	Hits      []uint64 `json:"hits"`
	Misses    uint64   `json:"misses"`
	Coalesced uint64   `json:"coalesced"`
	Saved     uint64   `json:"saved"` // tokens that no model had to read or write again
}

// UpstreamCounts are an upstream's answers by class, its errors, and what it is like now.
type UpstreamCounts struct {
	Pool     string    `json:"pool"`
	URL      string    `json:"url"`
	Answers  Responses `json:"answers"`
	Errors   uint64    `json:"errors"`
	Inflight int64     `json:"inflight"`
	Healthy  bool      `json:"healthy"`
	Breaker  int       `json:"breaker"` // 0 closed, 1 half open, 2 open
}

// QueueCounts is what waits for a pool now, by class, and how many were refused so far.
type QueueCounts struct {
	Pool    string           `json:"pool"`
	Waiting map[string]int64 `json:"waiting"`
	Shed    int64            `json:"shed"`
}

// queueCounts reads the queue of a pool.
func (m *Metrics) queueCounts(pool string) QueueCounts {
	c := QueueCounts{Pool: pool, Waiting: make(map[string]int64)}
	state := m.options.QueueState(pool)
	for i, class := range m.options.QueueClasses {
		c.Waiting[class] = state.Waiting[i]
	}
	for _, n := range state.Shed {
		c.Shed += n
	}
	return c
}

// waiting is what waits in all pools, by class; nil, if nothing does.
func (m *Metrics) waiting() (by map[string]int64) {
	if m.options.QueueState == nil {
		return nil
	}
	for pool := range m.pools {
		state := m.options.QueueState(pool)
		for i, class := range m.options.QueueClasses {
			if state.Waiting[i] == 0 {
				continue
			}
			if by == nil {
				by = make(map[string]int64)
			}
			by[class] += state.Waiting[i]
		}
	}
	return by
}

// Brief leaves out of a snapshot what there is one of for each upstream, and all models but so many of those with the most tokens: what is
// left has a bound.
func (s *Snapshot) Brief(most int) {
	s.Upstreams, s.Engines, s.Prefixes, s.Queues = nil, nil, nil, nil
	if models := s.Generations.Models; len(models) > most {
		slices.SortStableFunc(models, func(a, b ModelCounts) int { return cmp.Compare(b.Input+b.Output, a.Input+a.Output) })
		s.Generations.Models = models[:most]
	}
}

// Snapshot reads the counters. The upstreams are those named, so that what a reload took away is not shown.
func (m *Metrics) Snapshot(pools []string, urls map[string][]string) (s Snapshot) {
	if m == nil {
		return s
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	s.Requests = m.past.requests
	durations, overheads := []*histogram{m.past.duration}, []*histogram{m.past.overhead}
	for _, r := range slices.AppendSeq(slices.Clone(m.past.leaving), maps.Values(m.routes)) {
		s.Requests.addRoute(r)
		durations, overheads = append(durations, r.duration), append(overheads, r.overhead)
	}
	s.Duration, s.Overhead = distributionOf(durations), distributionOf(overheads)
	s.Cache = CacheCounts{Tiers: m.tiers, Coalesced: m.cache.CoalescedTotal(), Saved: m.cache.SavedTotal()}
	s.Cache.Hits, s.Cache.Misses = m.cache.Totals()
	if m.rateLimit != nil {
		l := m.rateLimit()
		s.Refused.Client, s.Refused.Global, s.Clients = l.DroppedClient, l.DroppedGlobal, l.Clients
	}
	s.Streams, s.Truncated, s.Panics = m.streams.open.Load(), m.truncated.Get(), m.panics.Get()
	s.Left = m.cancels.total()
	s.Generations = m.genAI.snapshot()
	if m.options.Engines != nil {
		s.Engines, s.Prefixes = m.options.Engines()
	}
	for i := range s.Engines {
		s.Load.Running += s.Engines[i].Running
		s.Load.Waiting += s.Engines[i].Waiting
	}
	s.Again, s.Budgets = m.retries.byValue(), m.overBudget.totals()
	s.Waiting = m.waiting()
	for _, pool := range pools {
		if m.options.QueueState != nil {
			s.Queues = append(s.Queues, m.queueCounts(pool))
		}
		for _, url := range urls[pool] {
			if u := m.upstreams[upstreamName{pool, url}]; u != nil {
				s.Upstreams = append(s.Upstreams, m.upstreamCounts(u, upstreamName{pool, url}))
			}
		}
	}
	return s
}

func (m *Metrics) upstreamCounts(u *Upstream, name upstreamName) UpstreamCounts {
	c := UpstreamCounts{Pool: name.pool, URL: name.url, Errors: u.errors.total()}
	c.Answers.add(&u.requests)
	if m.options.UpstreamState != nil {
		state := m.options.UpstreamState(name.pool, name.url)
		c.Inflight, c.Healthy, c.Breaker = state.Inflight, state.Healthy, state.Breaker
	}
	return c
}

func (r *Responses) addRoute(of *Route) {
	for i := range of.requests {
		r.add(of.requests[i].Load())
	}
}

func (r *Responses) add(c *codes) {
	if c == nil {
		return
	}
	for i := range c.by {
		counter := c.by[i].Load()
		if counter == nil {
			continue
		}
		class := 0
		if i < len(c.by)-1 {
			class = (lowestCode + i) / 100
		}
		n := counter.Get()
		r.Class[class] += n
		r.Total += n
	}
}

func (t *tally) total() (n uint64) {
	for _, c := range t.counters {
		n += c.Get()
	}
	return n
}

// distributionOf adds histograms up.
func distributionOf(parts []*histogram) (d Distribution) {
	var sum time.Duration
	for _, h := range parts {
		if d.Counts == nil {
			d.Counts = make([]uint64, len(h.bounds)+1)
			for _, b := range h.bounds {
				d.Bounds = append(d.Bounds, b.Seconds())
			}
		}
		for i := range d.Counts {
			d.Counts[i] += h.counts[i].Load()
		}
		sum += time.Duration(h.sum.Load())
	}
	d.Sum = sum.Seconds()
	return d
}
