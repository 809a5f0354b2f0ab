package ops

import (
	"aigateway/gateway/cache"
	"aigateway/gateway/telemetry"
)

// CacheSources are where what invalidates a stored response may come from, as labels of metrics.
func CacheSources() []string { return []string{"purge", "delete", "push", "expiry", "lost"} }

// MissReasons are why an answer did not come from the cache, by the numbers of cache.Reason: none is that nothing is
// stored.
func MissReasons() []string {
	all := []string{"absent"}
	for _, r := range cache.Reasons() {
		all = append(all, r.String())
	}
	return all
}

// Tiers are the tiers there are, in the order in which they are asked.
func Tiers(s *cache.Store) []string {
	switch {
	case s == nil:
		return nil
	case s.Stats().Redis != nil:
		return []string{cache.Memory.String(), cache.Redis.String()}
	}
	return []string{cache.Memory.String()}
}

// CacheState is what metrics show of the stores.
func CacheState(store *cache.Store) telemetry.CacheState {
	s := store.Stats()
	state := telemetry.CacheState{
		Entries: []uint64{s.Entries}, Bytes: []uint64{s.Bytes}, Evictions: s.Evictions, Trusted: true,
	}
	for _, source := range CacheSources() {
		state.Invalidations = append(state.Invalidations, s.Invalidations[source])
	}
	if r := s.Redis; r != nil {
		state.Entries, state.Bytes = append(state.Entries, r.Written), append(state.Bytes, r.WrittenBytes)
		state.RedisDropped, state.Trusted = r.Dropped, r.Trusted
		state.MemoryOnly, state.RedisState = r.Alone, r.State.String()
		for _, s := range cache.RedisStates() {
			state.RedisStates = append(state.RedisStates, s.String())
		}
		for _, n := range r.Faults {
			state.RedisErrors += n
		}
	}
	return state
}
