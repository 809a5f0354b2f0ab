package telemetry

import (
	"encoding/json"
	"testing"
	"time"
)

// A snapshot and the page tell the same.
func TestSnapshot(t *testing.T) {
	o := testOptions()
	o.CacheTiers, o.CacheReasons = []string{"memory", "redis"}, []string{"absent"}
	m := New(o)
	m.Route("/v1/*").Done([]byte("GET"), 200, 2*time.Second, 30*time.Microsecond)
	m.Route("/infer/python").Done([]byte("POST"), 429, time.Millisecond, 30*time.Microsecond)
	m.Route("").Done([]byte("BREW"), 501, time.Hour, time.Hour)
	m.Route("").Done(nil, 7, 0, 0)
	m.Upstream("llm", "http://c:80").Done(503, 1)
	m.Upstream("llm", "http://c:80").Error("truncated")
	m.Cache().Hit(1)
	m.Cache().Miss(0)
	m.Cache().Coalesced()
	m.Cancel("waiting")
	m.BeginStream()
	m.Truncated()
	s := m.Snapshot([]string{"python", "llm"}, map[string][]string{"llm": {"http://c:80"}, "python": {"http://b:8001", "http://gone"}})
	if s.Requests.Total != 4 || s.Requests.Class != [6]uint64{1, 0, 1, 0, 1, 1} {
		t.Errorf("requests: %+v", s.Requests)
	}
	var n uint64
	for _, c := range s.Duration.Counts {
		n += c
	}
	if n != 4 || s.Duration.Sum != 3602.001 || len(s.Duration.Counts) != len(s.Duration.Bounds)+1 || s.Duration.Counts[len(requestBounds)] != 1 {
		t.Errorf("durations: %+v", s.Duration)
	}
	if s.Cache.Hits[1] != 1 || s.Cache.Misses != 1 || s.Cache.Coalesced != 1 || s.Refused.Client != 3 || s.Refused.Global != 4 || s.Clients != 1 {
		t.Errorf("cache %+v, refused %+v", s.Cache, s.Refused)
	}
	if s.Streams != 1 || s.Left != 1 || s.Truncated != 1 || s.Panics != 0 {
		t.Errorf("%+v", s)
	}
	if len(s.Upstreams) != 2 || s.Upstreams[1] != (UpstreamCounts{Pool: "llm", URL: "http://c:80", Answers: Responses{1, [6]uint64{5: 1}}, Errors: 1, Inflight: 7}) {
		t.Errorf("upstreams: %+v", s.Upstreams)
	}
	if _, err := json.Marshal(s); err != nil {
		t.Error(err)
	}
	var off *Metrics
	if got := off.Snapshot(nil, nil); got.Requests.Total != 0 {
		t.Errorf("%+v", got)
	}
	if got := New(Options{}).Snapshot(nil, nil); len(got.Cache.Hits) != 0 {
		t.Errorf("%+v", got)
	}
}

func BenchmarkSnapshot(b *testing.B) {
	m := New(testOptions())
	b.ReportAllocs()
	for b.Loop() {
		m.Snapshot([]string{"llm"}, map[string][]string{"llm": {"http://c:80"}})
	}
}

// What is put aside has a bound: the models with the most tokens, and nothing of single upstreams.
func TestSnapshotBrief(t *testing.T) {
	s := Snapshot{Upstreams: make([]UpstreamCounts, 3), Engines: make([]EngineState, 3), Queues: make([]QueueCounts, 3)}
	for i := range 10 {
		s.Generations.Models = append(s.Generations.Models, ModelCounts{Model: string(rune('a' + i)), Output: int64(i)})
	}
	s.Brief(2)
	if m := s.Generations.Models; len(m) != 2 || m[0].Model != "j" || m[1].Model != "i" || s.Upstreams != nil || s.Engines != nil || s.Queues != nil {
		t.Errorf("%+v", s)
	}
}

// Refusals are told by tenant and by limit, and by limit for all.
func TestRefusals(t *testing.T) {
	m := New(testOptions())
	l := NewLedger(m)
	for range 2 {
		l.Refuse("a", "key-tpm")
		m.OverBudget("key-tpm")
	}
	l.Refuse("b", "key-rpm")
	if by := l.Refused("a"); len(by) != 1 || by["key-tpm"] != 2 || l.Refused("c") != nil {
		t.Errorf("%v", by)
	}
	if by := m.Snapshot(nil, nil).Budgets; len(by) != 1 || by["key-tpm"] != 2 {
		t.Errorf("%v", by)
	}
	var off *Ledger
	off.Refuse("a", "key-tpm")
	if off.Refused("a") != nil {
		t.Error("a ledger that is off counts")
	}
}
