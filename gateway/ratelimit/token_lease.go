package ratelimit

import (
	"fmt"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

// A tokenLease is the tokens of one bucket that this replica has leased and not given out yet.
type tokenLease struct {
	s      *sharedAccounts
	key    string
	quota  *quota
	life   time.Duration
	flags_ flags

	pool  atomic.Int64
	spent atomic.Int64 // since the last call
	seen  atomic.Int64 // when it was last used, as Reserve's now

	granted atomic.Int64 // when the last tokens were, in Redis' microseconds,
	offset  atomic.Int64 // and that less this replica's clock then
	first   int64        // when those were that have been in the pool for longest; of mu

	mu      sync.Mutex
	round   *call         // the answer that requests wait for
	waiting int64         // tokens that they wait for,
	need    int64         // and the least that helps one of them; 0: nobody waits
	typical int64         // tokens of a reservation, of late
	called  time.Duration // when the last call was made
	back    []returned    // to be given back
	owed    int64         // to be charged,
	unsaid  bool          // among it what was taken of the share
	told    [4]telling    // of which Redis was told then; the last one first

	known bool          // what Redis said last:
	left  int64         // tokens there,
	heard time.Duration // when,
	until time.Duration // and when there will be
	short int64         // so many as were needed; 0: there are

	asked struct { // by the call under way
		want, need, owed int64
		burst            int64
		unsaid           bool
	}

	meter    *meter // of this replica's share, while Redis is away; nil: it never was
	replicas int64  // by which the share was made; 0: it is to be made anew
	trips    int64  // the share was last measured at this outage
	bad      bool   // the key holds nonsense: the share decides
}

// lease makes the lease of a bucket; nil without Redis.
func (s *sharedAccounts) lease(b *bar) *tokenLease {
	if s == nil {
		return nil
	}
	return &tokenLease{
		s: s, key: s.keyOf(b.account, b.kind.String()), quota: b.quota, round: newCall(), called: -callPause, trips: -1,
		life: lifeOf(b.quota.Rate),
	}
}

// change has the lease go on by another quota: what was taken is settled by that.
func (l *tokenLease) change(to *quota) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if to == l.quota {
		return
	}
	l.left = max(l.left+to.Burst-l.quota.Burst, 0) // what was spent stays spent
	l.quota, l.life, l.replicas = to, lifeOf(to.Rate), 0
	l.short = 0
}

// A returned is what was taken too much of reservations since a time, in Redis' microseconds.
type returned struct{ n, since int64 }

const (
	mostReturned = 16                                              // in one call
	nearReturned = int64(50 * time.Millisecond / time.Microsecond) // and are told as one
)

// lifeOf is how long a bucket takes to be full again, whatever it owes.
func lifeOf(r Rate) time.Duration {
	full := 2 * float64(r.Burst) / r.PerSecond
	if r.PerSecond <= 0 || full > longestLife.Seconds() {
		return longestLife
	}
	return time.Duration(math.Ceil(full))*time.Second + 10*time.Second
}

func (l *tokenLease) flag() *flags { return &l.flags_ }

// A hold is where tokens that are taken are from.
type hold struct {
	from source
	at   int64 // when they were taken, in microseconds: of Redis, or of this replica's clock if they are of its share
}

// hold is that of what is taken now: never before it was granted.
func (l *tokenLease) hold(now time.Duration) hold {
	return hold{ofLease, max(l.granted.Load(), l.offset.Load()+now.Microseconds())}
}

// spend takes n of the tokens that are here.
func (l *tokenLease) spend(now time.Duration, n int64) bool {
	for {
		have := l.pool.Load()
		if have < n {
			return false
		}
		if l.pool.CompareAndSwap(have, have-n) {
			l.spent.Add(n)
			if int64(now) > l.seen.Load() {
				l.seen.Store(int64(now))
			}
			return true
		}
	}
}

// take takes n tokens: those that are here, or else of Redis, for which it waits if it is not known that there are none.
func (l *tokenLease) take(now time.Duration, n int64) (state, hold) {
	if l.spend(now, n) {
		return l.admit(), l.hold(now)
	}
	for began := l.s.o.Now(); ; {
		l.mu.Lock()
		switch clock := l.s.o.Now(); {
		case l.spend(now, n):
			l.mu.Unlock()
			return l.admit(), l.hold(now)
		case l.s.down.Load() || l.bad:
			s := l.takeShare(clock, n)
			l.mu.Unlock()
			return s, hold{ofShare, clock.Microseconds()}
		case l.short > 0 && clock < l.until && n > l.pool.Load()+l.left || clock-began > 2*callPause+l.s.o.Timeout:
			wait := l.wait(clock, n)
			l.mu.Unlock()
			return l.refuse(wait), hold{} // what is leased for who has gone would lie idle
		}
		l.wish(n)
		l.waiting += n
		round, pause := l.round, l.called+callPause-l.s.o.Now()
		l.mu.Unlock()
		l.s.list(l, pause <= 0)
		round.wait(max(pause, 0) + callPause + l.s.o.Timeout)
	}
}

