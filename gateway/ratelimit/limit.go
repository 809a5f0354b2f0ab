package ratelimit

import (
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"time"
)

// What a Rate may be. The bounds are those for which limit's arithmetic was made and tested.
const (
	minPerSecond = 1e-6
	maxPerSecond = 1e9
	maxBurst     = 1_000_000_000
)

// A Rate is how many tokens a bucket holds, and how fast it fills up again.
type Rate struct {
	PerSecond float64 // 0, or 1e-6 to 1e9; with 0 a bucket is never filled again
	Burst     int64   // 1 to 1e9
}

func (r Rate) check() error {
	switch {
	case r.PerSecond != 0 && !(r.PerSecond >= minPerSecond && r.PerSecond <= maxPerSecond):
		return fmt.Errorf("cannot limit to %v per second: the rate must be 0, or %v to %v", r.PerSecond, minPerSecond, maxPerSecond)
	case r.Burst < 1 || r.Burst > maxBurst:
		return fmt.Errorf("cannot limit to a burst of %d: it must be 1 to %d", r.Burst, maxBurst)
	}
	return nil
}

// Never is the wait for tokens that will not come, and for those that take longer than a time.Duration can tell.
const Never = time.Duration(math.MaxInt64)

// A bucket is one word. Its upper 59 bits are the theoretical arrival time of the generic cell rate algorithm (GCRA, ITU-T
// I.371, in its form of virtual scheduling): the time at which the bucket will be full again. What was spent of it lies
// between the limit's clock and that time. The lower five bits belong to the table of clients: see there.
const (
	lowBits = 5
	lowMask = 1<<lowBits - 1

	// The clock of a limit stops here: no sooner than a time.Duration ends for rates up to 2^24 a second, after nine years
	// for 1e9 a second. What stops fills no bucket: the gate closes, it never opens.
	horizon = 1 << 58
)

// skew is how far the clock may go back before it counts as set back. Goroutines read the clock and then spend, not always in
// the same order, so a little is usual and must not be rewarded: whoever is late finds the bucket as the others left it.
const skew = 2 * time.Second

// A limit is a rate made ready for use; it never changes.
//
// Time is counted in parts of a token, not in nanoseconds, which are too coarse for the interval between two tokens: at 7e8
// tokens a second a nanosecond is a third too short, and at 3 a second every token would add a third of a nanosecond.
// A token is 2^scale units, with scale such that the clock fits into 58 bits for as long as a time.Duration lasts. A unit is
// 2^-27 tokens up to a rate of 1/8, 2^-19 at 20, 2^-16 at 200, 2^-4 at 1e6, and a whole token from 2^24 on. A bucket is never
// wrong by more than a unit, and since the clock is computed from the time itself and not summed up, it does not drift: the
// error of mult makes 5e-6 units a day, and half a unit in the 292 years of a time.Duration.
type limit struct {
	mult  uint64 // units a nanosecond, times 2^64, rounded up
	scale uint   // a token is 1<<scale units
	burst uint64 // in units
	skew  uint64 // in units
}

func newLimit(r Rate) limit {
	const longest = 34 // a time.Duration ends before 2^34 seconds
	l := limit{scale: 27}
	for l.scale > 0 && math.Ldexp(r.PerSecond, int(l.scale)+longest) > horizon {
		l.scale--
	}
	l.burst = uint64(r.Burst) << l.scale
	l.mult = multiplier(r.PerSecond, l.scale)
	l.skew = l.clock(skew)
	return l
}

// multiplier is perSecond·2^scale/1e9·2^64, and at most 2^64-1: only 1e9 a second would be more, and its clock is a nanosecond
// late instead. It is rounded up so that a tenth of a second at 10 a second is a token, not a token but 2^-64 of one.
func multiplier(perSecond float64, scale uint) uint64 {
	exact := new(big.Rat).SetFloat64(perSecond)
	units := new(big.Int).Lsh(exact.Num(), scale+64)
	divisor := new(big.Int).Mul(exact.Denom(), big.NewInt(int64(time.Second)))
	units.Add(units, divisor).Sub(units, big.NewInt(1)).Quo(units, divisor)
	if !units.IsUint64() {
		return math.MaxUint64
	}
	return units.Uint64()
}

// clock is the time in units, rounded down. Before the base it stands still.
func (l *limit) clock(now time.Duration) uint64 {
	units, _ := bits.Mul64(uint64(max(now, 0)), l.mult)
	return min(units, horizon)
}

// until is how long it takes from now until clock shows at least units.
func (l *limit) until(units uint64, now time.Duration) time.Duration {
	if units >= l.mult || units > horizon {
		return Never
	}
	at, rest := bits.Div64(units, 0, l.mult)
	if rest > 0 {
		at++
	}
	if at > math.MaxInt64 {
		return Never
	}
	return max(time.Duration(at)-max(now, 0), 0)
}

// tokens is a number of tokens in units. More than a bucket holds are all the same: one too many.
func (l *limit) tokens(n int) uint64 {
	return min(uint64(max(n, 0)), l.burst>>l.scale+1) << l.scale
}

// spend takes units from the bucket of this word if it has them. It returns the bucket afterwards, which differs from word only
// if that has to be kept. Whatever can be found out before or after the swap is left to others: the shorter it takes, the rarer
// the swap fails.
func (l *limit) spend(word, clock, units uint64) (after uint64, ok bool) {
	empty := clock + l.burst // the arrival time of a bucket without tokens
	full := max(word>>lowBits, clock)
	if full > empty+l.skew {
		// The clock was set back. What was in the bucket is not known any more, so it counts as empty; were it left as it
		// is, nobody would be admitted until the clock is back where it was.
		full = empty
		word = full<<lowBits | word&lowMask
	}
	if full+units > empty {
		return word, false
	}
	return (full+units)<<lowBits | word&lowMask, true
}

// A state is what a bucket answers.
type state struct {
	ok        bool
	remaining int64         // whole tokens left
	wait      time.Duration // until it would be ok, or if it is, until one more token is left; 0 if the bucket is full
}

// admit tells about the bucket that spend returned to who has got something of it.
func (l *limit) admit(after uint64, now time.Duration) state {
	full, clock := max(after>>lowBits, l.clock(now)), l.clock(now)
	s := state{ok: true, remaining: l.remains(full, clock)}
	if full > clock {
		s.wait = max(l.until(full+uint64(s.remaining+1)<<l.scale-l.burst, now), 1)
	}
	return s
}

// refuse tells about it to who wanted so many units.
func (l *limit) refuse(after, units uint64, now time.Duration) state {
	full, clock := max(after>>lowBits, l.clock(now)), l.clock(now)
	s := state{remaining: l.remains(full, clock), wait: Never}
	if units <= l.burst {
		s.wait = max(l.until(full+units-l.burst, now), 1)
	}
	return s
}

// remains is how many whole tokens a bucket has at that time that will be full at the other.
func (l *limit) remains(full, clock uint64) int64 {
	return int64((clock + l.burst - min(full, clock+l.burst)) >> l.scale)
}

// refund gives cost tokens back. A bucket holds no more than its burst: what is too much runs over with the next spend.
func (l *limit) refund(word uint64, cost int) uint64 {
	full := word >> lowBits
	return (full-min(l.tokens(cost), l.burst, full))<<lowBits | word&lowMask
}

// debt is how much of the bucket is spent, in units. A bucket without a debt is as good as a new one.
func (l *limit) debt(word uint64, now time.Duration) uint64 {
	full, clock := word>>lowBits, l.clock(now)
	return full - min(full, clock)
}
