package server

import (
	"time"

	"aigateway/gateway/cache"
	"aigateway/gateway/caching"
	"aigateway/gateway/config"
	"aigateway/gateway/inference"
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

// ruleOf is what a configured route does with responses.
func (g *Gateway) ruleOf(s *config.Settings, c config.Route) *caching.Rule {
	policy := cache.Policy{
		TTL: c.Cache.TTL, NegativeTTL: c.Cache.NegativeTTL, StaleIfError: c.Cache.StaleIfError,
		HeuristicMax: s.Cache.TTL, MaxBody: g.settings.Cache.MaxBodyBytes,
	}
	wait := s.ResponseTimeout
	for _, p := range s.Pools {
		if p.Name == c.Pool {
			wait = p.Timeouts.Connect + p.Timeouts.Response
			if c.OpenAI {
				wait = p.Timeouts.Connect + p.Timeouts.Generation
			}
		}
	}
	return &caching.Rule{Policy: policy, Fields: fieldsOf(c.Cache), Post: postRuleOf(s, c, policy), Shared: c.Cache.Shared, Wait: wait + time.Second}
}

// postRuleOf is what a configured route does with models' answers to POST; nil: they pass.
func postRuleOf(s *config.Settings, c config.Route, policy cache.Policy) *caching.PostRule {
	p := c.Cache.Post
	if p == nil {
		return nil
	}
	if policy.TTL == 0 {
		policy.TTL = s.Cache.TTL
	}
	rule := &caching.PostRule{Policy: policy, Route: []byte(c.Path), Shared: p.Scope == config.SharedScope, Tools: p.Tools, Paced: p.Replay == config.Paced}
	switch p.When {
	case config.Always:
		rule.When = inference.Always
	case config.ByHeader:
		rule.When = inference.OnRequest
	}
	return rule
}

// fieldsOf is what a configured route says about request fields.
func fieldsOf(c config.RouteCache) *cache.Fields {
	if len(c.KeyFields) == 0 && len(c.IgnoreFields) == 0 {
		return nil
	}
	f := &cache.Fields{}
	for _, name := range c.KeyFields {
		f.Key = append(f.Key, []byte(name))
	}
	for _, name := range c.IgnoreFields {
		f.Ignore = append(f.Ignore, []byte(name))
	}
	return f
}
