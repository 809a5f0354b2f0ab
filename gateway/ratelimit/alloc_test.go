package ratelimit

import (
	"encoding/binary"
	"testing"
	"time"
)

// Nothing is allocated for a request, whatever becomes of it and whoever asks.
func TestAllocAdmit(t *testing.T) {
	var now time.Duration
	key := make([]byte, 16)
	buf := make([]byte, 0, 256)
	f := func(name string, o Options, step time.Duration, names uint64) {
		t.Helper()
		l := newLimiter(t, o)
		n := uint64(0)
		allocs := testing.AllocsPerRun(20_000, func() {
			now += step
			n++
			binary.LittleEndian.PutUint64(key, n%names)
			c := l.Class(int(n) % (1 + len(o.Routes)))
			v := c.Admit(now, key, 1)
			buf = c.AppendPolicy(buf[:0])
			buf = c.AppendLimit(buf, v)
			buf = append(buf, byte(v.RetryAfter()))
			if n%16 == 0 {
				c.Refund(key, 1)
			}
		})
		if allocs != 0 {
			t.Errorf("%s: %v allocations a request", name, allocs)
		}
	}
	wide, narrow := Rate{1e9, 1e9}, Rate{1, 1}
	f("admitted", Options{Global: wide, Client: wide}, time.Microsecond, 1)
	f("admitted, in classes", Options{Global: wide, Client: wide, Routes: []Rate{wide, narrow}}, time.Microsecond, 10)
	f("refused for the client", Options{Global: wide, Client: narrow}, time.Microsecond, 1)
	f("refused for all", Options{Global: narrow, Client: wide}, time.Microsecond, 1)
	f("newcomers with room", Options{Global: wide, Client: wide}, time.Hour, 1<<60)
	f("newcomers without", Options{Global: wide, Client: Rate{0, 1e9}, MaxClients: 10}, time.Microsecond, 1<<60)
	f("the clock is set back", Options{Global: wide, Client: narrow}, -time.Hour, 10)
}

func TestAllocStats(t *testing.T) {
	l := newLimiter(t, Options{Global: Rate{1, 1}, Client: Rate{1, 1}})
	if allocs := testing.AllocsPerRun(100, func() { l.Stats(0) }); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}
