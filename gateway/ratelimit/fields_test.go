package ratelimit

import (
	"testing"
	"time"
)

func TestAppendPolicy(t *testing.T) {
	f := func(client, global Rate, want string) {
		t.Helper()
		l := newLimiter(t, Options{Global: Rate{1, 1}, Client: Rate{1, 1}})
		c := l.Class(0)
		c.policy = policy(client, global)
		if got := string(c.AppendPolicy([]byte("x: "))); got != "x: "+want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	f(Rate{20, 40}, Rate{200, 100}, `"client";q=40;w=2, "global";q=100;w=1`)
	f(Rate{0, 5}, Rate{3, 10}, `"client";q=5, "global";q=10;w=4`)
	f(Rate{1e-6, 1e9}, Rate{1e9, 1e9}, `"client";q=1000000000;w=999999999999999, "global";q=1000000000;w=1`)
}

func TestPolicyOfClass(t *testing.T) {
	l := newLimiter(t, Options{Global: Rate{200, 100}, Client: Rate{20, 40}, Routes: []Rate{{5, 10}}})
	for class, want := range []string{`"client";q=40;w=2, "global";q=100;w=1`, `"client";q=10;w=2, "global";q=100;w=1`} {
		if got := string(l.Class(class).AppendPolicy(nil)); got != want {
			t.Errorf("class %d: got %s, want %s", class, got, want)
		}
	}
}

func TestAppendLimit(t *testing.T) {
	c := new(Class)
	f := func(v Verdict, want string) {
		t.Helper()
		if got := string(c.AppendLimit([]byte("x: "), v)); got != "x: "+want {
			t.Errorf("%+v: got %s, want %s", v, got, want)
		}
	}
	f(Verdict{OK: true, Remaining: 39, Wait: 50 * time.Millisecond}, `"client";r=39;t=1`)
	f(Verdict{OK: true, Remaining: 40}, `"client";r=40`)
	f(Verdict{OK: true, Remaining: 4, Wait: Never}, `"client";r=4`)
	f(Verdict{Scope: Client, Wait: 1001 * time.Millisecond}, `"client";r=0;t=2`)
	f(Verdict{Scope: Global, Wait: time.Millisecond}, `"global";r=0;t=1`)
	f(Verdict{Scope: Global, Remaining: 2, Wait: Never}, `"global";r=2`)
}

func TestRetryAfter(t *testing.T) {
	f := func(wait time.Duration, want int64) {
		t.Helper()
		if got := (Verdict{Wait: wait}).RetryAfter(); got != want {
			t.Errorf("%v: got %d, want %d", wait, got, want)
		}
	}
	f(0, 1)
	f(1, 1)
	f(time.Second, 1)
	f(time.Second+1, 2)
	f(1999*time.Millisecond, 2)
	f(time.Hour, 3600)
	f(11*24*time.Hour, 950400)
	f(Never-1, 1<<31-1)
	f(Never, 1<<31-1)
}

// Who comes back after Retry-After is admitted, if he is alone.
func TestRetryAfterIsEnough(t *testing.T) {
	for _, rate := range []float64{1e-6, 0.3, 1, 3, 999.999, 1e9} {
		l := newLimiter(t, Options{Global: Rate{rate, 3}, Client: Rate{rate, 3}})
		now := 12345 * time.Millisecond
		l.Admit(now, nil, 3)
		for cost := 1; cost <= 3; cost++ {
			v := l.Admit(now, nil, cost)
			now += time.Duration(v.RetryAfter()) * time.Second
			if v.OK || !l.Admit(now, nil, cost).OK {
				t.Errorf("%v/s: %+v, and %d seconds later too", rate, v, v.RetryAfter())
			}
			l.Admit(now, nil, int(l.Admit(now, nil, 0).Remaining))
		}
	}
}
