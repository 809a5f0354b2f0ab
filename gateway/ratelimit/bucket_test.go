package ratelimit

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// rates are those that the tests of the arithmetic go through: round ones and odd ones, both ends, and where scale changes.
func rates() []float64 {
	return []float64{
		1e-6, 1e-3, 1.0 / 3, 0.1, 0.125, 1, 3, 7, 20, 200, 999.999, 1e4, 123456.789, 1e6,
		1<<20 + 1, 1 << 24, 1<<24 + 1, 3.3e7, 7e8, 999999999.5, 1e9,
	}
}

func TestBucket(t *testing.T) {
	var b *bucket
	var l limit
	start := func(perSecond float64, burst int64) { b, l = new(bucket), newLimit(Rate{perSecond, burst}) }
	f := func(now time.Duration, cost int, want string) {
		t.Helper()
		s := b.take(&l, now, cost)
		wait := s.wait.String()
		if s.wait == Never {
			wait = "never"
		}
		if got := fmt.Sprintf("%v %d %s", s.ok, s.remaining, wait); got != want {
			t.Errorf("%v: take %d: got %q, want %q", now, cost, got, want)
		}
	}

	start(10, 2)
	f(0, 1, "true 1 100ms")
	f(0, 1, "true 0 100ms")
	f(0, 1, "false 0 100ms")
	f(40*time.Millisecond, 1, "false 0 60ms")
	f(99999999, 1, "false 0 1ns")
	f(100*time.Millisecond, 1, "true 0 100ms")
	f(250*time.Millisecond, 1, "true 0 50ms") // the half token is kept
	f(300*time.Millisecond, 1, "true 0 100ms")
	f(time.Hour, 0, "true 2 0s") // full, and asking is free
	f(time.Hour, 2, "true 0 100ms")
	f(time.Hour, 0, "true 0 100ms")
	f(time.Hour, -5, "true 0 100ms") // no tokens for a negative cost

	start(10, 5) // weights
	f(0, 3, "true 2 100ms")
	f(0, 3, "false 2 100ms")
	f(0, 5, "false 2 300ms")
	f(0, 6, "false 2 never")
	f(0, math.MaxInt, "false 2 never")
	f(0, 2, "true 0 100ms")
	f(200*time.Millisecond, 3, "false 2 100ms")
	f(300*time.Millisecond, 3, "true 0 100ms")

	start(0, 2) // never again
	f(0, 1, "true 1 never")
	f(time.Hour, 1, "true 0 never")
	f(math.MaxInt64, 1, "false 0 never")
	f(0, 1, "false 0 never")

	start(1e-6, 1) // a token in twelve days, or as near as a float64 comes to it
	f(0, 1, "true 0 277h46m39.999999904s")
	f(999_999*time.Second, 1, "false 0 999.999904ms")
	f(1_000_000*time.Second, 1, "true 0 277h46m39.999999807s")

	start(1e-6, 1e9) // full again after the end of time
	f(0, 1e9, "true 0 277h46m39.999999904s")
	f(0, 1e9, "false 0 never")
	f(math.MaxInt64, 1e9, "false 9223 never") // what 292 years make
	f(math.MaxInt64, 9223, "true 0 never")

	start(1e9, 1e9) // a token a nanosecond
	f(0, 1e9, "true 0 2ns")
	f(1001, 1000, "true 0 1ns")
	f(1001, 1, "false 0 1ns")
	f(time.Second+1001, 1e9, "true 0 1ns")
	f(math.MaxInt64, 1e9, "true 0 never") // past the horizon: no token is given away
	f(math.MaxInt64, 1, "false 0 never")

	start(3, 1) // an interval that no number of nanoseconds is
	f(0, 1, "true 0 333.333334ms")
	f(333_333_333, 1, "false 0 1ns")
	f(333_333_334, 1, "true 0 333.333333ms")
	f(666_666_667, 1, "true 0 333.333333ms")
	f(time.Second, 1, "true 0 333.333334ms")

	start(10, 2) // before the base the clock stands still
	f(-time.Hour, 3, "false 2 never")
	f(math.MinInt64, 2, "true 0 100ms")
	f(-time.Hour, 1, "false 0 100ms")
	f(100*time.Millisecond, 1, "true 0 100ms")
}

