package caching

import (
	"time"

	"aigateway/gateway/cache"
	"aigateway/gateway/config"
	"aigateway/gateway/inference"
)

// RuleOf is what a configured route does with responses, of which no body longer than maxBody is kept.
func RuleOf(s *config.Settings, c config.Route, maxBody int64) *Rule {
	policy := cache.Policy{
		TTL: c.Cache.TTL, NegativeTTL: c.Cache.NegativeTTL, StaleIfError: c.Cache.StaleIfError,
		HeuristicMax: s.Cache.TTL, MaxBody: maxBody,
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
	return &Rule{Policy: policy, Fields: fieldsOf(c.Cache), Post: postRuleOf(s, c, policy), Shared: c.Cache.Shared, Wait: wait + time.Second}
}

// postRuleOf is what a configured route does with models' answers to POST; nil: they pass.
func postRuleOf(s *config.Settings, c config.Route, policy cache.Policy) *PostRule {
	p := c.Cache.Post
	if p == nil {
		return nil
	}
	if policy.TTL == 0 {
		policy.TTL = s.Cache.TTL
	}
	rule := &PostRule{Policy: policy, Route: []byte(c.Path), Shared: p.Scope == config.SharedScope, Tools: p.Tools, Paced: p.Replay == config.Paced}
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
