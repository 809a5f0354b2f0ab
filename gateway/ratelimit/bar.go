package ratelimit

import "time"

// A bar is one bucket of an account.
type bar struct {
	account *Account
	kind    Kind
	quota   *quota
	meter   *meter
	lease   *tokenLease // of all replicas together; nil: this one is alone
}

// take takes n tokens of the bar's bucket, at most its burst.
func (b *bar) take(now time.Duration, n int64) (state, hold) {
	if b.lease == nil {
		return b.meter.take(now, n), hold{}
	}
	return b.lease.take(now, n)
}

func (b *bar) undo(now time.Duration, n int64, h hold) {
	if b.lease == nil {
		b.meter.undo(now, n)
		return
	}
	b.lease.undo(now, n, h)
}

func (b *bar) settle(r *Reservation, now time.Duration, tokens int64, h hold) {
	end := bill{r.since, min(r.tokens, b.quota.Burst), tokens}
	if b.lease == nil {
		b.meter.settle(now, end)
		return
	}
	b.lease.settle(end, h)
}

func (b *bar) remaining(now time.Duration) int64 {
	if b.lease == nil {
		return b.meter.look(now).remaining
	}
	return b.lease.remaining(now)
}

func (b *bar) owes(now time.Duration) bool {
	if b.lease == nil {
		return b.meter.owes(now)
	}
	return b.lease.owes()
}

// fills is how long it takes until the bucket is full.
func (b *bar) fills(now time.Duration) time.Duration {
	if b.lease == nil {
		return b.meter.fills(now)
	}
	if b.quota.PerSecond == 0 {
		return 0
	}
	return time.Duration(float64(b.quota.Burst-b.lease.remaining(now)) / b.quota.PerSecond * float64(time.Second))
}
