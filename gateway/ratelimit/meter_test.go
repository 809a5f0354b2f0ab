package ratelimit

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"
)

// TestMeterSettle is a bucket of 100 tokens, one of which comes in every second.
func TestMeterSettle(t *testing.T) {
	q := newQuota(Rate{PerSecond: 1, Burst: 100})
	type step struct {
		at   int // seconds
		what string
		of   int   // the step whose tokens are settled
		n    int64 // tokens
		left int64 // afterwards; -1: it was refused
	}
	f := func(name string, steps ...step) {
		t.Helper()
		m := newMeter(&q)
		at := func(i int) time.Duration { return time.Duration(1000+i) * time.Second }
		for i, s := range steps {
			now := at(s.at)
			switch s.what {
			case "take":
				if st := m.take(now, s.n); !st.ok && s.left >= 0 || st.ok && s.left < 0 {
					t.Errorf("%s: step %d: taken %v", name, i, st.ok)
				}
			case "settle":
				m.settle(now, bill{at(steps[s.of].at), steps[s.of].n, s.n})
			}
			if got := m.look(now).remaining; s.left >= 0 && got != s.left {
				t.Errorf("%s: step %d: %d left, want %d", name, i, got, s.left)
			}
		}
	}
	f("too much comes back", step{0, "take", 0, 80, 20}, step{5, "settle", 0, 10, 95})
	f("as it was", step{0, "take", 0, 80, 20}, step{5, "settle", 0, 80, 25})
	f("nothing was sent", step{0, "take", 0, 80, 20}, step{0, "settle", 0, 0, 100})
	f("too little is a debt", step{0, "take", 0, 80, 20}, step{1, "settle", 0, 130, 0}, step{29, "take", 0, 1, -1}, step{31, "take", 0, 1, 0})
	f("which is bounded", step{0, "take", 0, 100, 0}, step{0, "settle", 0, 1 << 50, 0}, step{100, "take", 0, 1, -1}, step{101, "take", 0, 1, 0})
	f("it would have run over", step{0, "take", 0, 100, 0}, step{100, "take", 0, 100, 0}, step{101, "settle", 0, 0, 1})
	f("a part would have run over", step{0, "take", 0, 100, 0}, step{49, "take", 0, 49, 0}, step{49, "settle", 0, 0, 50})
	f("the bucket is full again", step{0, "take", 0, 50, 50}, step{60, "settle", 0, 0, 100}, step{60, "take", 0, 100, 0})
	f("a full bucket before it does not matter", step{0, "take", 0, 1, 99}, step{1, "take", 0, 60, 40}, step{2, "settle", 1, 0, 100})
	f("refused takes nothing", step{0, "take", 0, 90, 10}, step{0, "take", 0, 11, -1}, step{0, "take", 0, 10, 0})
	f("a negative count is none", step{0, "take", 0, 90, 10}, step{0, "settle", 0, -5, 100})
}

// TestMeterSizes: the least room of a size is no more than any room of it, and not much less.
func TestMeterSizes(t *testing.T) {
	for _, r := range []Rate{{1, 1}, {1, 100}, {1e6 / 60, 1e6}, {1e9, 1e9}, {0.001, 7}, {1, 1e12}, {1e12 / 86400, 1e12}} {
		q := newQuota(r)
		rnd := rand.New(rand.NewPCG(1, 2))
		for range 10000 {
			room := uint64(rnd.Float64() * float64(q.burst))
			least := q.rooms[q.size(room)]
			if least > room || room > q.burst/100 && float64(least) < 0.7*float64(room) {
				t.Fatalf("%v: a room of %d counts as %d", r, room, least)
			}
		}
		if q.size(q.burst) != rooms-1 || q.size(3*q.burst) != rooms-1 || q.size(0) != 0 {
			t.Errorf("%v: the ends", r)
		}
	}
}

// A play is a random life of one bucket, by a clock of its own.
type play struct {
	rnd     *rand.Rand
	now     time.Duration
	demand  float64 // as a part of the rate
	length  time.Duration
	charged []charge
	most    float64 // reserved at once, at most
	held    float64 // reserved at the end beyond what is needed

	change func(now time.Duration) *Account // other amounts, if it is not nil; nil: they stay
}

type charge struct {
	at     time.Duration
	tokens float64
}

type underway struct {
	r    Reservation
	till time.Duration
	were int64
}

