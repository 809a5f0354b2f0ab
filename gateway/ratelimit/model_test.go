package ratelimit

import (
	"math/big"
	"sync"
	"time"
)

// A model is the bucket as it should be: a level that rises with time, under a lock, in exact arithmetic. It knows nothing of
// arrival times, units or words.
type model struct {
	mu          sync.Mutex
	rate, burst *big.Rat // tokens a nanosecond, tokens
	level       *big.Rat
	last        time.Duration
}

func newModel(r Rate) *model {
	rate := new(big.Rat).SetFloat64(r.PerSecond)
	return &model{
		rate:  rate.Quo(rate, new(big.Rat).SetInt64(int64(time.Second))),
		burst: new(big.Rat).SetInt64(r.Burst),
		level: new(big.Rat).SetInt64(r.Burst),
	}
}

// at is the level at a time; overdue is by how much the clock was set back further than skew allows, in tokens.
func (m *model) at(now time.Duration) (level, overdue *big.Rat) {
	now = max(now, 0)
	level = new(big.Rat).Mul(m.rate, new(big.Rat).SetInt64(int64(now-m.last)))
	level.Add(level, m.level)
	if level.Cmp(m.burst) > 0 {
		level.Set(m.burst)
	}
	overdue = new(big.Rat).Mul(m.rate, new(big.Rat).SetInt64(int64(-skew)))
	overdue.Sub(overdue, level)
	if overdue.Sign() > 0 {
		return new(big.Rat), overdue
	}
	return level, overdue
}

func (m *model) take(now time.Duration, cost int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	level, overdue := m.at(now)
	left := new(big.Rat).Sub(level, new(big.Rat).SetInt64(int64(cost)))
	ok := left.Sign() >= 0
	if ok {
		level = left
	}
	if ok || overdue.Sign() > 0 {
		m.level, m.last = level, max(now, 0)
	}
	return ok
}

// set makes the model's decision the bucket's, where rounding may decide either way.
func (m *model) set(now time.Duration, level *big.Rat) {
	m.level, m.last = level, max(now, 0)
}

func (m *model) refund(cost int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	back := new(big.Rat).SetInt64(int64(cost))
	if back.Cmp(m.burst) > 0 {
		back = m.burst
	}
	m.level = new(big.Rat).Add(m.level, back)
}