// wish notes that n tokens are wanted. The caller holds mu.
func (l *tokenLease) wish(n int64) {
	if l.need == 0 || n < l.need {
		l.need = n
	}
	if l.typical == 0 {
		l.typical = n
	}
	l.typical += (n - l.typical) / 4
}

// wait is how long it will take until there are n tokens, as far as is known. The caller holds mu.
func (l *tokenLease) wait(clock time.Duration, n int64) time.Duration {
	if l.quota.PerSecond == 0 {
		return Never
	}
	lacking := float64(n-l.pool.Load()-l.left) - l.quota.PerSecond*(clock-l.heard).Seconds()
	return max(time.Duration(lacking/l.quota.PerSecond*float64(time.Second)), time.Millisecond)
}

// admit tells what this replica knows of to who has got something.
func (l *tokenLease) admit() state { return state{ok: true, remaining: max(l.pool.Load(), 0)} }

// refuse tells it to who has not.
func (l *tokenLease) refuse(wait time.Duration) state {
	return state{remaining: max(l.pool.Load(), 0), wait: wait}
}

// remaining is what there may be left, in Redis and here.
func (l *tokenLease) remaining(now time.Duration) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.s.down.Load() || l.bad {
		return l.shareOf(l.s.o.Now()).look(l.s.o.Now()).remaining
	}
	if !l.known {
		return l.quota.Burst
	}
	return max(min(l.there()-l.owed, l.quota.Burst), 0)
}

// there is what there is by what Redis said last, in Redis and here, without what is owed. The caller holds mu.
func (l *tokenLease) there() int64 {
	flow := l.quota.PerSecond * max(l.s.o.Now()-l.heard, 0).Seconds()
	return int64(float64(l.left+l.pool.Load()) + flow)
}

// owes tells whether more is owed than there is.
func (l *tokenLease) owes() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.s.down.Load() || l.bad:
		return l.shareOf(l.s.o.Now()).owes(l.s.o.Now())
	case !l.known:
		return l.owed > l.quota.Burst
	}
	return l.owed > l.there()
}

// question makes a call for what is wanted, and for what is to be told.
func (l *tokenLease) question(now time.Duration) (m message, ok, keep bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	pool := l.pool.Load()
	idle, ahead := idleTime, l.spent.Load() // as many as since the last call
	if l.known && l.left < l.quota.Burst/scarce && l.s.replicas.Load() > 1 {
		idle, ahead = idleShort, 0
	}
	if pool > 0 && (now == leaving || l.need == 0 && now-time.Duration(l.seen.Load()) > idle && now-l.called > idle) {
		pool = 0
		l.giveBack(l.pool.Swap(0), l.first)
	}
	wanted := l.need > pool && (l.short == 0 || now >= l.until || l.need <= pool+l.left)
	if wanted && pool > 0 && l.short > 0 && l.s.replicas.Load() > 1 && now-l.called >= callPause {
		// What is too little here may be enough together with what is too little elsewhere.
		pool = 0
		l.giveBack(l.pool.Swap(0), l.first)
	}
	if l.need == 0 && l.short == 0 && ahead > 2*l.typical && pool < l.typical {
		wanted = true // before somebody has to wait
	}
	keep = pool > 0 || l.need > 0 || len(l.back) > 0 || l.owed > 0
	if now == leaving {
		now, wanted = l.s.o.Now(), false
	} else if now-l.called < callPause {
		return m, false, true
	}
	if !wanted && len(l.back) == 0 && l.owed == 0 {
		if l.short > 0 && now >= l.until {
			l.short = 0
		}
		if l.need > 0 && l.need <= pool {
			l.need, l.waiting = 0, 0
		}
		return m, false, keep
	}
	a := &l.asked
	a.owed, a.burst, a.want, a.need = l.owed, l.quota.Burst, 0, 0
	if wanted {
		a.need = max(l.need-pool, 0)
		a.want = min(max(l.waiting+ahead-pool, a.need), l.quota.Burst)
	}
	m = message{tokensLua, l.key, l.args(now)}
	l.spent.Store(0)
	a.unsaid = l.unsaid
	l.called, l.back, l.owed, l.unsaid = now, l.back[:0], 0, false
	if wanted {
		l.waiting, l.need = 0, 0
	}
	return m, true, true
}

