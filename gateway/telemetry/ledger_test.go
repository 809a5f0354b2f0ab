package telemetry

import (
	"math/rand/v2"
	"testing"
	"time"
)

// What was used is in the windows it belongs to, however long nothing is, and whichever of two that come at once is counted first.
func TestLedger(t *testing.T) {
	type event struct {
		at time.Duration
		in int64
	}
	l := NewLedger(nil)
	var line LedgerLine
	line.Name("a", "m")
	var events []event
	now, told := time.Hour, int64(0)
	r := rand.New(rand.NewPCG(3, 4))
	within := func(step time.Duration, steps int64) (sum int64) {
		for _, e := range events {
			if ago := int64(now/step) - int64(e.at/step); ago < steps {
				sum += e.in
			}
		}
		return sum
	}
	for range 3000 {
		now += []time.Duration{0, time.Millisecond, time.Second, 7 * time.Second, 3 * time.Minute, time.Hour}[r.IntN(4+r.IntN(3))]
		e := event{now - time.Duration(r.IntN(2))*time.Millisecond, 1 + r.Int64N(100)}
		events = append(events, e)
		l.Count(&line, e.at, &Used{Requests: 1, In: e.in})
		if r.IntN(4) > 0 {
			continue
		}
		l.Drain(func(_, _ string, u Used) { told += u.In })
		got := l.Usage(now)[0]
		all := within(1000*time.Hour, 1000)
		if got.Total.In != all || got.Total.Requests != int64(len(events)) || told != all {
			t.Fatalf("%d in all, %d told, %d requests, want %d and %d", got.Total.In, told, got.Total.Requests, all, len(events))
		}
		if m, h, d := within(minuteStep, 12), within(hourStep, 60), within(dayStep, 24); got.Minute.In != m || got.Hour.In != h || got.Day.In != d {
			t.Fatalf("%d, %d and %d, want %d, %d and %d", got.Minute.In, got.Hour.In, got.Day.In, m, h, d)
		}
	}
	line.Name("a", "other")
	l.Count(&line, now, &Used{In: 1})
	if u := l.Usage(now); len(u) != 2 || u[1].Model != "other" || u[1].Total.In != 1 {
		t.Errorf("%+v", u)
	}
}

func TestAllocLedger(t *testing.T) {
	l := NewLedger(nil)
	var line LedgerLine
	now := time.Duration(0)
	if allocs := testing.AllocsPerRun(1000, func() {
		now += time.Second
		line.Name("a", "m")
		l.Count(&line, now, &Used{In: 1})
	}); allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
}
