package server

import "aigateway/gateway/config"

// A plan is all that a reload may change. A request gets the plan of its beginning and keeps it to its end.
type plan struct {
	settings *config.Settings
	exact    map[string]*route // by path
	prefixes []*route          // longest first
	limits   map[config.Rate]limit
	limiter  limiter
}

// newPlan makes the plan of settings whose pools the proxy has.
func (g *Gateway) newPlan(s *config.Settings, limits map[config.Rate]limit, l limiter) *plan {
	p := &plan{settings: s, limits: limits, limiter: l}
	g.addRoutes(p)
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

// measured names what telemetry has series for.
func measured(s *config.Settings) (routes []string, pools map[string][]string) {
	pools = make(map[string][]string)
	for _, r := range s.Routes {
		routes = append(routes, r.Path)
	}
	for _, p := range s.Pools {
		if !p.Explicit {
			continue // nobody has named it, so it says nothing to anybody
		}
		for _, u := range p.Upstreams {
			pools[p.Name] = append(pools[p.Name], u.URL.String())
		}
	}
	return routes, pools
}
