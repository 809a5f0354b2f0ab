package ratelimit

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"aigateway/gateway/testkit"
)

// table makes a table whose classes have these rates.
func table(most int, rates ...Rate) *clients {
	limits := make([]limit, len(rates))
	for i, r := range rates {
		limits[i] = newLimit(r)
	}
	return newClients(most, 10*time.Minute, limits)
}

// hashOf stands for the keyed hash; it is the same in every run.
func hashOf(client int) uint64 { return mix(uint64(client) + 0x9e3779b97f4a7c15) }

func (t *clients) admit(client int, now time.Duration) bool {
	s, _ := t.take(t.caller(hashOf(client), 0), now, 1)
	return s.ok
}

func TestClientsAreApart(t *testing.T) {
	c := table(1000, Rate{1, 2})
	for client := range 1000 {
		for i, want := range []bool{true, true, false} {
			if got := c.admit(client, 0); got != want {
				t.Fatalf("client %d, request %d: %v", client, i, got)
			}
		}
	}
	if n := c.count(0); n != 1000 || c.evicted.Load() != 0 {
		t.Errorf("%d clients, %d evicted", n, c.evicted.Load())
	}
	if n := c.count(11 * time.Minute); n != 0 {
		t.Errorf("%d clients after the cleanup time", n)
	}
}

func TestClassesAreApart(t *testing.T) {
	c := table(1000, Rate{0, 1}, Rate{0, 2}, Rate{1e6, 3})
	for class, burst := range []int{1, 2, 3} {
		who := c.caller(hashOf(7), uint8(class))
		for i := range 5 {
			if s, _ := c.take(who, 0, 1); s.ok != (i < burst) {
				t.Errorf("class %d, request %d: %v", class, i, s.ok)
			}
		}
	}
}

// The two lines of a caller are two, and all lines are used alike.
func TestCallersSpread(t *testing.T) {
	for _, most := range []int{1, 100, 12345} {
		c := table(most, Rate{1, 1})
		used := make([]int, len(c.lines))
		const each = 200
		for client := range len(c.lines) * each {
			who := c.caller(hashOf(client), 0)
			if who.lines[0] == who.lines[1] || who.id>>tagShift == 0 || who.id&seenMask != 0 {
				t.Fatalf("%+v", who)
			}
			used[who.lines[0]]++
			used[who.lines[1]]++
		}
		for line, n := range used {
			if n < each || n > 3*each {
				t.Errorf("%d clients: line %d is used %d times, want about %d", most, line, n, 2*each)
			}
		}
	}
	zero := table(100, Rate{1, 1}).caller(0, 0)
	if zero.id>>tagShift == 0 {
		t.Error("the hash 0 looks like an empty slot")
	}
}

// A table filled to what it was made for evicts nobody.
func TestTableHoldsWhatItIsMadeFor(t *testing.T) {
	for _, most := range []int{1000, 30_000, 1_000_000 / effort} {
		c := table(most, Rate{0, 1})
		for client := range most {
			c.admit(client, 0)
		}
		if n := c.evicted.Load(); n > 0 {
			t.Errorf("%d clients: %d evicted", most, n)
		}
		if n := c.count(0); n != most {
			t.Errorf("%d clients: counted %d", most, n)
		}
	}
}

// What a newcomer finds in a full table, where every other client spent spent of five tokens at second zero and came back at seen.
func TestNewcomer(t *testing.T) {
	f := func(name string, r Rate, spent int, now time.Duration, admitted, evicted int) {
		t.Helper()
		c := newClients(1, 10*time.Minute, []limit{newLimit(r)})
		for client := 100; c.count(0) < len(c.lines)*slots; client++ {
			c.take(c.caller(hashOf(client), 0), 0, spent)
		}
		before := int(c.evicted.Load())
		got := 0
		for range 10 {
			if c.admit(1, now) {
				got++
			}
		}
		if got != admitted || int(c.evicted.Load())-before != evicted {
			t.Errorf("%s: %d admitted, want %d; %d evicted, want %d", name, got, admitted, int(c.evicted.Load())-before, evicted)
		}
	}
	f("all are full again", Rate{1, 5}, 2, 2*time.Second, 5, 0)
	f("two of five are spent", Rate{1, 5}, 2, 0, 3, 1)
	f("one of them has come back", Rate{1, 5}, 2, time.Second, 4, 1)
	f("nothing is left", Rate{0, 5}, 5, 9*time.Minute, 0, 1)
	f("all are forgotten", Rate{0, 5}, 5, 11*time.Minute, 5, 0)
}