func TestRefund(t *testing.T) {
	l := newLimit(Rate{10, 5})
	var b bucket
	remaining := func(now time.Duration, want int64) {
		t.Helper()
		if s := b.take(&l, now, 0); s.remaining != want {
			t.Errorf("%v: %d remain, want %d", now, s.remaining, want)
		}
	}
	b.refund(&l, 3) // into a full bucket
	remaining(0, 5)
	b.take(&l, 0, 5)
	b.refund(&l, 2)
	remaining(0, 2)
	b.refund(&l, 100)
	remaining(0, 5)
	b.take(&l, time.Second, 4)
	b.refund(&l, -4)
	remaining(time.Second, 1)
	b.refund(&l, math.MaxInt)
	remaining(time.Second, 5)
	b.take(&l, time.Second, 5)
	remaining(time.Second, 0)
}

func TestRate(t *testing.T) {
	f := func(perSecond float64, burst int64, want bool) {
		t.Helper()
		if err := (Rate{perSecond, burst}).check(); (err == nil) != want {
			t.Errorf("%v per second, burst %d: %v", perSecond, burst, err)
		}
	}
	f(0, 1, true)
	f(1e-6, 1, true)
	f(1e9, 1e9, true)
	f(1, 0, false)
	f(1, -1, false)
	f(1, 1e9+1, false)
	f(-1, 1, false)
	f(9e-7, 1, false)
	f(1.1e9, 1, false)
	f(math.NaN(), 1, false)
	f(math.Inf(1), 1, false)
}

// A burst of n admits n, however many ask at once.
func TestExactBurst(t *testing.T) {
	const goroutines, each = 64, 2000
	f := func(r Rate, cost int, want int64) {
		t.Helper()
		l := newLimit(r)
		var b bucket
		var admitted atomic.Int64
		together(goroutines, func(int) {
			for range each {
				if b.take(&l, time.Second, cost).ok {
					admitted.Add(1)
				}
			}
		})
		if got := admitted.Load(); got != want {
			t.Errorf("%v at a cost of %d: %d admitted, want %d", r, cost, got, want)
		}
	}
	f(Rate{0, 1}, 1, 1)
	f(Rate{0, 100}, 1, 100)
	f(Rate{20, 40}, 1, 40)
	f(Rate{1e9, 10_000}, 1, 10_000)
	f(Rate{0, 100_000}, 7, 100_000/7)
}

// With a clock that runs, and goroutines that are late, never more than burst and refill are admitted, and hardly less.
func TestExactRefill(t *testing.T) {
	const goroutines, steps = 64, 20_000
	r := Rate{PerSecond: 1000, Burst: 10}
	l := newLimit(r)
	var b bucket
	var clock, admitted atomic.Int64
	together(goroutines, func(int) {
		for range steps {
			now := time.Duration(clock.Add(int64(time.Microsecond)))
			if b.take(&l, now, 1).ok {
				admitted.Add(1)
			}
		}
	})
	elapsed := time.Duration(clock.Load())
	want := r.Burst + int64(elapsed.Seconds()*r.PerSecond)
	// One token less may be there when the last request did not come at the last moment.
	if got := admitted.Load(); got > want || got < want-1 {
		t.Errorf("%d admitted in %v, want %d", got, elapsed, want)
	}
}

// together runs f in n goroutines and waits for all.
func together(n int, f func(i int)) {
	var wait sync.WaitGroup
	for i := range n {
		wait.Go(func() { f(i) })
	}
	wait.Wait()
}

