package server

import (
	"aigateway/gateway/cache"
	"aigateway/gateway/caching"
	"aigateway/gateway/config"
	"aigateway/gateway/ops"
)

// openCache opens the stores that the settings name. Without a cache, the store is nil, which is off.
func (g *Gateway) openCache() (err error) {
	c := g.settings.Cache
	if !c.Enabled {
		return nil
	}
	o := cache.Options{
		MemoryBytes: c.MemoryBytes, MaxEntries: c.MaxEntries,
		// A record is the body, the head, the texts of its key and some numbers.
		MaxRecord: int(c.MaxBodyBytes) + 4*g.settings.MaxHeaderBytes + caching.RecordOverhead,
	}
	if c.Backend == config.InRedis {
		o.Redis = &cache.RedisOptions{
			Redis:   g.settings.Redis,
			OnState: g.tellRedisState,
			Selects: ops.PurgeOfAnother,
		}
	}
	g.store, err = cache.Open(o)
	return err
}

// tellRedisState writes a line when Redis can do more or less than before.
func (g *Gateway) tellRedisState(state cache.RedisState, err error) {
	lines := map[cache.RedisState]string{
		cache.RedisOK:       "the cache uses Redis again",
		cache.RedisNoPush:   "Redis cannot tell the cache what other gateways change: answers stay in memory for two seconds at most",
		cache.RedisRefuses:  "Redis refuses what the cache writes: answers stay in this gateway's memory",
		cache.RedisReadOnly: "the cache's Redis is a read-only replica: answers stay in this gateway's memory, and it cannot purge",
		cache.RedisFull:     "the cache's Redis is full: answers stay in this gateway's memory",
		cache.RedisSlow:     "the cache's Redis is slow: only memory is asked",
		cache.RedisAway:     "the cache does without Redis",
	}
	log, why := g.log.Warn, []any{"state", state.String()}
	if state == cache.RedisOK {
		log = g.log.Info
	}
	if err != nil {
		why = append(why, "error", err.Error())
	}
	log(lines[state], why...)
}
