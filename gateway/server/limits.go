package server

import (
	"reflect"
	"time"

	"aigateway/gateway/config"
	"aigateway/gateway/ratelimit"
	"aigateway/gateway/telemetry"
	"aigateway/gateway/wire"
)

// closeUnless closes the limiter, if the other one is not the same.
func (l limiter) closeUnless(other limiter) {
	if l.close != nil && !reflect.DeepEqual(l.spec, other.spec) {
		l.close()
	}
}

// limitsOf makes the limits that the routes name, by their rate; the zero rate is that of a route without one of
// its own. What has not changed since the old plan, which may be nil, goes on.
func (g *Gateway) limitsOf(s *config.Settings, old *plan) (map[config.Rate]limit, limiter, error) {
	r := s.RateLimit
	if !r.Enabled {
		return nil, limiter{}, nil
	}
	o := ratelimit.Options{
		Global:     ratelimit.Rate{PerSecond: r.GlobalRPS, Burst: r.GlobalBurst},
		Client:     ratelimit.Rate{PerSecond: r.ClientRPS, Burst: r.ClientBurst},
		MaxClients: r.MaxClients,
		Cleanup:    time.Duration(r.CleanupMinutes) * time.Minute,
	}
	classes := map[config.Rate]int{{}: 0}
	for _, route := range s.Routes {
		rate := route.Limit.Rate
		if _, known := classes[rate]; !known {
			o.Routes = append(o.Routes, ratelimit.Rate{PerSecond: rate.ClientRPS, Burst: rate.ClientBurst})
			classes[rate] = len(o.Routes)
		}
	}
	spec := limiterSpec{options: o, backend: r.Backend}
	o.Now = wire.Now // not of the spec: it is the same for all
	var l limiter
	var err error
	if r.Backend == config.InRedis {
		spec.redis = g.settings.Redis // where it is needs a restart: the cache is there too
	}
	switch {
	case old != nil && old.limiter.close != nil && reflect.DeepEqual(old.limiter.spec, spec):
		l = old.limiter
	case r.Backend == config.InRedis:
		l, err = g.newSharedLimiter(o, spec.redis)
	case old != nil && old.limiter.own != nil:
		l, err = ownLimiter(old.limiter.own.With(o))
	default:
		l, err = ownLimiter(ratelimit.New(o))
	}
	if err != nil {
		return nil, limiter{}, err
	}
	l.spec = spec
	limits := make(map[config.Rate]limit)
	for rate, class := range classes {
		limits[rate] = l.class(class)
	}
	return limits, l, nil
}

// ownLimiter limits what comes to this replica.
func ownLimiter(l *ratelimit.Limiter, err error) (limiter, error) {
	return limiter{
		own:   l,
		class: func(i int) limit { return l.Class(i) },
		state: func() telemetry.RateLimit { return rateLimitState(l.Stats(wire.Now())) },
		close: func() {},
	}, err
}

// newSharedLimiter limits what comes to all replicas together.
func (g *Gateway) newSharedLimiter(o ratelimit.Options, redis config.Redis) (limiter, error) {
	l, err := ratelimit.NewShared(ratelimit.SharedOptions{
		Options: o, Redis: redis, Prefix: redis.Prefix + ":v1:rl",
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
