package server

import (
	"time"

	"aigateway/gateway/config"
	"aigateway/gateway/ratelimit"
	"aigateway/gateway/telemetry"
	"aigateway/gateway/wire"
)

// A limit is what package ratelimit has for a route: of this replica, or of all together.
type limit interface {
	Admit(now time.Duration, client []byte, cost int) ratelimit.Verdict
	AppendPolicy(dst []byte) []byte
	AppendLimit(dst []byte, v ratelimit.Verdict) []byte
}

// A limiter is where the limits of the routes come from.
type limiter struct {
	class func(i int) limit
	state func() telemetry.RateLimit
	close func()
}

// limitRoutes makes the limits that the routes name, by their rate; the zero rate is that of a route without one of
// its own.
func (g *Gateway) limitRoutes() error {
	r := g.settings.RateLimit
	if !r.Enabled {
		return nil
	}
	o := ratelimit.Options{
		Global:     ratelimit.Rate{PerSecond: r.GlobalRPS, Burst: r.GlobalBurst},
		Client:     ratelimit.Rate{PerSecond: r.ClientRPS, Burst: r.ClientBurst},
		MaxClients: r.MaxClients,
		Cleanup:    time.Duration(r.CleanupMinutes) * time.Minute,
	}
	classes := map[config.Rate]int{{}: 0}
	for _, route := range g.settings.Routes {
		rate := route.Limit.Rate
		if _, known := classes[rate]; !known {
			o.Routes = append(o.Routes, ratelimit.Rate{PerSecond: rate.ClientRPS, Burst: rate.ClientBurst})
			classes[rate] = len(o.Routes)
		}
	}
	newLimiter := newOwnLimiter
	if r.Backend == "redis" {
		newLimiter = g.newSharedLimiter
	}
	var err error
	if g.limiter, err = newLimiter(o); err != nil {
		return err
	}
	g.limits = make(map[config.Rate]limit)
	for rate, class := range classes {
		g.limits[rate] = g.limiter.class(class)
	}
	return nil
}

// newOwnLimiter limits what comes to this replica.
func newOwnLimiter(o ratelimit.Options) (limiter, error) {
	l, err := ratelimit.New(o)
	return limiter{
		class: func(i int) limit { return l.Class(i) },
		state: func() telemetry.RateLimit { return rateLimitState(l.Stats(wire.Now())) },
		close: func() {},
	}, err
}

// newSharedLimiter limits what comes to all replicas together.
func (g *Gateway) newSharedLimiter(o ratelimit.Options) (limiter, error) {
	redis := g.settings.Redis
	l, err := ratelimit.NewShared(ratelimit.SharedOptions{
		Options: o, Addrs: redis.Addrs, DB: redis.DB, Password: redis.Password, TLS: redis.TLS,
		OnFault: func(err error) { g.log.Debug("cannot ask Redis about limits", "error", err.Error()) },
	})
	if err != nil {
		return limiter{}, err
	}
	return limiter{
		class: func(i int) limit { return l.Class(i) },
		state: func() telemetry.RateLimit {
			all := l.Stats(wire.Now())
			s := rateLimitState(all.Stats)
			s.Leases, s.LeaseTokens, s.Fallback = all.Asked, all.Granted, all.Fallback
			return s
		},
		close: l.Close,
	}, nil
}

// rateLimitState is what metrics show of a limiter.
func rateLimitState(s ratelimit.Stats) telemetry.RateLimit {
	return telemetry.RateLimit{
		Clients: s.Clients, Overflow: s.Overflow, DroppedClient: s.DroppedClient, DroppedGlobal: s.DroppedGlobal,
	}
}
