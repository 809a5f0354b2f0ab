package ratelimit

import (
	"math"
	"testing"
	"time"

	"golang.org/x/time/rate"
)

// reserved are accounts like those of a request: a key, a model and all.
func reserved(tb testing.TB, t *Accounts) [3]*Account {
	many := Amounts{TPM: 1e12, TPD: 1e12, Concurrency: 1 << 20}
	return [3]*Account{
		t.Of(0, Key, []byte("team-a"), many), t.Of(0, Model, []byte("m"), many), t.Of(0, All, []byte("all"), Amounts{TPM: 1e12}),
	}
}

// Nothing is allocated for a reservation, its end, a refusal, or what is said of the limits.
func TestAllocReserve(t *testing.T) {
	accounts := NewAccounts(AccountOptions{})
	a := reserved(t, accounts)
	few := accounts.Of(0, Key, []byte("few"), Amounts{TPM: 10, RPM: 1e9})
	buf := make([]byte, 0, 128)
	id, amounts := []byte("team-a"), Amounts{TPM: 1e12, TPD: 1e12, Concurrency: 1 << 20}
	now := time.Second
	var r Reservation
	if n := testing.AllocsPerRun(1000, func() {
		now += time.Millisecond
		key := accounts.Of(now, Key, id, amounts)
		key.AdmitRequest(now)
		if f := r.Reserve(now, 1000, key, a[1], a[2]); f.Refused() {
			t.Fatal("refused")
		}
		buf = AppendReset(buf[:0], Tokens(now, key, a[1], a[2]).Reset)
		r.Settle(now, 300)
		few.AdmitRequest(now)
		f := r.Reserve(now, 11, few)
		_ = f.Name()
		r.Settle(now, 0)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkReserve is what a request with budgets costs more, beside one whose requests alone are limited, and beside x/time/rate for
// the same five buckets.
func BenchmarkReserve(b *testing.B) {
	accounts := NewAccounts(AccountOptions{})
	a := reserved(b, accounts)
	base := time.Now()
	b.Run("impl=gateway/what=reserve+settle", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			var r Reservation
			for pb.Next() {
				now := time.Since(base)
				r.Reserve(now, 1000, a[0], a[1], a[2])
				r.Settle(now, 300)
			}
		})
	})
	b.Run("impl=gateway/what=key-tpm", func(b *testing.B) {
		key := accounts.Of(0, Key, []byte("team-b"), Amounts{TPM: 1e12})
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			var r Reservation
			for pb.Next() {
				now := time.Since(base)
				r.Reserve(now, 1000, key, nil, nil)
				r.Settle(now, 300)
			}
		})
	})
	b.Run("impl=gateway/what=requests-only", func(b *testing.B) {
		key := accounts.Of(0, Key, []byte("team-c"), Amounts{RPM: 1e12})
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				key.AdmitRequest(time.Since(base))
			}
		})
	})
	b.Run("impl=x-time-rate/what=AllowN", func(b *testing.B) {
		l := rate.NewLimiter(rate.Limit(1e12/60), math.MaxInt32)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				l.AllowN(time.Now(), 1000)
			}
		})
	})
	b.Run("impl=x-time-rate/what=ReserveN+Cancel", func(b *testing.B) {
		l := rate.NewLimiter(rate.Limit(1e12/60), math.MaxInt32)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				r := l.ReserveN(time.Now(), 1000)
				r.Cancel()
			}
		})
	})
}
