package ratelimit

import "sync/atomic"

// permits are for what may be under way at once. Who has one gives it back at its end, whatever that is.
type permits struct {
	most   int64
	held   *heldPermits
	shared *permitLease // of all replicas together; nil: this one is alone
}

// heldPermits are those that are out. They outlive a change of their number.
type heldPermits struct{ n atomic.Int64 }

// take takes a permit if there is one.
func (p *permits) take() bool {
	most := p.most
	if p.shared != nil {
		return p.shared.take(p)
	}
	return p.takeOf(most)
}

func (p *permits) takeOf(most int64) bool {
	if p.held.n.Add(1) <= most {
		return true
	}
	p.held.n.Add(-1)
	return false
}

// give gives one back.
func (p *permits) give() { p.held.n.Add(-1) }
