package ratelimit

import "time"

// takeShare takes n tokens of what this replica may give out on its own. More than its share holds is given when that is full, and
// has to be paid off. The caller holds mu.
func (l *tokenLease) takeShare(now time.Duration, n int64) state {
	m := l.shareOf(now)
	some := min(n, m.quota.Burst)
	s := m.take(now, some)
	if s.ok {
		m.settle(now, bill{now, some, n})
		l.owed += n
		l.unsaid = true
		l.s.list(l, false)
	}
	return s
}

// shareOf is this replica's part of the bucket. When an outage begins, there is no more in it than its part of what Redis had last; of a
// bucket that Redis has said nothing of, its part. The caller holds mu.
func (l *tokenLease) shareOf(now time.Duration) *meter {
	if n := l.s.replicas.Load(); n != l.replicas {
		q := newQuota(part(l.quota.Rate, n))
		if l.meter != nil {
			l.meter = l.meter.carry(&q, now)
		} else {
			l.meter = newMeter(&q)
		}
		l.replicas = n
	}
	if trips := l.s.trips.Load(); trips != l.trips {
		l.trips = trips
		if l.known {
			have := (l.left + int64(l.quota.PerSecond*max(now-l.heard, 0).Seconds()) + l.replicas - 1) / l.replicas
			if s := l.meter.look(now); s.remaining > have {
				l.meter.take(now, s.remaining-have)
			}
		}
	}
	return l.meter
}

// A telling is when Redis was told what was taken of the share before: by this replica's clock, and by that of Redis.
type telling struct{ sent, at int64 }

// toldOf is when Redis was told of what was taken then, by its clock. If it was not, or that is longer ago than is remembered, it is the
// time at which it was taken: less comes back of a bucket that was full between the two. The caller holds mu.
func (l *tokenLease) toldOf(taken int64) int64 {
	at := l.offset.Load() + taken
	for i, t := range l.told {
		switch {
		case t.sent < taken:
			return at
		case i == len(l.told)-1:
			return l.offset.Load() + taken
		}
		at = t.at
	}
	return at
}
