package ratelimit

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// Amounts change under reservations: what was spent stays spent, and what was reserved by the old ones settles by the new ones.
func TestChange(t *testing.T) {
	accounts := NewAccounts(AccountOptions{})
	const now = time.Hour
	var a *Account
	is := func(amounts Amounts) { a = accounts.Of(now, Key, []byte("a"), amounts) }
	left := func(what string, want int64) {
		t.Helper()
		if s := Tokens(now, a); s.Remaining != want {
			t.Errorf("%s: %d are left, want %d", what, s.Remaining, want)
		}
	}
	var first, second, third Reservation
	reserve := func(r *Reservation, n int64, ok bool) {
		t.Helper()
		if f := r.Reserve(now, n, a); f.Refused() == ok {
			t.Errorf("%d: refused by %s", n, f.Name())
		}
	}
	is(Amounts{TPM: 100, Concurrency: 2})
	reserve(&first, 60, true)
	is(Amounts{TPM: 200, Concurrency: 2})
	left("twice as many", 140)
	reserve(&second, 140, true)
	first.Settle(now, 10)
	left("50 came back", 50)
	is(Amounts{TPM: 80, Concurrency: 1})
	left("fewer than are spent", 0)
	if f := Owing(now, a); f.Name() != "key-tpm" {
		t.Errorf("70 are owed: %q", f.Name())
	}
	reserve(&third, 1, false)
	second.Settle(now, 0)
	left("only 10 were needed", 70)
	// A limit that is gone for a while.
	reserve(&first, 70, true)
	is(Amounts{TPD: 1000, Concurrency: 3})
	left("of another limit", 1000)
	reserve(&second, 100, true)
	first.Settle(now, 40)
	is(Amounts{TPM: 80})
	left("30 came back to it meanwhile", 30)
	reserve(&third, 10, true)
	second.Settle(now, 0)
	is(Amounts{TPM: 80, TPD: 1000, Concurrency: 1})
	left("and 100 to the other one", 20)
	third.Settle(now, 10)
	reserve(&third, 20, true)
	reserve(&first, 0, false)
	third.Settle(now, 20)
	left("all is settled", 0)
	if n := a.permits.held.Load(); n != 0 {
		t.Errorf("%d permits are out", n)
	}
	is(Amounts{TPM: 2000, TPMBurst: 7, TPD: 1000})
	if s := Requests(now, a); s.Kind != NoLimit {
		t.Error("a limit that was never there")
	}
}

// However requests and changes meet, nothing is lost or doubled: when all is given back, all is there.
func TestChangeMeetsRequests(t *testing.T) {
	accounts := NewAccounts(AccountOptions{})
	const now = time.Hour
	amounts := []Amounts{{TPM: 1000, Concurrency: 64}, {TPM: 4000, TPMBurst: 2000, Concurrency: 64}, {TPM: 60, TPMBurst: 1500, RPM: 5, Concurrency: 70}}
	of := func(i int) *Account { return accounts.Of(now, Key, []byte("a"), amounts[i%len(amounts)]) }
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 9))
			var open [4]Reservation
			for range 4000 {
				r := &open[rnd.IntN(len(open))]
				r.Settle(now, 0)
				_ = r.Reserve(now, 1+rnd.Int64N(30), of(rnd.IntN(2))) // those of two plans at once
			}
			for i := range open {
				open[i].Settle(now, 0)
			}
		})
	}
	for i := range 4000 {
		of(i)
	}
	wg.Wait()
	for i, a := range amounts {
		if s := Tokens(now, of(i)); s.Remaining != a.rates()[TokensPerMinute].Burst {
			t.Errorf("%+v: %d are left of %d", a, s.Remaining, s.Limit)
		}
		if n := of(i).permits.held.Load(); n != 0 {
			t.Errorf("%d permits are out", n)
		}
	}
}