// In a full table the client goes that was seen least recently, of equals the one with the smallest debt.
func TestWhoGoes(t *testing.T) {
	c := newClients(1, time.Hour, []limit{newLimit(Rate{0, 100})})
	full := len(c.lines) * slots
	now := time.Duration(0)
	for client := range full {
		now += time.Second
		c.take(c.caller(hashOf(client), 0), now, 10)
	}
	present := func(client int) bool { return c.find(c.caller(hashOf(client), 0)) != noSlot }
	now += time.Second
	c.admit(0, now) // the oldest is seen again
	c.admit(1000, now)
	if present(1) || !present(0) || !present(1000) {
		t.Errorf("want 1 to go: 0 is in: %v, 1: %v, newcomer: %v", present(0), present(1), present(1000))
	}
	for client := range full {
		if client != 1 {
			c.take(c.caller(hashOf(client), 0), now, 5+client)
		}
	}
	now += time.Minute
	for client := range full { // all are seen at the same time; 0 owes 16, the newcomer 11, 2 owes 17
		if client != 1 {
			c.take(c.caller(hashOf(client), 0), now, 0)
		}
	}
	c.take(c.caller(hashOf(1000), 0), now, 0)
	c.admit(2000, now)
	if present(1000) || !present(0) || !present(2) {
		t.Errorf("want 1000 to go: it is in: %v, 0: %v, 2: %v", present(1000), present(0), present(2))
	}
}

// A bucket that changes hands between classes keeps the part that is spent.
func TestInheritanceBetweenClasses(t *testing.T) {
	c := newClients(1, time.Hour, []limit{newLimit(Rate{0.001, 10}), newLimit(Rate{7e8, 1e9}), newLimit(Rate{0, 3})})
	for client := 0; c.count(0) < len(c.lines)*slots; client++ {
		c.take(c.caller(hashOf(client), 0), time.Second, 8)
	}
	f := func(class uint8, want int64) {
		t.Helper()
		s, _ := c.take(c.caller(hashOf(-1), class), time.Second, 0)
		if difference := s.remaining - want; difference > 0 || difference < -want/1000-1 {
			t.Errorf("class %d: %d remain, want %d", class, s.remaining, want)
		}
	}
	f(1, 2e8)
	f(2, 0) // 0.6 tokens
	f(0, 2)
}

// One client is limited exactly while slots change hands around it all the time: the table has two lines, the others' names
// are never used twice, and they spend nothing, so that there is always room.
func TestExactAmongOthers(t *testing.T) {
	const burst = 5000
	c := table(1, Rate{0, burst})
	var admitted atomic.Int64
	together(64, func(i int) {
		for j := range 2000 {
			c.take(c.caller(hashOf(i*1_000_000+j), 0), 0, 0)
			if c.admit(-1, 0) {
				admitted.Add(1)
			}
		}
	})
	if got := admitted.Load(); got != burst {
		t.Errorf("%d admitted, want %d", got, burst)
	}
	if n := c.evicted.Load(); n > 0 {
		t.Errorf("%d evicted, though there was always room", n)
	}
}

// A client that comes for the first time with many requests at once gets one bucket, in whatever order they move in. The
// others' buckets are full again at once, so slots change hands all the time.
func TestExactArrival(t *testing.T) {
	const goroutines, burst = 64, 3
	c := table(1, Rate{1e9, burst}, Rate{0, burst})
	for round := range 2000 {
		newcomer := c.caller(hashOf(round), 1)
		var admitted atomic.Int64
		start := make(chan struct{})
		go close(start)
		together(goroutines, func(i int) {
			<-start
			now := time.Duration(1+round) * time.Hour
			if i%4 == 0 {
				c.take(c.caller(hashOf(-round*goroutines-i), 0), now, 1)
			} else if s, _ := c.take(newcomer, now, 1); s.ok {
				admitted.Add(1)
			}
		})
		if got := admitted.Load(); got != burst {
			t.Fatalf("round %d: %d admitted, want %d", round, got, burst)
		}
	}
	for i := range c.lines {
		for j := range slots {
			if c.lines[i].words[j].Load()&moving != 0 {
				t.Errorf("line %d, slot %d is left moving", i, j)
			}
		}
	}
}

// A slot that changed hands after it was found, or is about to, is nobody's to spend from.
func TestSlotOfAnother(t *testing.T) {
	c := table(1, Rate{0, 5})
	mine, other := c.caller(hashOf(1), 0), c.caller(hashOf(2), 0)
	_, slot := c.take(mine, 0, 1)
	f := func(name string, who caller, want bool) {
		t.Helper()
		before := c.word(slot).Load()
		if _, here := c.spend(slot, who, 0, 1); here != want {
			t.Errorf("%s: spent: %v", name, here)
		}
		c.refund(slot, who, 1)
		if after := c.word(slot).Load(); after != before {
			t.Errorf("%s: the bucket is %#x, was %#x", name, after, before)
		}
		if found := c.find(who) == slot; found != want {
			t.Errorf("%s: found: %v", name, found)
		}
	}
	f("the tenant", mine, true)
	f("another client", other, false)
	c.word(slot).Or(moving)
	f("the tenant, moving out", mine, false)
}

