package proxy

import (
	"sync"
	"testing"
	"time"
)

// wantState checks a breaker.
func wantState(t *testing.T, b *breaker, want State) {
	t.Helper()
	if got := b.State(); got != want {
		t.Fatalf("the breaker is %v, want %v", got, want)
	}
}

func TestBreakerOpensAfterStrikesInARow(t *testing.T) {
	var b breaker
	at := time.Minute
	for range 10 { // never three in a row
		b.strike(at, at, BrokenAnswer)
		b.strike(at, at, TimeoutResponse)
		b.praise(at)
	}
	wantState(t, &b, Closed)
	b.strike(at, at, BrokenAnswer)
	b.strike(at, at, BrokenAnswer)
	if changed := b.strike(at, at, Unreachable); !changed {
		t.Error("the opening is not told")
	}
	wantState(t, &b, Open)
	if b.why() != Unreachable {
		t.Errorf("the reason is %v", b.why())
	}
}

// What was asked before the last change of state says nothing new.
func TestBreakerIgnoresOldEvidence(t *testing.T) {
	var b breaker
	at := time.Minute
	openBreaker(&b, at)
	until, _ := b.shut()
	for range 10 { // of those that were under way
		b.strike(at+time.Second/2, at-time.Second, TimeoutResponse)
	}
	if again, _ := b.shut(); again != until {
		t.Error("old strikes keep it open for longer")
	}
	b.praise(at + time.Second/2)
	wantState(t, &b, Open)
	b.answered(until)
	for range 10 {
		b.strike(until+1, at, TimeoutResponse)
	}
	wantState(t, &b, HalfOpen)
	if !b.strike(until+1, until, BrokenAnswer) {
		t.Error("a failed trial does not open it")
	}
	wantState(t, &b, Open)
}

func TestBreakerComesBackByTrials(t *testing.T) {
	var b breaker
	at := time.Minute
	openBreaker(&b, at)
	until, _ := b.shut()
	b.answered(until - 1)
	wantState(t, &b, Open) // not before its time
	b.answered(until)
	wantState(t, &b, HalfOpen)
	for i := range trials {
		if closed := b.praise(until + 1); closed != (i == trials-1) {
			t.Fatalf("trial %d: closed is %v", i, closed)
		}
	}
	wantState(t, &b, Closed)
}

// Each time in a row it stays open for longer, but never so long that an upstream that is well again waits for
// five seconds; once it was closed, it begins anew.
func TestBreakerBacksOff(t *testing.T) {
	var b breaker
	at := time.Minute
	openBreaker(&b, at)
	f := func(least, most time.Duration) {
		t.Helper()
		until, shut := b.shut()
		if wait := until - at; !shut || wait < least || wait > most {
			t.Errorf("shut is %v, for %v; want %v to %v", shut, wait, least, most)
		}
		at = until
	}
	f(time.Second, 1200*time.Millisecond)
	b.missed(at, Unreachable)
	f(2*time.Second, 2400*time.Millisecond)
	for range 100 {
		b.missed(at, Unreachable)
		f(3*time.Second, 3600*time.Millisecond)
	}
	b.answered(at)
	for range trials {
		b.praise(at)
	}
	openBreaker(&b, at)
	f(time.Second, 1200*time.Millisecond)
}

// A probe that nobody answers is a strike, one that finds the breaker open renews it.
func TestBreakerCountsProbes(t *testing.T) {
	var b breaker
	at := time.Minute
	for range maxStrikes {
		wantState(t, &b, Closed)
		b.missed(at, TimeoutResponse)
	}
	wantState(t, &b, Open)
}

func openBreaker(b *breaker, at time.Duration) {
	for range maxStrikes {
		b.strike(at, at, Unreachable)
	}
}

func TestBudget(t *testing.T) {
	var b budget
	b.start()
	spent := func() (n int) {
		for b.spend() {
			n++
		}
		return n
	}
	if n := spent(); n != firstRetries {
		t.Errorf("%d retries to begin with, want %d", n, firstRetries)
	}
	for range 100 {
		b.earn()
	}
	if n := spent(); n != 20 {
		t.Errorf("100 requests pay for %d retries, want 20", n)
	}
	for range 100000 {
		b.earn()
	}
	if n := spent(); n != mostRetries {
		t.Errorf("%d retries were saved, want %d", n, mostRetries)
	}
}

// All retries together never exceed what was paid for.
func TestBudgetIsExactUnderContention(t *testing.T) {
	var b budget
	var wg sync.WaitGroup
	var mu sync.Mutex
	total := 0
	for range 4 {
		wg.Go(func() {
			n := 0
			for range 1000 {
				b.earn()
				if b.spend() {
					n++
				}
			}
			mu.Lock()
			total += n
			mu.Unlock()
		})
	}
	wg.Wait()
	if total > 4000/retryCost {
		t.Errorf("%d retries of 4000 requests", total)
	}
}
