package ratelimit

import (
	"reflect"
	"time"

	"aigateway/gateway/config"
	"aigateway/gateway/wire"
)

// A Limit is that of a route: a class of this replica, or of all together.
type Limit interface {
	Admit(now time.Duration, client []byte, cost int) Verdict
	AdmitClient(now time.Duration, client []byte, cost int) Verdict // as far as the client's own limit goes
	AdmitGlobal(now time.Duration, cost int) Verdict                // as far as the limit of all goes
	RefundClient(client []byte, cost int)                           // what AdmitClient has spent
	AppendPolicy(dst []byte) []byte
	AppendLimit(dst []byte, v Verdict) []byte
}

// Routes are the limits that the routes of settings name. The zero Routes limit nothing.
type Routes struct {
	spec   spec
	limits map[config.Rate]Limit
	own    *Limiter // nil if it is shared, or nothing is limited
	shared *Shared  // nil if it is not
}

// A spec is all that limits are made from: those of equal specs are the same.
type spec struct {
	options Options
	backend config.Backend
	redis   config.Redis
}

// RoutesOf are those of settings. What has not changed since the old ones goes on. redis is where replicas meet; onFault is told that they
// cannot.
func RoutesOf(s *config.Settings, redis config.Redis, old Routes, onFault func(error)) (Routes, error) {
	if !s.RateLimit.Enabled {
		return Routes{}, nil
	}
	o, classes := optionsOf(s)
	r := Routes{spec: spec{options: o, backend: s.RateLimit.Backend}, limits: make(map[config.Rate]Limit)}
	o.Now = wire.Now // not of the spec: it is the same for all
	var err error
	if s.RateLimit.Backend == config.InRedis {
		r.spec.redis = redis
	}
	switch {
	case old.limits != nil && reflect.DeepEqual(old.spec, r.spec):
		r.own, r.shared = old.own, old.shared
	case s.RateLimit.Backend == config.InRedis:
		r.shared, err = NewShared(SharedOptions{Options: o, Redis: redis, Prefix: redis.Prefix + ":v1:rl", OnFault: onFault})
	case old.own != nil:
		r.own, err = old.own.With(o)
	default:
		r.own, err = New(o)
	}
	if err != nil {
		return Routes{}, err
	}
	for rate, class := range classes {
		if r.shared != nil {
			r.limits[rate] = r.shared.Class(class)
		} else {
			r.limits[rate] = r.own.Class(class)
		}
	}
	return r, nil
}

// optionsOf are those of settings, and the class of each rate: that of the zero rate is for routes without one of their own.
func optionsOf(s *config.Settings) (o Options, classes map[config.Rate]int) {
	r := s.RateLimit
	o = Options{
		Global:     Rate{PerSecond: r.GlobalRPS, Burst: r.GlobalBurst},
		Client:     Rate{PerSecond: r.ClientRPS, Burst: r.ClientBurst},
		MaxClients: r.MaxClients,
		Cleanup:    time.Duration(r.CleanupMinutes) * time.Minute,
	}
	classes = map[config.Rate]int{{}: 0}
	for _, route := range s.Routes {
		rate := route.Limit.Rate
		if _, known := classes[rate]; !known {
			o.Routes = append(o.Routes, Rate{PerSecond: rate.ClientRPS, Burst: rate.ClientBurst})
			classes[rate] = len(o.Routes)
		}
	}
	return o, classes
}

// Of is the limit of routes with that rate; nil: there is none. The zero rate is that of routes without one of their own.
func (r Routes) Of(rate config.Rate) Limit { return r.limits[rate] }

// Stats are what the limits tell about themselves.
func (r Routes) Stats(now time.Duration) SharedStats {
	if r.shared != nil {
		return r.shared.Stats(now)
	}
	return SharedStats{Stats: r.own.Stats(now)}
}

// CloseUnless ends the limits, unless the other ones are the same.
func (r Routes) CloseUnless(other Routes) {
	if r.shared != nil && !reflect.DeepEqual(r.spec, other.spec) {
		r.shared.Close()
	}
}