// However many names somebody goes by, and however many come in at once, all together have no more than the buckets of the table.
func TestManyNames(t *testing.T) {
	const burst, goroutines, names = 10, 64, 10_000 / effort
	for _, most := range []int{1, 1000 / effort} {
		c := table(most, Rate{0, burst})
		var clock, admitted atomic.Int64
		together(goroutines, func(i int) {
			for j := range names {
				if c.admit(i*names+j, time.Duration(clock.Add(int64(time.Microsecond)))) {
					admitted.Add(1)
				}
			}
		})
		buckets := len(c.lines) * slots
		if got := admitted.Load(); got > int64(buckets*burst) || got < int64(buckets*burst/2) {
			t.Errorf("%d admitted, want at most %d and not much less", got, buckets*burst)
		}
		if c.evicted.Load() < goroutines*names/2 {
			t.Errorf("%d evicted", c.evicted.Load())
		}
	}
}

// A million clients come once each, ten times as many as there is room for, and five million in a long run. The memory stays what it was, and one that behaves gets what is his, no more.
func TestMillionsOfNames(t *testing.T) {
	const room = 100_000 / effort
	names := 10 * room
	if testkit.Soak {
		names = 50 * room
	}
	const perSecond, burst, every = 20, 40, 1000
	c := table(room, Rate{perSecond, burst})
	bytes := c.size()
	admitted, asked := 0, 0
	var now time.Duration
	for name := range names {
		now += 20 * effort * time.Microsecond // 50 000 a second
		c.admit(name, now)
		if name%(every/effort) == 0 { // twice and a half as often as allowed
			asked++
			if c.admit(-1, now) {
				admitted++
			}
		}
	}
	want := burst + int(now.Seconds()*perSecond)
	if admitted > want || admitted < want-1 {
		t.Errorf("%d of %d admitted in %v, want %d", admitted, asked, now, want)
	}
	if c.size() != bytes || bytes > room*25+1<<16 {
		t.Errorf("%d bytes, %d at first", c.size(), bytes)
	}
	if n := c.count(now); n > len(c.lines)*slots || n < room {
		t.Errorf("%d clients in %d slots", n, len(c.lines)*slots)
	}
}

// After the clock is set back by an hour, a client that was in the table and one that was not are limited like before, and
// they get in at once or as soon as a token is made.
func TestClientsWhenTheClockIsSet(t *testing.T) {
	for _, by := range []time.Duration{-time.Hour, time.Hour} {
		c := table(1, Rate{1, 5})
		now := 2 * time.Hour
		for client := range 200 {
			c.admit(client, now)
		}
		now += by
		for _, client := range []int{199, 1000} {
			admitted := 0
			for range 10 {
				if c.admit(client, now) {
					admitted++
				}
			}
			if admitted > 5 {
				t.Errorf("%v: client %d: %d admitted", by, client, admitted)
			}
			now += time.Second
			if !c.admit(client, now) {
				t.Errorf("%v: client %d is locked out", by, client)
			}
		}
	}
}

func TestAge(t *testing.T) {
	f := func(seen, now time.Duration, want time.Duration) {
		t.Helper()
		if got := age(1<<tagShift|ticks(seen), now); got != uint64(want)>>tick {
			t.Errorf("seen at %v, now %v: %v, want %v", seen, now, got, uint64(want)>>tick)
		}
	}
	const never = ancient << tick
	const day = 24 * time.Hour
	f(0, 0, 0)
	f(0, time.Minute, time.Minute)
	f(30*day, 30*day+time.Minute, time.Minute)
	f(0, 6*day, 6*day)
	f(30*day, 37*day, never)
	f(time.Hour, time.Hour-time.Second, 0)
	f(time.Hour, 30*time.Minute, never)
	if age(0, 0) != ancient {
		t.Error("an empty slot was seen")
	}
}

// Random clients, classes, costs and times against one model for each client, in a table with room for all.
func TestClientsLikeTheModel(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	rates := []Rate{{1.0 / 3, 2}, {20, 40}, {0, 7}, {1e4, 1000}}
	c := table(500, rates...)
	models := map[string]*model{}
	var now time.Duration
	for range 100_000 {
		now += time.Duration(random.Int64N(int64(time.Millisecond)))
		client, class, cost := random.IntN(120), random.IntN(len(rates)), random.IntN(3)
		name := fmt.Sprint(client, class)
		m := models[name]
		if m == nil {
			m = newModel(rates[class])
			models[name] = m
		}
		who := c.caller(hashOf(client), uint8(class))
		got, _ := c.take(who, now, cost)
		if want := m.take(now, cost); got.ok != want {
			t.Fatalf("%s at %v: take %d: %v, want %v", name, now, cost, got.ok, want)
		}
	}
	if c.evicted.Load() > 0 {
		t.Errorf("%d evicted", c.evicted.Load())
	}
}
