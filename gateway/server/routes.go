package server

import (
	"slices"

	"aigateway/gateway/caching"
	"aigateway/gateway/charging"
	"aigateway/gateway/config"
	"aigateway/gateway/models"
	"aigateway/gateway/ops"
	"aigateway/gateway/proxy"
	"aigateway/gateway/routing"
)

// newRoute provisions a configured route.
func (g *Gateway) newRoute(p *plan, c config.Route) *route {
	r := &route{Route: routing.New(c), allow: ops.Allow(c.Methods), maxBody: c.MaxBodyBytes, openAI: c.OpenAI, closed: byKey}
	r.metrics = g.metrics.Route(c.Path)
	r.cors = routing.NewCORS(c)
	if r.limit = p.limits.Of(c.Limit.Rate); r.limit != nil {
		r.policy = r.limit.AppendPolicy(nil)
		r.cost = max(1, c.Limit.Cost)
	}
	if g.store != nil && !c.Cache.Off {
		r.caching = caching.RuleOf(p.settings, c, g.settings.Cache.MaxBodyBytes)
	}
	switch c.Local {
	case "slow":
		r.reply, r.work = g.slow, slowly
		if r.caching != nil {
			r.caching.Local = slowly
		}
	case "limited":
		r.reply = g.limited
	default:
		if g.proxy.Pool(c.Pool) != nil {
			r.targets = g.targetsOf(p.settings, c)
			r.aim(len(c.Rewrite), r.targets)
		} else {
			r.missing = &noLLM
		}
		if r.openAI {
			r.model(p)
		} else {
			r.guardModels(p)
		}
		r.retry = policies[c.Retry]
	}
	return r
}

// guardModels has a route of its own to engines look for the models that a key may not ask, by the name that the engines will read, because
// none is found by another one there; and for the tokens that requests may need.
func (r *route) guardModels(p *plan) {
	if !p.keys.Limits() && !p.settings.CountsTokens() || len(r.targets) == 0 {
		return
	}
	own := r.targets[0].Pool
	if own.Discovers() || slices.ContainsFunc(p.models.Pools(), func(t proxy.Target) bool { return t.Pool == own }) {
		var none *models.Plan
		r.models = none.RouteOf(models.Options{Pool: own, Limits: true})
		r.room += charging.RoomToInject
	}
}

// model notes what the route does with models, to whose upstreams it may then lead.
func (r *route) model(p *plan) {
	var own *proxy.Pool
	if len(r.targets) > 0 {
		own = r.targets[0].Pool
	}
	if p.charging != nil {
		r.room += charging.RoomToInject
	}
	r.models = p.models.RouteOf(models.Options{Pool: own, Counts: p.charging != nil, Clock: r.clocked(), Limits: p.keys.Limits()})
	if p.models == nil {
		return
	}
	r.missing = nil // there are models; what is for none of them is told later
	r.aim(len(r.Rewrite)+p.models.Table().Longest(), p.models.Pools())
}

// clocked tells whether the first content of a stream has a time, after which another pool is asked.
func (r *route) clocked() bool {
	return len(r.targets) > 1 && slices.ContainsFunc(r.targets[:len(r.targets)-1], func(t proxy.Target) bool { return t.Pool.Clocks() })
}

// targetsOf are a route's pool and the one that stands in for it, if there is one.
func (g *Gateway) targetsOf(s *config.Settings, c config.Route) []proxy.Target {
	targets := []proxy.Target{{Pool: g.proxy.Pool(c.Pool)}}
	if fallback := g.fallback(s, c); fallback != nil {
		targets = append(targets, proxy.Target{Pool: fallback})
	}
	return targets
}

// aim notes what requests to these targets need, which may become longer by so many bytes in their own words.
func (r *route) aim(longer int, targets []proxy.Target) {
	for _, t := range targets {
		r.room = max(r.room, longer+t.Pool.CredentialRoom()+len(t.With))
		r.byClient = r.byClient || t.Pool.ByClient()
	}
}

// policies are what the proxy calls the ways to send again.
var policies = map[config.Retry]proxy.Policy{
	"": proxy.Usual, config.RetryNever: proxy.Never, config.RetrySafe: proxy.Safe, config.RetryReattempt: proxy.Reattempt,
}

// fallback is the pool that stands in for a route's own: the route's choice, or else the pool's.
func (g *Gateway) fallback(s *config.Settings, c config.Route) *proxy.Pool {
	if c.Fallback != "" {
		return g.proxy.Pool(c.Fallback)
	}
	for _, p := range s.Pools {
		if p.Name == c.Pool {
			return g.proxy.Pool(p.Fallback)
		}
	}
	return nil
}