// TestBudgetPropertyOfChanges: the same as of one life of a bucket, while its rate and size change again and again.
func TestBudgetPropertyOfChanges(t *testing.T) {
	type limits struct {
		at          time.Duration
		rate, burst float64
	}
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 4))
		accounts := NewAccounts(AccountOptions{})
		demand := []float64{0.9, 10}[seed%2]
		p := &play{rnd: rnd, now: time.Hour, demand: demand, length: 20 * time.Minute}
		began, tpm := p.now, int64(1000)<<rnd.IntN(8)
		var life []limits
		of := func(now time.Duration) *Account {
			a := Amounts{TPM: tpm * (1 + rnd.Int64N(8)), TPMBurst: tpm * (1 + rnd.Int64N(3))}
			life = append(life, limits{now, float64(a.TPM) / 60, float64(a.TPMBurst)})
			return accounts.Of(now, Key, []byte("team-a"), a)
		}
		p.change = func(now time.Duration) *Account {
			if now < life[len(life)-1].at+time.Duration(20+rnd.IntN(60))*time.Second {
				return nil
			}
			return of(now)
		}
		p.run(t, of(p.now))
		// What is spent, if all is known at once, is never more than the bucket holds and what was open.
		spent, total, came, at, over := 0.0, p.held, 0.0, began, 0.0
		now := life[0]
		flow := func(to time.Duration) {
			n := now.rate * (to - at).Seconds()
			came += n
			spent, at = max(spent-n, 0), to
		}
		next := life[1:]
		for _, c := range p.charged {
			for len(next) > 0 && next[0].at <= c.at {
				flow(next[0].at)
				now, next = next[0], next[1:]
				over = max(over, spent-now.burst) // and has to be paid off first
			}
			flow(c.at)
			if over = max(min(over, spent-now.burst), 0); spent+c.tokens > 1.01*now.burst+over+p.most {
				t.Fatalf("seed %d, at %v: %v tokens are spent of %v", seed, c.at, spent+c.tokens, now.burst)
			}
			spent += c.tokens
			total += c.tokens
		}
		if want := 0.97 * (came + now.burst); demand == 10 && total < want {
			t.Errorf("seed %d: %v tokens let in, want %v", seed, total, want)
		}
	}
}

// TestChangeShared: the same of what replicas share, each of which hears of a change when it does.
func TestChangeShared(t *testing.T) {
	r := startRedis(t)
	all := shareAccounts(t, r.Addr, 2)
	var a, b *Account
	is := func(amounts Amounts) {
		a, b = all[0].Of(testClock(), Key, []byte("x"), amounts), all[1].Of(testClock(), Key, []byte("x"), amounts)
	}
	var first, second, third Reservation
	has := func(what string, n int64) { // so many are there for the second replica, and no more
		t.Helper()
		waitFor(t, 5*time.Second, func() bool { f := third.Reserve(testClock(), n, b); return !f.Refused() })
		var more Reservation
		if f := more.Reserve(testClock(), 50, b); !f.Refused() {
			t.Errorf("%s: there are more than %d", what, n)
		}
		third.Settle(testClock(), 0)
	}
	is(Amounts{TPM: 60, TPMBurst: 1000, Concurrency: 3})
	if f := first.Reserve(testClock(), 800, a); f.Refused() {
		t.Fatal(f.Name())
	}
	is(Amounts{TPM: 60, TPMBurst: 3000, Concurrency: 3})
	has("three times as many", 2200)
	first.Settle(testClock(), 100)
	has("700 came back", 2900)
	waitFor(t, 5*time.Second, func() bool { f := second.Reserve(testClock(), 2800, a); return !f.Refused() })
	is(Amounts{TPM: 60, TPMBurst: 500, Concurrency: 1})
	waitFor(t, 5*time.Second, func() bool { // the only permit is out, and the second replica's own ones are taken back
		f := third.Reserve(testClock(), 0, b)
		third.Settle(testClock(), 0)
		return f.Name() == "key-concurrency"
	})
	second.Settle(testClock(), 0)
	has("of fewer than were spent", 400)
	// And without one for a while.
	waitFor(t, 5*time.Second, func() bool { f := second.Reserve(testClock(), 300, a); return !f.Refused() })
	is(Amounts{TPD: 1e6})
	second.Settle(testClock(), 50)
	is(Amounts{TPM: 60, TPMBurst: 500, Concurrency: 1})
	has("what came back meanwhile", 350)
}

// TestTokensSharedReturn: what was reserved while Redis was late, and was not needed, is there for all once Redis has heard of it.
func TestTokensSharedReturn(t *testing.T) {
	r := startRedis(t)
	all := shareAccounts(t, r.Addr, 2)
	amounts := Amounts{TPM: 60, TPMBurst: 1000}
	a, b := all[0].Of(0, Key, []byte("x"), amounts), all[1].Of(0, Key, []byte("x"), amounts)
	var first, second Reservation
	reserves := func(res *Reservation, n int64, a *Account) func() bool {
		return func() bool { f := res.Reserve(testClock(), n, a); return !f.Refused() }
	}
	waitFor(t, 5*time.Second, reserves(&first, 10, a))
	first.Settle(testClock(), 0)
	all[0].shared.trip()
	waitFor(t, 5*time.Second, reserves(&first, 450, a)) // of its half
	if first.taken[0].hold.from != ofShare {
		t.Skip("Redis was back at once")
	}
	waitFor(t, 5*time.Second, func() bool { return !all[0].Away() && a.tokens[0].remaining(0) < 600 })
	if reserves(&second, 700, b)() {
		t.Error("Redis was not told")
	}
	first.Settle(testClock(), 50)
	waitFor(t, 5*time.Second, reserves(&second, 900, b))
}