// args are those of the call, in the order of the script.
func (l *tokenLease) args(now time.Duration) []string {
	i := func(n int64) string { return strconv.FormatInt(n, 10) }
	f := func(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }
	first := l.quota.Burst
	if l.known { // Redis has lost it, if it is not there
		first = min(l.left+int64(l.quota.PerSecond*max(now-l.heard, 0).Seconds()), first)
	}
	a := &l.asked
	args := []string{f(l.quota.PerSecond), i(l.quota.Burst), i(first), i(a.want), i(a.need), i(l.s.replicas.Load()), i(a.owed), i(l.life.Milliseconds())}
	for _, b := range l.back {
		args = append(args, i(b.n), i(b.since))
	}
	return args
}

// answer takes what Redis says.
func (l *tokenLease) answer(now time.Duration, r rueidis.RedisResult) error {
	v, err := r.AsIntSlice()
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.letGo()
	a := l.asked
	if err == nil && (len(v) != 4 || v[0] < 0 || v[0] > a.want || v[1] < 0 || v[1] > a.burst || v[2] < -1) {
		err = fmt.Errorf("cannot lease tokens: nonsense from redis: %d", v[:min(len(v), 8)])
	}
	if err != nil {
		// What comes back may have arrived, and so may the debt. Neither must make tokens: one is given up, the other told again.
		l.owed += a.owed
		l.unsaid = l.unsaid || a.unsaid
		l.bad = isAboutKey(err)
		return err
	}
	l.bad = false
	if a.unsaid {
		copy(l.told[1:], l.told[:])
		l.told[0] = telling{sent: l.called.Microseconds(), at: v[3]}
	}
	granted := v[0]
	if granted > 0 {
		if l.pool.Load() <= 0 {
			l.first = v[3]
		}
		l.granted.Store(v[3])
		l.offset.Store(v[3] - now.Microseconds())
		l.pool.Add(granted)
	}
	l.known, l.left, l.heard, l.short = true, max(v[1]+l.quota.Burst-a.burst, 0), now, 0
	if granted < a.need {
		l.short, l.until = a.need, now+askAgain
		if v[2] >= 0 && v[2] < int64(askAgain/time.Microsecond) {
			l.until = now + max(time.Duration(v[2])*time.Microsecond, callPause)
		}
	}
	return nil
}

// letGo wakes who waits for an answer. The caller holds mu.
func (l *tokenLease) letGo() {
	close(l.round.done)
	l.round = newCall()
}

func (l *tokenLease) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting, l.need = 0, 0
	l.letGo()
}

// giveBack notes tokens that were taken then, by Redis' clock, and not needed. The caller holds mu.
func (l *tokenLease) giveBack(n int64, since int64) {
	debt := min(l.owed, n)
	l.owed -= debt
	if n -= debt; n <= 0 {
		return
	}
	// How much there is room for depends on when they were taken.
	nearest, far := -1, int64(math.MaxInt64)
	for i := range l.back {
		if d := max(l.back[i].since-since, since-l.back[i].since); d < far {
			nearest, far = i, d
		}
	}
	if nearest < 0 || far > nearReturned && len(l.back) < mostReturned {
		l.back = append(l.back, returned{n, since})
		return
	}
	l.back[nearest].n += n
	l.back[nearest].since = min(l.back[nearest].since, since)
}

// settle ends what was taken.
func (l *tokenLease) settle(b bill, h hold) {
	if b.taken == b.were {
		return
	}
	l.mu.Lock()
	if h.from == ofShare && l.s.down.Load() {
		m := l.shareOf(l.s.o.Now())
		m.settle(l.s.o.Now(), bill{b.since, min(b.taken, m.quota.Burst), b.were})
	}
	if b.were < b.taken {
		since := h.at
		if h.from == ofShare {
			since = l.toldOf(h.at)
		}
		l.giveBack(b.taken-b.were, since)
	} else {
		l.owed += min(b.were-b.taken, l.quota.Burst)
	}
	l.mu.Unlock()
	l.s.list(l, false)
}

// undo gives back what was taken this moment.
func (l *tokenLease) undo(now time.Duration, n int64, h hold) {
	if h.from == ofLease {
		l.pool.Add(n)
		l.s.list(l, false)
		return
	}
	l.settle(bill{now, n, 0}, h)
}
