package ratelimit

import (
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/redis/rueidis"
)

// A permitLease is the permits that this replica holds of those that all replicas share. It says again and again that it does: what a
// replica holds that has crashed is free after permitLife.
type permitLease struct {
	s       *sharedAccounts
	key     string
	permits *permits
	flags_  flags

	mu      sync.Mutex
	round   *call
	granted int64
	peak    int64         // in use at most since the last call
	waiting int64         // requests that wait
	called  time.Duration // the last call
	heard   time.Duration // the last answer
	full    time.Duration // until then there are no more, as far as is known
	asked   int64
}

const (
	permitLife  = 3 * time.Second
	permitRenew = time.Second
)

func (s *sharedAccounts) permit(a *Account, p *permits) *permitLease {
	if s == nil {
		return nil
	}
	return &permitLease{s: s, key: s.keyOf(a, Concurrency.String()), permits: p, round: newCall(), called: -callPause}
}

func (l *permitLease) flag() *flags { return &l.flags_ }

// take takes a permit: of those that are here, or of the others. While Redis is away, this replica has its part of them.
func (l *permitLease) take() bool {
	p := l.permits
	for began := l.s.o.Now(); ; {
		l.mu.Lock()
		most, clock := min(l.granted, p.most.Load()), l.s.o.Now()
		down := l.s.down.Load()
		if down {
			most = max(p.most.Load()/l.s.replicas.Load(), 1)
		}
		ok := p.takeOf(most)
		if ok {
			l.peak = max(l.peak, p.held.Load())
		}
		if ok || down || clock < l.full || clock-began > 2*callPause+l.s.o.Timeout {
			if !ok {
				l.peak = max(l.peak, p.held.Load()+1)
			}
			l.mu.Unlock()
			l.s.list(l, false)
			return ok
		}
		l.waiting++
		round, pause := l.round, l.called+callPause-clock
		l.mu.Unlock()
		l.s.list(l, pause <= 0)
		round.wait(max(pause, 0) + callPause + l.s.o.Timeout)
		l.mu.Lock()
		l.waiting--
		l.mu.Unlock()
	}
}

func (l *permitLease) question(now time.Duration) (m message, ok, keep bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	held, most := l.permits.held.Load(), l.permits.most.Load()
	want := min(max(l.peak, held)+l.waiting, most)
	keep = held > 0 || l.granted > 0 || l.waiting > 0
	pause := permitRenew
	if want > l.granted && now >= l.full || want < l.granted && now-l.called >= idleTime {
		pause = callPause
	}
	if now == leaving {
		now, want, pause = l.s.o.Now(), 0, 0
	}
	if !keep || now-l.called < pause {
		return m, false, keep
	}
	n := func(i int64) string { return strconv.FormatInt(i, 10) }
	l.called, l.peak, l.asked = now, held, max(want, held)
	m = message{permitsLua, l.key, []string{l.s.id, n(want), n(most), n(permitLife.Milliseconds()), n(held)}}
	return m, true, true
}

func (l *permitLease) answer(now time.Duration, r rueidis.RedisResult) error {
	v, err := r.AsIntSlice()
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.letGo()
	if err == nil && (len(v) != 2 || v[0] < 0 || v[0] > l.asked || v[1] < 0) {
		err = fmt.Errorf("cannot lease permits: nonsense from redis: %d", v[:min(len(v), 8)])
	}
	if err != nil {
		return err
	}
	l.granted, l.heard = v[0], now
	l.full = 0
	if v[0] < l.asked || v[0] >= l.permits.most.Load() {
		l.full = now + callPause
	}
	return nil
}

func (l *permitLease) letGo() {
	close(l.round.done)
	l.round = newCall()
}

func (l *permitLease) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.letGo()
}
