package ratelimit

import (
	"math"
	"sync/atomic"
	"time"
)

// A meter is a token bucket of which tokens are taken ahead, as an estimate, and settled later, when it is known how many it were.
// What decides is one atomic word, moved by compare-and-swap, as in bucket: the time at which the bucket will be full again.
//
// Tokens that were taken too many come back, and it must be as if they had never been gone: had the bucket been full meanwhile,
// they would have run over. So what comes back is at most the least room that there was since they were taken. The marks tell it:
// for each size of room, in steps of a factor of √2, when a request last found one. One store each keeps them.
//
// When the quota changes, another meter goes on for it, to which the word of this one leads from then on: whoever has taken tokens here
// settles there, and nothing is lost between the two.
type meter struct {
	quota *quota
	word  atomic.Uint64
	marks [rooms]atomic.Int64 // as the caller's now
	next  atomic.Pointer[meter]
}

// moved is the word of a meter for which another one goes on. No clock comes so far.
const moved = math.MaxUint64

func newMeter(q *quota) *meter { return &meter{quota: q} }

// current is the meter that goes on for m, or m itself, and its word.
func (m *meter) current() (*meter, uint64) {
	word := m.word.Load()
	for word == moved {
		m = m.next.Load()
		word = m.word.Load()
	}
	return m, word
}

// rooms is how many sizes of room are told apart: less than a 128th of the burst, seven octaves in two steps each.
const (
	rooms   = 15
	octaves = 7
)

// A quota is the rate of a meter made ready for use.
type quota struct {
	limit
	Rate
	rooms [rooms]uint64 // the least room of each size, in units
	part  float64       // of the burst that a unit is
}

// newQuota is for a burst of up to 1e12 tokens. Faster than 1e9 a second none is filled.
func newQuota(r Rate) quota {
	q := quota{limit: newLimit(r), Rate: r}
	for q.limit.scale > 0 && float64(r.Burst)*float64(uint64(1)<<q.limit.scale) > horizon/8 { // a debt, and a day to go
		q.limit.scale--
	}
	q.burst = uint64(r.Burst) << q.limit.scale
	q.mult = multiplier(r.PerSecond, q.limit.scale)
	q.skew = q.clock(skew)
	q.part = 1 / float64(q.burst)
	for i := 1; i < rooms; i++ {
		q.rooms[i] = uint64(float64(q.burst) * math.Pow(2, float64(i-1)/2-octaves))
	}
	return q
}

// size tells which size a room is of.
func (q *quota) size(room uint64) int {
	part := float64(room) * q.part
	if part < 1.0/(1<<octaves) {
		return 0
	}
	bits := math.Float64bits(part)
	i := 2*(int(bits>>52)-1023+octaves) + 1
	const mantissa = 1<<52 - 1
	if bits&mantissa >= math.Float64bits(math.Sqrt2)&mantissa {
		i++
	}
	return min(i, rooms-1)
}

func (q *quota) units(tokens int64) uint64 {
	return uint64(min(max(tokens, 0), 2*q.Burst)) << q.limit.scale
}

// full is when the bucket of this word will be full, not before now. A word further ahead than debt can lead is of before the clock
// was set back: the bucket counts as empty.
func (q *quota) full(word, clock uint64) uint64 {
	full := max(word, clock)
	if full > clock+2*q.burst+q.skew {
		full = clock + q.burst
	}
	return full
}

// take takes n tokens, at most the burst, if they are there.
func (m *meter) take(now time.Duration, n int64) state {
	for {
		m, word := m.current()
		q := m.quota
		clock, units := q.clock(now), q.units(n)
		full := q.full(word, clock)
		if full+units > clock+q.burst {
			return q.refuse(full, units, now)
		}
		m.mark(full-clock, now)
		if m.word.CompareAndSwap(word, full+units) {
			return q.admit(full+units, now)
		}
	}
}

// mark notes that there was so much room. It comes before the swap: whoever settles meanwhile must not miss it.
func (m *meter) mark(room uint64, now time.Duration) {
	at := &m.marks[m.quota.size(room)]
	for {
		last := at.Load()
		if int64(now) <= last || at.CompareAndSwap(last, int64(now)) {
			return
		}
	}
}

