package ratelimit

import (
	"reflect"
	"testing"
	"time"
)

// What is left is told without being made or spent: by accounts that have been asked for, and by those that have not.
func TestStandings(t *testing.T) {
	accounts := NewAccounts(AccountOptions{})
	amounts := Amounts{RPM: 60, TPM: 6000, Concurrency: 2}
	f := func(what string, now time.Duration, want ...Standing) {
		t.Helper()
		if got := accounts.Standings(now, Key, []byte("a"), amounts); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
	}
	now := time.Hour
	full := []Standing{{RequestsPerMinute, 60, 60, 0}, {TokensPerMinute, 6000, 6000, 0}, {Concurrency, 2, 2, 0}}
	f("nobody has asked", now, full...)
	if accounts.count != 0 {
		t.Error("looking has made an account")
	}
	a := accounts.Of(now, Key, []byte("a"), amounts)
	if r := a.AdmitRequest(now); r.Refused() {
		t.Fatal(r)
	}
	var r Reservation
	if why := r.Reserve(now, 1500, a); why.Refused() {
		t.Fatal(why)
	}
	f("a request is under way", now, Standing{RequestsPerMinute, 60, 59, time.Second}, Standing{TokensPerMinute, 6000, 4500, 15 * time.Second}, Standing{Concurrency, 2, 1, 0})
	r.Settle(now, 1500)
	f("it is over", now+time.Minute, full...)
	if got := accounts.Standings(now, Model, []byte("a"), Amounts{}); got != nil {
		t.Errorf("without limits: %+v", got)
	}
	if got := (*Accounts)(nil).Standings(now, Key, []byte("a"), amounts); got != nil {
		t.Errorf("without accounts: %+v", got)
	}
}