// Over a long time on a scripted clock, all that was admitted is what the exact sum of burst and rate times time makes,
// to one token. The bucket is drained at every step.
func TestExactForLong(t *testing.T) {
	for _, rate := range rates() {
		for _, step := range []time.Duration{7 * time.Millisecond, 61*time.Second + 1, 25 * time.Hour} {
			burst := int64(min(2*rate*step.Seconds()+2, maxBurst))
			if rate*step.Seconds() > float64(burst) {
				continue // the bucket would run over
			}
			l := newLimit(Rate{rate, burst})
			var b bucket
			admitted := big.NewInt(0)
			var now time.Duration
			for range 50_000 {
				s := b.take(&l, now, 0)
				if s.remaining > 0 && !b.take(&l, now, int(s.remaining)).ok {
					t.Fatalf("%v/s at %v: %d remain but are refused", rate, now, s.remaining)
				}
				admitted.Add(admitted, big.NewInt(s.remaining))
				now += step
			}
			now -= step
			if l.clock(now) == horizon {
				continue
			}
			want := new(big.Rat).SetFloat64(rate)
			want.Mul(want, big.NewRat(int64(now), int64(time.Second)))
			want.Add(want, new(big.Rat).SetInt64(burst))
			short := want.Sub(want, new(big.Rat).SetInt(admitted))
			if short.Sign() < 0 || short.Cmp(big.NewRat(2, 1)) >= 0 {
				t.Errorf("%v/s in steps of %v: after %v short by %s tokens", rate, step, now, short.FloatString(6))
			}
		}
	}
}

// A wait is not a nanosecond too short, nor too long.
func TestWaitIsExact(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, rate := range rates() {
		l := newLimit(Rate{rate, 1000})
		for range 200 {
			var b bucket
			now := time.Duration(random.Int64N(int64(time.Hour)))
			b.take(&l, now, 1000)
			cost := 1 + random.IntN(1000)
			s := b.take(&l, now, cost)
			if s.ok || s.wait <= 0 {
				t.Fatalf("%v/s: an empty bucket admits %d, or in %v", rate, cost, s.wait)
			}
			if early := b.take(&l, now+s.wait-1, cost); early.ok {
				t.Fatalf("%v/s: %d are there a nanosecond before %v", rate, cost, s.wait)
			}
			if !b.take(&l, now+s.wait, cost).ok {
				t.Fatalf("%v/s: %d are not there after %v", rate, cost, s.wait)
			}
		}
	}
}

// A clock that is set by an hour, either way, locks nobody out for longer than skew and gives nobody more than a burst.
func TestClockIsSet(t *testing.T) {
	r := Rate{PerSecond: 10, Burst: 20}
	for _, script := range [][]time.Duration{
		{time.Hour}, {-time.Hour}, {-time.Hour, time.Hour}, {time.Hour, -time.Hour, -time.Hour, time.Hour},
		{-time.Second}, {-skew}, {-skew - time.Millisecond}, {-3 * time.Second},
	} {
		for _, spent := range []int{0, 10, 20} {
			l := newLimit(r)
			var b bucket
			now := 2 * time.Hour
			b.take(&l, now, spent)
			for _, step := range script {
				before := b.take(&l, now, 0).remaining
				now += step
				after := b.take(&l, now, 0).remaining
				if after > r.Burst || step < 0 && after > before {
					t.Errorf("%v, %d spent: %d tokens before %v, %d after", script, spent, before, step, after)
				}
				// From here on the bucket works as ever.
				admitted := int64(0)
				const run, pause = 100, 50 * time.Millisecond // 5 s, 50 tokens
				for range run {
					now += pause
					if b.take(&l, now, 1).ok {
						admitted++
					}
				}
				refill := int64((run * pause).Seconds() * r.PerSecond)
				least := refill
				if step < 0 {
					least -= int64(min(-step, skew+time.Second/10).Seconds() * r.PerSecond)
				}
				if admitted > after+refill || admitted < least {
					t.Errorf("%v, %d spent: %d admitted in %v after %v, want %d to %d",
						script, spent, admitted, run*pause, step, least, after+refill)
				}
			}
		}
	}
}

