package telemetry

import (
	"bytes"
	"fmt"

	"github.com/VictoriaMetrics/metrics"
)

// Cache is the series of the cache that a request moves. A nil Cache counts nothing.
type Cache struct {
	hits      []*metrics.Counter // by the number of the tier
	misses    []*metrics.Counter // by the number of the reason
	coalesced *metrics.Counter
	saved     *metrics.Counter
	judged    []*metrics.Counter // by the number of the reason
}

// CacheState is what the cache tells about itself at a scrape, by tier and by source in the order of Options.
type CacheState struct {
	Entries       []uint64
	Bytes         []uint64
	Invalidations []uint64
	Evictions     uint64 // from memory, to make room
	RedisErrors   uint64 // calls that failed or came too late, and values that were not what they should be
	RedisDropped  uint64 // writes that found the queue full, or Redis did not take
	MemoryOnly    uint64 // of them, those that memory keeps
	Flying        uint64 // bytes of answers that are being fetched for more than one, or to be kept
	RedisState    string // one of RedisStates
	RedisStates   []string
	Trusted       bool // memory is told of what other replicas change, or there are none
}

// addCache registers the counters. Names are by number: the cache's own numbers index them.
func (m *Metrics) addCache(o Options) {
	m.cacheState, m.tiers, m.sources = o.Cache, o.CacheTiers, o.CacheSources
	hits := m.counters("cache_hits_total", "Requests answered from the cache, by the tier that had the answer.")
	misses := m.counters("cache_misses_total", "Requests on routes with a cache that were not answered from it, by reason.")
	coalesced := m.counters("cache_coalesced_total", "Misses that were answered by another request's fetch.").counter("")
	saved := m.counters("cache_saved_tokens_total", "Tokens in and out of models' answers that came from the cache or from another request's generation.").counter("")
	judged := m.counters("cache_generations_total", "Whole answers of models on routes that keep them, by why they were not kept; none: they were.")
	c := &Cache{coalesced: coalesced, saved: saved}
	for _, tier := range o.CacheTiers {
		c.hits = append(c.hits, hits.counter(label("tier", tier)))
	}
	for i, reason := range o.CacheReasons {
		c.misses = append(c.misses, misses.counter(label("reason", reason)))
		if i == 0 { // which is no reason
			reason = "none"
		}
		c.judged = append(c.judged, judged.counter(label("reason", reason)))
	}
	m.cache = c
}

// Cache returns the series of the cache.
func (m *Metrics) Cache() *Cache {
	if m == nil {
		return nil
	}
	return m.cache
}

// Hit counts an answer from the cache.
func (c *Cache) Hit(tier int) {
	if c != nil && tier < len(c.hits) {
		c.hits[tier].Inc()
	}
}

// Miss counts a request that the cache did not answer.
func (c *Cache) Miss(reason int) {
	if c != nil && reason < len(c.misses) {
		c.misses[reason].Inc()
	}
}

// Coalesced counts a miss that another request's fetch answered.
func (c *Cache) Coalesced() {
	if c != nil {
		c.coalesced.Inc()
	}
}

// Saved counts tokens that no model had to read or write.
func (c *Cache) Saved(tokens uint64) {
	if c != nil {
		c.saved.Add(int(tokens))
	}
}

// Judged counts a model's whole answer by why it is not kept; 0: it is.
func (c *Cache) Judged(reason int) {
	if c != nil && reason < len(c.judged) {
		c.judged[reason].Inc()
	}
}

// SavedTotal is what Saved has counted.
func (c *Cache) SavedTotal() uint64 {
	if c == nil {
		return 0
	}
	return c.saved.Get()
}

// Totals are the hits and misses since the start: hits by tier.
func (c *Cache) Totals() (hits []uint64, misses uint64) {
	if c == nil {
		return nil, 0
	}
	for _, n := range c.hits {
		hits = append(hits, n.Get())
	}
	for _, n := range c.misses {
		misses += n.Get()
	}
	return hits, misses
}

// CoalescedTotal is what Coalesced has counted.
func (c *Cache) CoalescedTotal() uint64 {
	if c == nil {
		return 0
	}
	return c.coalesced.Get()
}

// MissesByReason are the misses since the start, in the order of Options.CacheReasons.
func (c *Cache) MissesByReason() (all []uint64) {
	if c != nil {
		for _, n := range c.misses {
			all = append(all, n.Get())
		}
	}
	return all
}

// writeCache asks the cache once for all of its series.
func (m *Metrics) writeCache(b *bytes.Buffer) {
	if len(m.tiers) == 0 {
		return
	}
	s := CacheState{
		Entries: make([]uint64, len(m.tiers)), Bytes: make([]uint64, len(m.tiers)),
		Invalidations: make([]uint64, len(m.sources)),
	}
	if m.cacheState != nil {
		s = m.cacheState()
	}
	f := func(name, help, kind, by string, labels []string, values []uint64) {
		writeHead(b, name, help, kind)
		for i, v := range values {
			fmt.Fprintf(b, "%s{%s} %d\n", name, label(by, labels[i]), v)
		}
	}
	f("cache_entries", "Answers kept, by tier; of Redis those that this replica has written since its start.", "gauge", "tier", m.tiers, s.Entries)
	f("cache_bytes", "Bytes taken, by tier; of Redis those that this replica has written since its start.", "gauge", "tier", m.tiers, s.Bytes)
	f("cache_invalidations_total", "Answers dropped before their time, by who wanted it.", "counter", "source", m.sources, s.Invalidations)
	one := func(name, help, kind string, value uint64) {
		writeHead(b, name, help, kind)
		fmt.Fprintf(b, "%s %d\n", name, value)
	}
	one("cache_flight_bytes", "Bytes of answers on their way into the cache and to all who wait for them.", "gauge", s.Flying)
	one("cache_evictions_total", "Answers dropped from memory to make room.", "counter", s.Evictions)
	one("cache_redis_errors_total", "Calls of the cache to Redis that failed, came too late or found what it did not write.", "counter", s.RedisErrors)
	one("cache_redis_dropped_total", "Answers not written to Redis because it did not take them or too many were waiting.", "counter", s.RedisDropped)
	one("cache_memory_only_total", "Answers that Redis did not take and memory keeps.", "counter", s.MemoryOnly)
	if len(s.RedisStates) > 0 {
		writeHead(b, "cache_redis_state", "1 for what Redis can do now: ok, or what keeps it from that.", "gauge")
		for _, state := range s.RedisStates {
			fmt.Fprintf(b, "cache_redis_state{%s} %d\n", label("state", state), uint64(oneIf(state == s.RedisState)))
		}
	}
	one("cache_memory_trusted", "0 while memory is not used because nobody tells it what other replicas change.", "gauge", uint64(oneIf(s.Trusted)))
}
