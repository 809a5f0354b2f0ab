package proxy

import (
	"math/rand/v2"
	"slices"
	"sync/atomic"

	"aigateway/gateway/config"
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

	made    config.Pool // what it was made from
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
	switch {
	case len(p.Upstreams) == 1:
		if u := p.Upstreams[0]; fits(u) {
			return u
		}
		return nil
	case p.balance == roundRobin:
		return p.pickInTurn(fits)
	case p.balance == leastRequests:
		return p.pickLeast(fits)
	}
	return p.pickOfTwo(fits)
}

// pickOfTwo takes the less busy of two upstreams drawn by their weights: close to the best of all, and no herd.
func (p *Pool) pickOfTwo(fits func(*Upstream) bool) *Upstream {
	first := p.draw(fits)
	if first == nil {
		return nil
	}
	second := p.draw(func(u *Upstream) bool { return u != first && fits(u) })
	if second != nil && second.load(first) < 0 {
		return second
	}
	return first
}

// pickLeast takes the least busy of all, and draws among equals.
func (p *Pool) pickLeast(fits func(*Upstream) bool) *Upstream {
	var least *Upstream
	for _, u := range p.Upstreams {
		if fits(u) && (least == nil || u.load(least) < 0) {
			least = u
		}
	}
	if least == nil {
		return nil
	}
	chosen := p.draw(func(u *Upstream) bool { return fits(u) && u.load(least) <= 0 })
	if chosen == nil {
		return least // which has got something to do meanwhile
	}
	return chosen
}

// draw takes one of those that fit at random, by their weights.
func (p *Pool) draw(fits func(*Upstream) bool) (chosen *Upstream) {
	total := 0
	for _, u := range p.Upstreams {
		if !fits(u) {
			continue
		}
		if total += u.weight; rand.IntN(total) < u.weight {
			chosen = u
		}
	}
	return chosen
}

// pickInTurn goes around by weight: an upstream of weight 2 has two turns. The turn of one that does not fit is
// drawn for.
func (p *Pool) pickInTurn(fits func(*Upstream) bool) *Upstream {
	total := 0
	for _, u := range p.Upstreams {
		total += u.weight
	}
	turn := int(p.turn.Add(1) % uint32(total))
	for _, u := range p.Upstreams {
		if turn -= u.weight; turn >= 0 {
			continue
		}
		if fits(u) {
			return u
		}
		return p.draw(fits)
	}
	panic("BUG: weights do not add up")
}
