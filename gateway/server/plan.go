package server

import (
	"aigateway/gateway/config"
	"aigateway/gateway/models"
	"aigateway/gateway/proxy"
)

// newPlan makes the plan of settings whose pools the proxy has.
func (g *Gateway) newPlan(s *config.Settings, limits map[config.Rate]limit, l limiter) *plan {
	p := &plan{settings: s, limits: limits, limiter: l, models: models.PlanOf(s, func(pool string) []proxy.Target { return g.targetsOf(s, config.Route{Pool: pool}) })}
	p.useKeys(g.plan.Load(), func(err error) {
		g.log.Warn("cannot have the keys of the tokens' issuer, those that are known stay", "error", err.Error())
	})
	p.charging = g.charging.PlanOf(s, p.models.Table(), g.proxy.Pool)
	g.addRoutes(p)
	p.close()
	return p
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
	limits, l, err := g.limitsOf(s, old)
	if err != nil {
		return err
	}
	retire, err := g.proxy.Reload(s.Pools)
	if err != nil {
		l.closeUnless(old.limiter)
		return err
	}
	g.proxy.Holds().Set(s.BodyBuffer, s.BodyBufferTotal)
	g.metrics.Add(measured(s))
	g.upstreams.Store(g.upstreamSeries(s))
	p := g.newPlan(s, limits, l)
	g.plan.Store(p)
	g.changeKeys(old, p)
	g.metrics.Keep(measured(s))
	g.ops.Look(g.view(s))
	if g.settings.TLS.Certificate != nil { // else it needs a restart
		g.UseCertificate(s.TLS.Certificate)
	}
	g.mu.Lock()
	if g.listener != nil {
		g.listener.SetIdle(s.IdleTimeout)
		g.listener.SetBodyRate(s.BodyMinRate)
		g.listener.SetKeepAlive(s.KeepAlive)
	}
	g.mu.Unlock()
	retire()
	old.limiter.closeUnless(l)
	return nil
}
