package server

import (
	"slices"
	"time"

	"aigateway/gateway/config"
	"aigateway/gateway/keys"
	"aigateway/gateway/ops"
	"aigateway/gateway/proxy"
	"aigateway/gateway/telemetry"
	"aigateway/gateway/wire"
)

// makeMetrics makes the metrics of what the settings name.
func (g *Gateway) makeMetrics(version string) {
	o := telemetry.Options{
		Version:       version,
		CancelPhases:  []string{cancelUpload, cancelWaiting, cancelReply},
		UpstreamState: g.upstreamState,
		QueueState:    g.queueState,
		Engines:       g.engineStates,
		Budgets:       g.budgetStates,
		RateLimit:     g.limiterState,
		CacheTiers:    ops.Tiers(g.store),
		CacheReasons:  ops.MissReasons(),
		CacheSources:  ops.CacheSources(),
		Cache:         g.cacheState,
		Tunnels:       func() (open, ever int64) { return g.proxy.Tunnels() },
	}
	o.Models = metricModels(g.settings)
	o.ShedReasons = proxy.ShedReasons()
	for _, c := range proxy.Classes {
		o.QueueClasses = append(o.QueueClasses, c.String())
	}
	o.AuthReasons = keys.Reasons()
	for r := proxy.NoRetry + 1; r <= proxy.LastRetry; r++ {
		o.RetryReasons = append(o.RetryReasons, r.String())
	}
	o.Routes, o.Pools = measured(g.settings)
	for f := proxy.NoUpstream; f <= proxy.Truncated; f++ { // the others are not of upstreams
		o.ErrorKinds = append(o.ErrorKinds, f.String())
	}
	g.metrics = telemetry.New(o)
	g.noRoute = g.metrics.Route("")
}

// When a client left.
const (
	cancelUpload  = "upload"
	cancelWaiting = "waiting"
	cancelReply   = "answer"
)

// limiterState is what the limiter in force tells about itself.
func (g *Gateway) limiterState() (s telemetry.RateLimit) {
	p := g.plan.Load()
	if p == nil {
		return s
	}
	all := p.limits.Stats(wire.Now())
	return telemetry.RateLimit{
		Clients: all.Clients, Overflow: all.Overflow, DroppedClient: all.DroppedClient, DroppedGlobal: all.DroppedGlobal,
		Leases: all.Asked, LeaseTokens: all.Granted, Fallback: all.Fallback,
	}
}

// budgetStates are the limits in force, and how much of them is taken.
func (g *Gateway) budgetStates() []telemetry.BudgetState {
	p := g.plan.Load()
	if p == nil {
		return nil
	}
	return p.charging.States(p.keys, p.settings.Models)
}

// upstreamSeries are the series of each upstream, by its index: those there were, and those of the settings.
func (g *Gateway) upstreamSeries(s *config.Settings) *[]*telemetry.Upstream {
	var all []*telemetry.Upstream
	if known := g.upstreams.Load(); known != nil {
		all = slices.Clone(*known)
	}
	for i, u := range all {
		if u.Gone() { // with the reload before
			all[i] = nil
		}
	}
	for _, p := range g.poolsByName(s) {
		for _, u := range p.Upstreams {
			for len(all) <= u.Index {
				all = append(all, nil)
			}
			if p.Explicit {
				all[u.Index] = g.metrics.Upstream(p.Name, u.URL)
			}
		}
	}
	return &all
}

func (g *Gateway) upstreamState(pool, url string) (s telemetry.UpstreamState) {
	p := g.proxy.Pool(pool)
	if p == nil {
		return s // a reload took it away
	}
	for _, u := range p.Upstreams {
		if u.URL == url {
			s.Inflight, s.Healthy, s.Breaker = u.Inflight(), u.Healthy(), int(u.Breaker())
		}
	}
	return s
}

func (g *Gateway) queueState(pool string) telemetry.QueueState {
	return telemetry.QueueState(g.proxy.Pool(pool).Queue()) // of none, if a reload took it away
}

// noteWait counts a request that waited for its place.
func (g *Gateway) noteWait(p *proxy.Pool, c proxy.Class, took time.Duration) {
	g.metrics.Waited(p.Name, c.String(), took)
}

// noteWake logs that a pool's wake URL was called.
func (g *Gateway) noteWake(p *proxy.Pool, f proxy.Fault, status int) {
	if f != proxy.None {
		g.log.Warn("wake URL cannot be called", "pool", p.Name, "reason", f.String())
		return
	}
	g.log.Info("wake URL is called: requests wait for an upstream", "pool", p.Name, "status", status)
}

func (g *Gateway) noteRetry(why proxy.Retry) { g.metrics.Retry(why.String()) }

// observe counts an attempt at an upstream.
func (g *Gateway) observe(u *proxy.Upstream, f proxy.Fault, status int, took time.Duration) {
	series := (*g.upstreams.Load())[u.Index]
	if f == proxy.None {
		series.Done(status, took)
	} else if !f.OfClient() { // which says nothing about the upstream
		series.Error(f.String())
	}
}

// record counts a request at its end, once.
func (g *Gateway) record(x *exchange) {
	route := g.noRoute
	if x.route != nil {
		if x.route.ops {
			return
		}
		route = x.route.metrics
	}
	total := wire.Now() - x.began
	f := x.cached.Forward
	own := total - x.upstreamTime() - f.ClientTime
	route.Done(x.head.Method, x.status, total, own)
	if f.HeadAt > 0 {
		route.FirstByte(f.HeadAt - x.began)
	}
	switch {
	case x.fault == proxy.Truncated:
		g.metrics.Truncated()
	case x.fault == proxy.ClientGone:
		g.metrics.Cancel(x.leftIn())
	}
	g.observeEnd(x, total, own)
	x.charge.End(x.began+total, x.cached.SavedTokens)
}

// leftIn tells when the request's client has left.
func (x *exchange) leftIn() (phase string) {
	f := x.cached.Forward
	switch {
	case f.HeadAt > 0 || x.status != statusClientGone:
		return cancelReply
	case f.Upstream != nil || f.Queued || x.cached.Collapsed(): // or for another request's fetch
		return cancelWaiting
	}
	return cancelUpload
}

// statusClientGone is what counts for a client that left before it had a reply. nginx's number.
const statusClientGone = 499

// noteHealth logs that an upstream turned out to be well or sick, and why.
func (g *Gateway) noteHealth(u *proxy.Upstream, healthy bool) {
	if healthy {
		g.log.Info("upstream is healthy", "pool", u.Pool, "upstream", u.URL)
	} else {
		state, reason := u.Condition()
		g.log.Warn("upstream is not healthy", "pool", u.Pool, "upstream", u.URL, "state", state, "reason", reason)
	}
}

// metricModels are the models that metrics name.
func metricModels(s *config.Settings) []string {
	names := slices.Clone(s.MetricModels)
	for _, m := range s.Models {
		names = append(names, m.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
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

// cacheState is what the cache tells about itself at a scrape.
func (g *Gateway) cacheState() telemetry.CacheState {
	s := ops.CacheState(g.store)
	s.Flying = uint64(g.caching.Taken())
	return s
}
