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

// newLimits makes the limits that the routes name, by their rate; the zero rate is that of a route without one of
// its own.
func (g *Gateway) newLimits(s *config.Settings) (map[config.Rate]limit, error) {
	if !s.RateLimit.Enabled {
		return nil, nil
	}
	r := s.RateLimit
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
	l, err := ratelimit.New(o)
	if err != nil {
		return nil, err
	}
	g.limiter = l
	limits := make(map[config.Rate]limit)
	for rate, class := range classes {
		limits[rate] = l.Class(class)
	}
	return limits, nil
}

// rateLimitState is what metrics show of the limiter.
func (g *Gateway) rateLimitState() (s telemetry.RateLimit) {
	if g.limiter == nil {
		return s
	}
	l := g.limiter.Stats(wire.Now())
	s.Clients, s.Overflow = l.Clients, l.Overflow
	s.DroppedClient, s.DroppedGlobal = l.DroppedClient, l.DroppedGlobal
	return s
}
