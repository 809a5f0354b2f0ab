package proxy

import (
	"slices"
	"time"

	"aigateway/gateway/wire"
)

// An upstream may be in doubt: on trial, because its breaker is half open, or resting, because it has refused a request. Who would be
// lost with a trial goes elsewhere as long as there is somebody else, and who finds one at rest as well: a refusal harms nobody, but
// costs time. The first request after the rest is the one that tries.
const (
	firstRest  = 1500 * time.Millisecond // it doubles
	maxRest    = 6 * time.Second
	maxAskedOf = 30 * time.Second // of what an upstream itself asks for by Retry-After
)

// rest has the upstream left alone after a refusal of an attempt that began at that time, unless others got their responses meanwhile.
func (u *Upstream) rest(began, stated time.Duration) {
	if time.Duration(u.breaker.lastGood.Load()) >= began {
		return
	}
	wait := min(firstRest<<min(u.rests.Add(1)-1, 8), maxRest)
	u.restsUntil.Store(int64(wire.Now() + max(wait, min(stated, maxAskedOf))))
}

// awake ends the rest: it has answered.
func (u *Upstream) awake() {
	if u.restsUntil.Load() != 0 {
		u.restsUntil.Store(0)
		u.rests.Store(0)
	}
}

// inDoubt tells whether the upstream is on trial or resting.
func (u *Upstream) inDoubt() bool { return u.restsUntil.Load() != 0 || u.breaker.State() == HalfOpen }

// tries tells whether x is one to try an upstream that is in doubt.
func (x *Exchange) tries(u *Upstream) bool {
	if until := u.restsUntil.Load(); until != 0 {
		now := int64(wire.Now())
		return now >= until && u.restsUntil.CompareAndSwap(until, now+int64(firstRest)) // the others go on elsewhere
	}
	return x.hold.whole && (x.Policy == Reattempt || idempotent(x.Head.Method))
}

// spare finds somebody else for x than an upstream that is in doubt, at which it has a place: in the pool, or at another target, which
// NoUpstream leads to. Without anybody else, it stays with that one.
func (p *Proxy) spare(x *Exchange, pool *Pool, u *Upstream) (*Upstream, Fault) {
	if x.Policy < Safe || x.spared&(1<<x.at) != 0 || x.tries(u) {
		return u, None
	}
	not := append(x.tried, u)
	for _, v := range pool.Upstreams {
		if v.inDoubt() && !slices.Contains(not, v) {
			not = append(not, v)
		}
	}
	x.tried = not[:len(x.tried)] // with the room that it has got
	if v, _ := pool.pickFor(&x.Request, not); v != nil {
		if v.Healthy() {
			pool.giveBack(u)
			return v, None
		}
		pool.giveBack(v)
	}
	x.spared |= 1 << x.at
	for i := range x.Targets {
		if x.asked&(1<<i) == 0 && x.Targets[i].well() && x.Targets[i].Pool.sure() {
			pool.giveBack(u)
			x.asked &^= 1 << x.at // it may be asked after the others
			return nil, NoUpstream
		}
	}
	return u, None
}

// sure tells whether an upstream of the pool is well and not in doubt.
func (p *Pool) sure() bool {
	return slices.ContainsFunc(p.Upstreams, func(u *Upstream) bool { return u.Healthy() && !u.inDoubt() })
}
