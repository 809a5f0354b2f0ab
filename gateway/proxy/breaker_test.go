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

// Attempts make an upstream suspected by the share of those that failed, at least half of at least ten in the last ten seconds; whatever it
// says, it does not open a breaker.
func TestAttemptsAccuse(t *testing.T) {
	f := func(good, failed int, want bool) {
		t.Helper()
		var b breaker
		at := time.Minute
		for range good {
			b.success(at)
		}
		for range failed {
			b.failure(at, at, BrokenResponse)
		}
		if got := b.suspected.Load(); got != want {
			t.Errorf("%d good, %d failed: suspected is %v", good, failed, got)
		}
		wantState(t, &b, Closed)
	}
	f(0, 3, false)
	f(0, 9, false)
	f(0, 10, true)
	f(5, 4, false)
	f(5, 5, true)
	f(100, 99, false)
	f(100, 100, true)
	f(0, 1000, true)
}

// What is longer ago than the window says nothing.
func TestWindowForgets(t *testing.T) {
	var b breaker
	for i := range 60 {
		at := time.Minute + time.Duration(i)*1200*time.Millisecond
		b.failure(at, at, TimeoutResponse)
	}
	if b.suspected.Load() {
		t.Error("suspected by eight in ten seconds")
	}
	var w window
	for i := range 100 {
		now := time.Duration(i) * time.Second
		w.add(now)
		w.add(now + time.Second - 1)
		if n := w.sum(now); n != int64(2*min(i+1, 10)) {
			t.Fatalf("after %d s: %d", i, n)
		}
	}
	if n := w.sum(1000 * time.Second); n != 0 {
		t.Errorf("%d of long ago", n)
	}
}

// No connection, and no page either: attempts and probes together open it, and a head of any response speaks against.
func TestBreakerOpensWhenNobodyIsThere(t *testing.T) {
	var b breaker
	at := time.Minute
	b.failure(at, at, Unreachable)
	if !b.suspected.Load() {
		t.Error("not suspected by a failure to connect")
	}
	b.failure(at, at, TimeoutConnect)
	wantState(t, &b, Closed)
	if !b.failure(at, at, Unreachable) {
		t.Error("the opening is not told")
	}
	wantState(t, &b, Open)
	if until, _ := b.openUntil(); until > at+time.Second/2 {
		t.Errorf("its page is asked for only after %v", until-at)
	}
	if b.isEjected() || b.reason() != Unreachable {
		t.Errorf("mild is %v, the reason %v", b.isEjected(), b.reason())
	}
	b = breaker{}
	b.failure(at, at, Unreachable)
	b.probeFailed(at, at, Unreachable)
	if !b.probeFailed(at, at, Unreachable) {
		t.Error("the opening is not told")
	}
	b = breaker{}
	for range 100 {
		at += 10 * time.Millisecond
		b.failure(at, at, Unreachable)
		b.success(at) // others get through
		b.probeFailed(at, at-time.Millisecond, TimeoutResponse)
	}
	wantState(t, &b, Closed)
}

// Ten attempts and none of them got the head of a response, and then not the page either: there is nobody.
func TestBreakerOpensWhenNobodyIsAnswered(t *testing.T) {
	var b breaker
	at := time.Minute
	for range minAttempts {
		b.failure(at, at, TimeoutResponse)
	}
	b.probeFailed(at+1, at+1, TimeoutResponse)
	wantState(t, &b, Open)
	b = breaker{}
	b.failure(at, at, Unavailable) // which is a response
	for range minAttempts {
		b.failure(at, at, TimeoutResponse)
	}
	b.probeFailed(at+1, at+1, TimeoutResponse)
	wantState(t, &b, Closed)
}

// Probes that nobody answers, one after the other, open it if requests get no answers either. Without a connection they do
// alone; with one, a page that is broken says nothing about requests that nobody has made.
func TestBreakerCountsProbes(t *testing.T) {
	f := func(attempts int, why Fault, want State) {
		t.Helper()
		var b breaker
		at := time.Minute
		for range attempts {
			b.failure(at, at, BrokenResponse)
		}
		for range maxInRow {
			wantState(t, &b, Closed)
			b.probeFailed(at, at, why)
		}
		wantState(t, &b, want)
	}
	f(0, Unreachable, Open)
	f(0, TimeoutConnect, Open)
	f(0, TimeoutResponse, Closed)
	f(0, BrokenResponse, Closed)
	f(1, TimeoutResponse, Open)
	f(1, BrokenResponse, Open)
}