// admit is what is said about a bucket that will be full at that time to who has got something of it.
func (q *quota) admit(full uint64, now time.Duration) state {
	return state{ok: true, remaining: q.remains(full, q.clock(now))}
}

// refuse is what is said about it to who wanted so many units.
func (q *quota) refuse(full, units uint64, now time.Duration) state {
	clock := q.clock(now)
	s := state{remaining: q.remains(full, clock), wait: Never}
	if units <= q.burst {
		s.wait = max(q.until(max(full, clock)+units-q.burst, now), 1)
	}
	return s
}

// remains is how many tokens a bucket has at that time that will be full at the other.
func (q *quota) remains(full, clock uint64) int64 {
	return int64((clock + q.burst - min(max(full, clock), clock+q.burst)) >> q.limit.scale)
}

// look tells about the bucket as it is.
func (m *meter) look(now time.Duration) state {
	m, word := m.current()
	return m.quota.admit(m.quota.full(word, m.quota.clock(now)), now)
}

// fills is how long the bucket takes until it is full.
func (m *meter) fills(now time.Duration) time.Duration {
	m, word := m.current()
	clock := m.quota.clock(now)
	full := m.quota.full(word, clock)
	if full == clock {
		return 0
	}
	return m.quota.until(full, now)
}

// owes tells whether more was taken than was there.
func (m *meter) owes(now time.Duration) bool {
	m, word := m.current()
	clock := m.quota.clock(now)
	return m.quota.full(word, clock) > clock+m.quota.burst
}

// undo gives back what was taken this moment.
func (m *meter) undo(now time.Duration, n int64) {
	for {
		m, word := m.current()
		units, full := m.quota.units(n), m.quota.full(word, m.quota.clock(now))
		if m.word.CompareAndSwap(word, full-min(units, full)) {
			return
		}
	}
}

// A bill is what a reservation was, and what it came to in the end, in tokens.
type bill struct {
	since time.Duration // when they were taken
	taken int64
	were  int64
}

// settle ends what was taken. Too many tokens come back as far as there was room for them all the time, too few are taken now, if
// need be from a bucket that has none: it owes a burst at most.
func (m *meter) settle(now time.Duration, b bill) {
	for {
		m, word := m.current()
		q := m.quota
		clock := q.clock(now)
		full := q.full(word, clock)
		after := full
		switch {
		case b.were > b.taken:
			m.mark(full-clock, now)
			after = max(full, min(full+q.units(b.were-b.taken), clock+2*q.burst))
		case b.were < b.taken:
			after = full - min(q.units(b.taken-b.were), full-clock, m.least(b.since))
		}
		if after == word || m.word.CompareAndSwap(word, after) {
			return
		}
	}
}

// least is the least room that there was since then, or a little less.
func (m *meter) least(since time.Duration) uint64 {
	for i := range m.marks {
		if m.marks[i].Load() > int64(since) {
			return m.quota.rooms[i]
		}
	}
	return math.MaxUint64
}

// carry makes the meter of another quota, as spent as m is, which goes on for m.
func (m *meter) carry(to *quota, now time.Duration) *meter {
	for {
		m, word := m.current()
		from, n := m.quota, newMeter(to)
		clock := from.clock(now)
		n.word.Store(to.clock(now) + to.same(from, from.full(word, clock)-clock))
		for i := range m.marks {
			if at := m.marks[i].Load(); at > 0 {
				n.mark(to.same(from, from.rooms[i]), time.Duration(at))
			}
		}
		m.next.Store(n)
		if m.word.CompareAndSwap(word, moved) {
			return n
		}
	}
}

// same is so many tokens, in units of q, that are units of another quota: at most what can be owed.
func (q *quota) same(from *quota, units uint64) uint64 {
	tokens, part := units>>from.limit.scale, units&(1<<from.limit.scale-1)
	if tokens >= 2*uint64(q.Burst) {
		return 2 * q.burst
	}
	if from.limit.scale > q.limit.scale {
		return tokens<<q.limit.scale | part>>(from.limit.scale-q.limit.scale)
	}
	return (tokens<<from.limit.scale | part) << (q.limit.scale - from.limit.scale)
}
