package ratelimit

import (
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"aigateway/gateway/config"
)

var testEpoch = time.Now()

func testClock() time.Duration { return time.Since(testEpoch) + time.Hour }

func shareAccounts(t testing.TB, addr string, n int) []*Accounts {
	t.Helper()
	all := make([]*Accounts, n)
	for i := range all {
		a, err := NewSharedAccounts(SharedAccountOptions{Redis: config.Redis{Addrs: []string{addr}}, Now: testClock, Timeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(a.Close)
		all[i] = a
	}
	return all
}

// TestTokensShared: replicas, streams of one key with random lengths, aborts and failures. What was let in, dated at admission, is at
// most what flowed in and a bucket, and what was open; under much demand it is nearly that.
func TestTokensShared(t *testing.T) {
	r := startRedis(t)
	for _, replicas := range []int{1, 4} {
		all := shareAccounts(t, r.Addr, replicas)
		const tpm, burst, length = 60000, 2000, 2 * time.Second
		id := []byte{'k', byte('0' + replicas)}
		var mu sync.Mutex
		var open, most, total, held int64
		began := testClock()
		var wg sync.WaitGroup
		for i := range 64 {
			wg.Go(func() {
				rnd := rand.New(rand.NewPCG(uint64(i), 3))
				a := all[i%replicas].Of(began, Key, id, Amounts{TPM: tpm, TPMBurst: burst})
				for testClock() < began+length {
					n := 20 + rnd.Int64N(100)
					var res Reservation
					if f := res.Reserve(testClock(), n, a); f.Refused() {
						time.Sleep(5 * time.Millisecond)
						continue
					}
					were := []int64{0, n / 3, n, n, n * 2 / 3, n * 5 / 4}[rnd.IntN(6)]
					mu.Lock()
					open += n
					most = max(most, open)
					total += were
					held += n - were
					mu.Unlock()
					time.Sleep(time.Duration(rnd.Int64N(int64(300 * time.Millisecond))))
					res.Settle(testClock(), were)
					mu.Lock()
					open -= n
					held -= n - were
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		took := testClock() - began
		limit := 1.01*(tpm/60*took.Seconds()+burst) + float64(most)
		least := 0.9 * (tpm/60*length.Seconds() + burst)
		t.Logf("%d replicas: %d tokens in %v, at most %.0f", replicas, total, took, limit)
		if float64(total) > limit || float64(total) < least {
			t.Errorf("%d replicas: %d tokens let in, want %.0f to %.0f", replicas, total, least, limit)
		}
		for _, a := range all {
			a.Close()
		}
	}
	for _, key := range strings.Fields(r.Do("KEYS", "*")) {
		if !strings.HasPrefix(key, "gw:v1:tok:{k") && key != "gw:v1:tok:replicas" {
			t.Errorf("a key of another name: %s", key)
		}
		if ttl := r.Do("PTTL", key); ttl == "-1" {
			t.Errorf("%s lives for ever", key)
		}
	}
}

// TestTokensSharedGivenBack: what a replica does not spend, another one has within a second.
func TestTokensSharedGivenBack(t *testing.T) {
	r := startRedis(t)
	all := shareAccounts(t, r.Addr, 2)
	amounts := Amounts{TPM: 60, TPMBurst: 1000}
	a, b := all[0].Of(0, Key, []byte("x"), amounts), all[1].Of(0, Key, []byte("x"), amounts)
	var ra, rb Reservation
	if f := ra.Reserve(testClock(), 1000, a); f.Refused() {
		t.Fatalf("refused: %+v", f)
	}
	if f := rb.Reserve(testClock(), 900, b); f.Name() != "key-tpm" {
		t.Errorf("not refused: %+v", f)
	}
	ra.Settle(testClock(), 50)
	waitFor(t, time.Second+500*time.Millisecond, func() bool { f := rb.Reserve(testClock(), 900, b); return !f.Refused() })
	rb.Settle(testClock(), 0)
	all[1].Close()
	waitFor(t, time.Second+500*time.Millisecond, func() bool { f := ra.Reserve(testClock(), 900, a); return !f.Refused() })
}

// TestTokensSharedRoom: what comes back after the bucket was full meanwhile does not come back twice.
func TestTokensSharedRoom(t *testing.T) {
	r := startRedis(t)
	all := shareAccounts(t, r.Addr, 1)
	a := all[0].Of(0, Key, []byte("x"), Amounts{TPM: 6000, TPMBurst: 50})
	var long, short Reservation
	if f := long.Reserve(testClock(), 50, a); f.Refused() {
		t.Fatal("refused")
	}
	time.Sleep(600 * time.Millisecond) // 100 a second flow in
	began := testClock()
	if f := short.Reserve(testClock(), 50, a); f.Refused() {
		t.Fatal("refused")
	}
	long.Settle(testClock(), 0)
	time.Sleep(callPause + 3*tickTime)
	left := a.tokens[0].remaining(0)
	if most := int64((testClock()-began).Seconds()*100) + 1; left > most {
		t.Errorf("%d tokens left, at most %d can be", left, most)
	}
	short.Settle(testClock(), 50)
}

// TestTokensSharedAway: while Redis is away each replica has its share, and no more; afterwards Redis hears of it.
func TestTokensSharedAway(t *testing.T) {
	r := startRedis(t)
	all := shareAccounts(t, r.Addr, 2)
	amounts := Amounts{TPM: 600, TPMBurst: 1000, Concurrency: 4}
	count := func() (n int) {
		for _, t := range all {
			a := t.Of(0, Key, []byte("x"), amounts)
			for range 400 {
				var res Reservation
				if f := res.Reserve(testClock(), 10, a); !f.Refused() {
					n++
				}
				res.Settle(testClock(), 10)
			}
		}
		return n
	}
	waitFor(t, 3*time.Second, func() bool { return all[0].shared.replicas.Load() == 2 && all[1].shared.replicas.Load() == 2 })
	for _, t := range all {
		t.Of(0, Key, []byte("x"), amounts)
	}
	r.Kill()
	waitFor(t, 5*time.Second, func() bool { return all[0].Away() && all[1].Away() })
	began := testClock()
	n := count()
	if most := 100 + int((testClock()-began).Seconds()*10/10) + 4; n > most || n < 95 {
		t.Errorf("%d reservations of 10 let in while redis is away, of a bucket of 1000", n)
	}
	r.Start()
	waitFor(t, 5*time.Second, func() bool { return !all[0].Away() && !all[1].Away() })
	time.Sleep(2 * callPause)
	began = testClock()
	if n, most := count(), 5+int((testClock()-began).Seconds()*1.5); n > most {
		t.Errorf("%d reservations more after redis is back: it was not told", n)
	}
}

// TestPermitsShared: no more than there are, whoever asks; those of a replica that has crashed are free after 3 s.
func TestPermitsShared(t *testing.T) {
	r := startRedis(t)
	all := shareAccounts(t, r.Addr, 2)
	amounts := Amounts{Concurrency: 5}
	var held, most atomic.Int64
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			a := all[i%2].Of(0, Key, []byte("x"), amounts)
			for range 20 {
				var res Reservation
				if f := res.Reserve(testClock(), 0, a); f.Refused() {
					time.Sleep(20 * time.Millisecond)
					continue
				}
				n := held.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				time.Sleep(10 * time.Millisecond)
				held.Add(-1)
				res.Settle(testClock(), 0)
			}
		})
	}
	wg.Wait()
	if n := most.Load(); n > 5 || n < 3 {
		t.Errorf("%d at once, of 5", n)
	}
	// The first replica holds three, and crashes.
	a, b := all[0].Of(0, Key, []byte("x"), amounts), all[1].Of(0, Key, []byte("x"), amounts)
	var res [8]Reservation
	got := 0
	for i := range 3 {
		waitFor(t, 3*time.Second, func() bool { f := res[i].Reserve(testClock(), 0, a); return !f.Refused() })
	}
	all[0].shared.end()
	all[0].shared.running.Wait()
	crashed := testClock()
	waitFor(t, 10*time.Second, func() bool {
		for got < 5 {
			if f := res[3+got].Reserve(testClock(), 0, b); f.Refused() {
				return false
			}
			got++
		}
		return true
	})
	t.Logf("free after %v", testClock()-crashed)
}

func waitFor(t testing.TB, most time.Duration, is func() bool) {
	t.Helper()
	for end := time.Now().Add(most); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not come to be")
		}
	}
}
