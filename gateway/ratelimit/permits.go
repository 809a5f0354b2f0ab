package ratelimit

import "sync/atomic"

// permits are for what may be under way at once. Who has one gives it back at its end, whatever that is. Their number may change meanwhile.
type permits struct {
	most   atomic.Int64
	held   atomic.Int64 // those that are out
	shared *permitLease // of all replicas together; nil: this one is alone
}

// take takes a permit if there is one.
func (p *permits) take() bool {
	if p.shared != nil {
		return p.shared.take()
	}
	return p.takeOf(p.most.Load())
}

func (p *permits) takeOf(most int64) bool {
	if p.held.Add(1) <= most {
		return true
	}
	p.held.Add(-1)
	return false
}

// give gives one back.
func (p *permits) give() { p.held.Add(-1) }