// Where there is a connection again but no page, requests are to find out.
func TestABrokenPageIsTried(t *testing.T) {
	var b breaker
	at := time.Minute
	openBreaker(&b, at)
	until, _ := b.openUntil()
	b.probeFailed(until-1, until-1, BrokenResponse)
	wantState(t, &b, Open)
	b.probeFailed(until, until, BrokenResponse)
	wantState(t, &b, HalfOpen)
	b.failure(until+1, until+1, BrokenResponse)
	wantState(t, &b, Open)
	if b.isEjected() {
		t.Error("it is let through")
	}
	until, _ = b.openUntil()
	b.probeFailed(until, until, BrokenResponse)
	for range trials {
		b.success(until)
	}
	wantState(t, &b, Closed)
}

// A page that answers closes an open one at once.
func TestAnAnsweredProbeCloses(t *testing.T) {
	for _, well := range []bool{true, false} {
		var b breaker
		at := time.Minute
		openBreaker(&b, at)
		if until, open := b.openUntil(); !open || until < at+time.Second || until > at+1100*time.Millisecond {
			t.Errorf("open is %v, for %v", open, until-at)
		}
		if !b.probeOK(at+1, well) {
			t.Error("not told")
		}
		wantState(t, &b, Closed)
	}
}

// What was asked before the last change of state says nothing new.
func TestBreakerIgnoresOldEvidence(t *testing.T) {
	var b breaker
	at := time.Minute
	b.ejectClosed(at)
	until, _ := b.openUntil()
	for range 10 { // of those that were under way
		b.failure(at+time.Second/2, at-time.Second, TimeoutResponse)
		b.success(at + time.Second/2)
	}
	if again, _ := b.openUntil(); again != until {
		t.Error("old failures keep it open for longer")
	}
	wantState(t, &b, Open)
	b.probeOK(until, true)
	for range 10 {
		b.failure(until+1, at, TimeoutResponse)
	}
	wantState(t, &b, HalfOpen)
	if !b.failure(until+1, until, BrokenResponse) {
		t.Error("a failed trial does not open it")
	}
	wantState(t, &b, Open)
}

// One that is passed by comes back by trials, after its time.
func TestBreakerComesBackByTrials(t *testing.T) {
	var b breaker
	at := time.Minute
	b.ejectClosed(at)
	until, _ := b.openUntil()
	b.probeOK(until-1, true)
	wantState(t, &b, Open) // not before its time
	if !b.isEjected() {
		t.Error("it is open")
	}
	b.probeOK(until, true)
	wantState(t, &b, HalfOpen)
	for i := range trials {
		if closed := b.success(until + 1); closed != (i == trials-1) {
			t.Fatalf("trial %d: closed is %v", i, closed)
		}
	}
	wantState(t, &b, Closed)
}

// Each time in a row it is passed by for longer, but never so long that an upstream that is well again waits for
// five seconds; once it was closed, it begins anew. One that is open is asked every second.
func TestBreakerBacksOff(t *testing.T) {
	var b breaker
	at := time.Minute
	b.ejectClosed(at)
	f := func(least, most time.Duration) {
		t.Helper()
		until, open := b.openUntil()
		if wait := until - at; !open || wait < least || wait > most {
			t.Errorf("open is %v, for %v; want %v to %v", open, wait, least, most)
		}
		at = until
	}
	f(time.Second, 1200*time.Millisecond)
	again := func() {
		b.probeOK(at, true)
		b.failure(at, at, BrokenResponse)
	}
	again()
	f(2*time.Second, 2400*time.Millisecond)
	for range 100 {
		again()
		f(3*time.Second, 3600*time.Millisecond)
	}
	b.probeOK(at, true)
	for range trials {
		b.success(at)
	}
	b.ejectClosed(at)
	f(time.Second, 1200*time.Millisecond)
	openBreaker(&b, at)
	for range 10 {
		b.probeFailed(at, at, Unreachable)
		f(time.Second, 1100*time.Millisecond)
	}
}

// openBreaker opens a breaker as one that nobody answers behind.
func openBreaker(b *breaker, at time.Duration) {
	for range maxInRow {
		b.probeFailed(at, at+1, Unreachable)
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
	if n := spent(); n != maxRetries {
		t.Errorf("%d retries were saved, want %d", n, maxRetries)
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