// run asks for tokens of the account until the end, and settles as the requests end: whole, cut, failed, handed over.
func (p *play) run(t *testing.T, a *Account) {
	rate, burst := float64(a.amounts.TPM)/60, float64(a.tokens[0].quota.Burst)
	mean := burst / 50
	var open []*underway
	end := p.now + p.length
	for p.now < end {
		if p.change != nil {
			if other := p.change(p.now); other != nil {
				a = other
				rate, burst = float64(a.amounts.TPM)/60, float64(a.tokens[0].quota.Burst)
				mean = burst / 50
			}
		}
		p.now += time.Duration(p.rnd.ExpFloat64() * mean / rate / p.demand * float64(time.Second))
		open = slices.DeleteFunc(open, func(u *underway) bool {
			if u.till > p.now {
				return false
			}
			u.r.Settle(u.till, u.were)
			u.r.Settle(u.till, u.were) // does nothing
			return true
		})
		u := &underway{}
		estimate := int64(p.rnd.ExpFloat64()*mean) + 1
		if f := u.r.Reserve(p.now, estimate, nil, a); f.Refused() {
			if used := burst - float64(f.Remaining); used < 0.95*burst && float64(estimate) < 0.05*burst {
				t.Fatalf("refused %d with %d left of %v", estimate, f.Remaining, burst)
			}
			continue
		}
		u.till = p.now + time.Duration(p.rnd.ExpFloat64()*float64(40*time.Second))
		switch p.rnd.IntN(10) {
		case 0: // failed
		case 1, 2: // cut
			u.were = p.rnd.Int64N(estimate + 1)
		case 3: // longer than expected
			u.were = min(estimate+p.rnd.Int64N(estimate+1), int64(burst))
		case 4: // left at once: settled in the same moment
			u.till = p.now
		default:
			u.were = estimate*6/10 + p.rnd.Int64N(estimate*4/10+1)
		}
		p.charged = append(p.charged, charge{p.now, float64(u.were)})
		open = append(open, u)
		reserved := 0.0
		for _, u := range open {
			reserved += float64(u.r.Tokens())
		}
		p.most = max(p.most, reserved)
	}
	for _, u := range open {
		p.held += float64(max(u.r.Tokens()-u.were, 0))
		u.r.Settle(u.till, u.were)
	}
}

// check looks at every window of charges, dated at admission: the sum is at most what flowed in, a bucket, and the slack.
func (p *play) check(t *testing.T, rate, burst, slack float64) {
	t.Helper()
	least, sum := 0.0, 0.0 // of (sum before i) - rate * time of i
	for i, c := range p.charged {
		line := sum - rate*c.at.Seconds()
		if i == 0 || line < least {
			least = line
		}
		sum += c.tokens
		if over := sum - rate*c.at.Seconds() - least - burst; over > slack {
			t.Fatalf("at %v: %v tokens more than flowed in and a bucket of %v, allowed are %v", c.at, over, burst, slack)
		}
	}
}

// TestBudgetProperty: over any life of a bucket, what it has let in, dated at admission, is bounded; under much demand it is nearly all.
func TestBudgetProperty(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		tpm := int64(1000) << rnd.IntN(12)
		amounts := Amounts{TPM: tpm, TPMBurst: max(tpm*int64(1+rnd.IntN(20))/10, 100)}
		demand := []float64{0.3, 0.9, 1.1, 3, 10}[seed%5]
		p := &play{rnd: rnd, now: time.Hour, demand: demand, length: 20 * time.Minute}
		began := p.now
		a := NewAccounts(AccountOptions{}).Of(p.now, Key, []byte("team-a"), amounts)
		p.run(t, a)
		rate, burst := float64(tpm)/60, float64(amounts.TPMBurst)
		p.check(t, 1.01*rate, 1.01*burst, p.most)
		if demand == 10 {
			total := p.held
			for _, c := range p.charged {
				total += c.tokens
			}
			if want := 0.97 * (rate*(p.now-began).Seconds() + burst); total < want {
				t.Errorf("seed %d: %v tokens let in, want %v", seed, total, want)
			}
		}
		if t.Failed() {
			t.Fatalf("seed %d: %+v, demand %v", seed, amounts, demand)
		}
	}
}

