package proxy

import (
	"math/rand/v2"
	"slices"
	"sync/atomic"
)

// How a pool chooses, as configured. What is neither is p2c.
const (
	roundRobin    = "round_robin"
	leastRequests = "least_requests"
)

// A Pool is the upstreams of one service.
type Pool struct {
	Name      string
	Upstreams []*Upstream
	Explicit  bool // the operator asked for it: readiness requires it

	balance string
	turn    atomic.Uint32
}

// Healthy tells whether any upstream of the pool is.
func (p *Pool) Healthy() bool {
	for _, u := range p.Upstreams {
		if u.Healthy() {
			return true
		}
	}
	return false
}

// Sick tells whether every upstream of the pool is known to be.
func (p *Pool) Sick() bool {
	for _, u := range p.Upstreams {
		if u.Healthy() || !u.Probed() {
			return false
		}
	}
	return true
}

// pick chooses an upstream for a request that those in tried could not be given, and nil if there is none
// left. The sick are left out as long as one is healthy: when all look sick, the probe is as likely to be
// wrong.
func (p *Pool) pick(tried []*Upstream) *Upstream {
	if len(tried) == len(p.Upstreams) {
		return nil
	}
	if u := p.pickWhere(func(u *Upstream) bool { return u.Healthy() && !slices.Contains(tried, u) }); u != nil {
		return u
	}
	return p.pickWhere(func(u *Upstream) bool { return !slices.Contains(tried, u) })
}

func (p *Pool) pickWhere(fits func(*Upstream) bool) *Upstream {
	switch n := len(p.Upstreams); {
	case n == 1:
		if u := p.Upstreams[0]; fits(u) {
			return u
		}
		return nil
	case p.balance == roundRobin:
		return p.pickInTurn(fits)
	case p.balance == leastRequests || n == 2:
		return p.pickLeast(fits)
	}
	return p.pickOfTwo(fits)
}

// pickOfTwo takes the less busy of two random upstreams that fit: close to the best of all, and no herd.
func (p *Pool) pickOfTwo(fits func(*Upstream) bool) *Upstream {
	var chosen *Upstream
	for range 2 {
		u := p.probe(rand.IntN(len(p.Upstreams)), fits)
		if u == nil {
			return nil
		}
		if chosen == nil || u.busier(chosen) < 0 {
			chosen = u
		}
	}
	return chosen
}

// pickLeast takes the least busy of all, from a random start so that equals share.
func (p *Pool) pickLeast(fits func(*Upstream) bool) *Upstream {
	var chosen *Upstream
	n := len(p.Upstreams)
	start := rand.IntN(n)
	for i := range n {
		u := p.Upstreams[(start+i)%n]
		if fits(u) && (chosen == nil || u.busier(chosen) < 0) {
			chosen = u
		}
	}
	return chosen
}

// pickInTurn goes around by weight: an upstream of weight 2 has two turns.
func (p *Pool) pickInTurn(fits func(*Upstream) bool) *Upstream {
	total := 0
	for _, u := range p.Upstreams {
		total += u.weight
	}
	turn := int(p.turn.Add(1) % uint32(total))
	for i, u := range p.Upstreams {
		if turn -= u.weight; turn < 0 {
			return p.probe(i, fits)
		}
	}
	panic("BUG: weights do not add up")
}

// probe is the first upstream that fits, from index i on.
func (p *Pool) probe(i int, fits func(*Upstream) bool) *Upstream {
	for range p.Upstreams {
		if u := p.Upstreams[i%len(p.Upstreams)]; fits(u) {
			return u
		}
		i++
	}
	return nil
}