// The bucket decides like the model, whatever is taken and given back at whatever times, but for what rounding may
// decide: the bucket may be a unit off.
func FuzzBucket(f *testing.F) {
	f.Add(uint64(1), uint8(4), uint32(10))
	f.Add(uint64(2), uint8(0), uint32(1))
	f.Add(uint64(3), uint8(20), uint32(1e9))
	f.Add(uint64(4), uint8(255), uint32(3))
	f.Fuzz(func(t *testing.T, seed uint64, which uint8, burst uint32) {
		random := rand.New(rand.NewPCG(seed, 0))
		r := Rate{Burst: 1 + int64(burst)%maxBurst}
		if all := rates(); int(which) < len(all) {
			r.PerSecond = all[which]
		} else if which%4 > 0 {
			r.PerSecond = math.Exp(math.Log(minPerSecond) + random.Float64()*math.Log(maxPerSecond/minPerSecond))
		}
		compare(t, r, random)
	})
}

// TestLikeTheModel is a longer run of what FuzzBucket does.
func TestLikeTheModel(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for _, rate := range append(rates(), 0) {
		for _, burst := range []int64{1, 2, 40, 12345, maxBurst} {
			compare(t, Rate{rate, burst}, random)
		}
	}
}

func compare(t *testing.T, r Rate, random *rand.Rand) {
	t.Helper()
	l, m := newLimit(r), newModel(r)
	var b bucket
	unit := new(big.Rat).SetFrac64(2, 1<<l.scale)
	near := func(x *big.Rat) bool { return new(big.Rat).Abs(x).Cmp(unit) <= 0 }
	taken := int64(0) // since the clock was last set back, and not given back
	now := time.Duration(random.Int64N(int64(time.Hour)))
	for i := range 300 {
		now += step(r, random)
		if l.clock(now) == horizon {
			return
		}
		level, overdue := m.at(now)
		if r.PerSecond > 0 && near(overdue) {
			continue // set back or just late: rounding decides
		}
		if random.IntN(8) == 0 && taken > 0 {
			cost := 1 + random.Int64N(taken)
			b.refund(&l, int(cost))
			m.refund(int(cost))
			taken -= cost
			continue
		}
		cost := random.Int64N(1 + min(r.Burst, 1<<random.IntN(31)))
		if random.IntN(3) == 0 {
			whole := new(big.Int).Quo(level.Num(), level.Denom())
			cost = max(whole.Int64(), 0) + random.Int64N(2)
		}
		left := new(big.Rat).Sub(level, new(big.Rat).SetInt64(cost))
		got, want := b.take(&l, now, int(cost)), m.take(now, int(cost))
		if got.ok != want {
			if !near(left) {
				t.Fatalf("%v, step %d at %v: take %d of %s: got %v, want %v", r, i, now, cost, level.FloatString(9), got.ok, want)
			}
			if got.ok {
				m.set(now, left)
			} else {
				m.set(now, level)
			}
		}
		if got.ok {
			taken += cost
			level = left
		} else if overdue.Sign() > 0 {
			taken = 0
		}
		whole := max(new(big.Int).Div(level.Num(), level.Denom()).Int64(), 0)
		if difference := got.remaining - whole; difference > 1 || difference < -1 {
			t.Fatalf("%v, step %d at %v: %d remain, want %d", r, i, now, got.remaining, whole)
		}
	}
}

// step is how far the clock goes: mostly about as far as the bucket takes to fill, now and then back, rarely by an hour.
func step(r Rate, random *rand.Rand) time.Duration {
	fill := time.Hour.Seconds()
	if r.PerSecond > 0 {
		fill = min(float64(r.Burst)/r.PerSecond, 1e6)
	}
	far := time.Duration(fill*1e9*random.Float64()*random.Float64()) + 1
	switch random.IntN(12) {
	case 0:
		return -min(far, 2*skew)
	case 1:
		return -time.Hour
	case 2:
		return time.Hour
	case 3, 4:
		return 0
	}
	return far
}
