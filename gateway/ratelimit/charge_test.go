package ratelimit

import (
	"testing"
	"time"
)

// A reservation may be settled long before its permits come back; what is used later is charged as it comes, into debt too.
func TestCharge(t *testing.T) {
	accounts := NewAccounts(AccountOptions{})
	const now = time.Hour
	a := accounts.Of(now, Key, []byte("a"), Amounts{TPD: 1000, Concurrency: 1})
	var r, other Reservation
	left := func(want int64) {
		t.Helper()
		if s := Tokens(now, nil, a); s.Remaining != want {
			t.Errorf("%d are left, want %d", s.Remaining, want)
		}
	}
	owing := func(want string) {
		t.Helper()
		if f := Owing(now, nil, a); f.Refused() != (want != "") || f.Refused() && f.Name() != want {
			t.Errorf("%q owes, want %q", f.Name(), want)
		}
	}
	if f := r.Reserve(now, 500, a); f.Refused() {
		t.Fatal(f)
	}
	r.SettleTokens(now, 600)
	left(400)
	if f := other.Reserve(now, 1, a); f.Name() != "key-concurrency" {
		t.Errorf("the permit is back: %q", f.Name())
	}
	Charge(now, 300, nil, a)
	left(100)
	Charge(now, -300, a)
	Charge(now, 100, a)
	left(0)
	owing("")
	Charge(now, 1, a)
	owing("key-tpd")
	r.Settle(now, 0)
	owing("key-tpd")
	if f := other.Reserve(now, 1, a); f.Name() != "key-tpd" {
		t.Errorf("who owes is let in, or kept out by %q", f.Name())
	}
	if n := testing.AllocsPerRun(100, func() { Charge(now, 1, a, nil); Owing(now, a, nil) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// The same of what replicas share: what one is charged another one has no more.
func TestChargeShared(t *testing.T) {
	r := startRedis(t)
	all := shareAccounts(t, r.Addr, 2)
	amounts := Amounts{TPD: 1000}
	a, b := all[0].Of(0, Key, []byte("x"), amounts), all[1].Of(0, Key, []byte("x"), amounts)
	var ra, rb Reservation
	if f := ra.Reserve(testClock(), 500, a); f.Refused() {
		t.Fatal(f)
	}
	ra.SettleTokens(testClock(), 600)
	Charge(testClock(), 300, a)
	if f := Owing(testClock(), a); f.Refused() {
		t.Errorf("%q owes", f.Name())
	}
	Charge(testClock(), 200, a)
	if f := Owing(testClock(), a); f.Name() != "key-tpd" {
		t.Errorf("%q owes", f.Name())
	}
	waitFor(t, 3*time.Second, func() bool { // until it is told
		f := rb.Reserve(testClock(), 1, b)
		if !f.Refused() {
			rb.Settle(testClock(), 0)
		}
		return f.Name() == "key-tpd"
	})
}

// While Redis is away a replica's share is charged.
func TestChargeAway(t *testing.T) {
	r := startRedis(t)
	shared := shareAccounts(t, r.Addr, 1)[0]
	a := shared.Of(0, Key, []byte("x"), Amounts{TPD: 1000})
	r.Kill()
	waitFor(t, 5*time.Second, shared.Away)
	Charge(testClock(), 990, a)
	if f := Owing(testClock(), a); f.Refused() {
		t.Errorf("%q owes", f.Name())
	}
	Charge(testClock(), 20, a)
	if f := Owing(testClock(), a); f.Name() != "key-tpd" {
		t.Errorf("%q owes", f.Name())
	}
	var res Reservation
	if f := res.Reserve(testClock(), 1, a); f.Name() != "key-tpd" {
		t.Errorf("who owes is let in, or kept out by %q", f.Name())
	}
}