// TestBudgetExact: to the token, nothing is let in beyond the rate and one bucket by what comes back of one reservation after the other,
// beside others that need what they took.
func TestBudgetExact(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		q := newQuota(Rate{PerSecond: 10, Burst: 1000})
		p := &play{rnd: rnd}
		m := newMeter(&q)
		var open, till time.Duration // of the one that took too much
		var n, were int64
		now := time.Second
		for range 3000 {
			now += time.Duration(rnd.ExpFloat64() * float64([]time.Duration{50 * time.Millisecond, 5 * time.Second}[rnd.IntN(2)]))
			if open > 0 && till <= now {
				m.settle(now, bill{open, n, were})
				open = 0
			}
			take := 1 + rnd.Int64N(1+rnd.Int64N(1000))
			if !m.take(now, take).ok {
				continue
			}
			if open == 0 {
				open, n, were = now, take, rnd.Int64N(take+1)
				till = now + time.Duration(rnd.ExpFloat64()*float64(60*time.Second))
				take = were
			}
			p.charged = append(p.charged, charge{now, float64(take)})
		}
		p.check(t, 10, 1000, 0.1)
	}
}

// TestPermits: a permit is back however its request ends, and however often it is settled.
func TestPermits(t *testing.T) {
	accounts := NewAccounts(AccountOptions{})
	a := accounts.Of(0, Key, []byte("a"), Amounts{Concurrency: 2, TPM: 60})
	m := accounts.Of(0, Model, []byte("a"), Amounts{Concurrency: 1})
	var r [3]Reservation
	refused := func(i int, now time.Duration, tokens int64, want string, accounts ...*Account) {
		t.Helper()
		f := r[i].Reserve(now, tokens, accounts...)
		if got := f.Name(); f.Refused() != (want != "") || f.Refused() && got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if f.Refused() && r[i].Open() {
			t.Error("what was refused holds something")
		}
	}
	refused(0, 0, 10, "", a, m, nil)
	refused(1, 0, 10, "model-concurrency", a, m)
	refused(1, 0, 10, "", a)
	refused(2, 0, 10, "key-concurrency", a)
	r[0].Settle(0, 10)
	r[0].Settle(0, 10)
	refused(0, 0, 50, "key-tpm", m, a)
	refused(0, 0, 40, "", m, a)
	// Another number of permits, while some are out.
	a = accounts.Of(0, Key, []byte("a"), Amounts{Concurrency: 3, TPM: 60})
	refused(2, 60*time.Second, 1, "", a)
	r[0].Settle(0, 0)
	r[1].Settle(0, 0)
	r[2].Settle(0, 0)
	if n := a.permits.held.Load(); n != 0 {
		t.Errorf("%d permits are out", n)
	}
	if n := m.permits.held.Load(); n != 0 {
		t.Errorf("%d permits of the model are out", n)
	}
}

// TestAccounts: an account keeps what was spent when its amounts change, and when others come; none gets lost.
func TestAccounts(t *testing.T) {
	accounts := NewAccounts(AccountOptions{Most: 20000})
	of := func(i int, tpm int64) *Account {
		return accounts.Of(0, Key, strconv.AppendInt([]byte("team-"), int64(i), 10), Amounts{TPM: tpm})
	}
	for i := range 20000 {
		var r Reservation
		if f := r.Reserve(0, 60, of(i, 100)); f.Refused() {
			t.Fatal("a new account refuses")
		}
	}
	for i := range 20000 {
		if left := of(i, 100).tokens[0].remaining(0); left != 40 {
			t.Fatalf("%d left", left)
		}
	}
	for _, i := range []int{3, 1, 4} {
		if left := of(i, 200).tokens[0].remaining(0); left != 140 {
			t.Errorf("%d left of twice as much", left)
		}
		if left := of(i, 50).tokens[0].remaining(0); left != 0 {
			t.Errorf("%d left of half as much", left)
		}
	}
	if a, b := of(20001, 100), of(20001, 100); a != b || a.ID == "team-20001" {
		t.Errorf("who comes too late has an account of his own: %q", a.ID)
	}
	if accounts.Of(0, Key, []byte("x"), Amounts{}) != nil {
		t.Error("an account without limits")
	}
}

func TestAppendReset(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Nanosecond: "1ms", 250 * time.Millisecond: "250ms", time.Second: "1s", 1001 * time.Millisecond: "2s",
		6 * time.Minute: "6m0s", 25 * time.Hour: "25h0m0s", -time.Second: "0s", Never: "596523h14m7s",
	} {
		if got := string(AppendReset(nil, d)); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}
