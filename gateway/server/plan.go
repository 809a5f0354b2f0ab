package server

import (
	"aigateway/gateway/config"
	"aigateway/gateway/models"
	"aigateway/gateway/proxy"
	"aigateway/gateway/ratelimit"
)

// newPlan makes the plan of settings whose pools the proxy has.
func (g *Gateway) newPlan(s *config.Settings, limits ratelimit.Routes) *plan {
	p := &plan{settings: s, limits: limits, models: models.PlanOf(s, func(pool string) []proxy.Target { return g.targetsOf(s, config.Route{Pool: pool}) })}
	p.useKeys(g.plan.Load(), func(err error) {
		g.log.Warn("cannot have the keys of the tokens' issuer, those that are known stay", "error", err.Error())
	})
	p.charging = g.charging.PlanOf(s, p.models.Table(), g.proxy.Pool)
	g.addRoutes(p)
	p.close()
	return p
}

// limitsOf are those of the routes of settings, after old ones. Where Redis is needs a restart: the cache is there too.
func (g *Gateway) limitsOf(s *config.Settings, old ratelimit.Routes) (ratelimit.Routes, error) {
	return ratelimit.RoutesOf(s, g.settings.Redis, old, func(err error) { g.log.Debug("cannot ask Redis about limits", "error", err.Error()) })
}

// Reload puts other settings into force. What began with the old ones ends with them; of upstreams and limits that
// stay the same nothing is lost. What needs a restart stays as it is: see [config.Settings.NeedRestart]. With an
// error nothing has changed.
func (g *Gateway) Reload(s *config.Settings) error {
	g.reloading.Lock()
	defer g.reloading.Unlock()
	if g.draining.Load() {
		return nil // nobody would see it
	}
	old := g.plan.Load()
	limits, err := g.limitsOf(s, old.limits)
	if err != nil {
		return err
	}
	retire, err := g.proxy.Reload(s.Pools)
	if err != nil {
		limits.CloseUnless(old.limits)
		return err
	}
	g.proxy.Holds().Set(s.BodyBuffer, s.BodyBufferTotal)
	g.metrics.Add(measured(s))
	g.upstreams.Store(g.upstreamSeries(s))
	p := g.newPlan(s, limits)
	g.plan.Store(p)
	g.changeKeys(old, p)
	g.metrics.Keep(measured(s))
	g.ops.Look(g.view(s))
	if len(g.settings.TLS.Certificates) > 0 { // else it needs a restart
		g.UseCertificates(s.TLS.Certificates)
		g.UseTicketKeys(s.TLS.TicketKeys)
	}
	g.mu.Lock()
	if g.listener != nil {
		g.listener.SetIdle(s.IdleTimeout)
		g.listener.SetBodyRate(s.BodyMinRate)
		g.listener.SetKeepAlive(s.KeepAlive)
	}
	g.mu.Unlock()
	retire()
	old.limits.CloseUnless(limits)
	return nil
}
