package caching

import (
	"aigateway/gateway/cache"
	"aigateway/gateway/wire"
	"bytes"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const forAges = time.Hour

func flightKey(s string) cache.Key { return cache.Hash([]byte(s)) }

// crowd has n requests join the flight of one key; each that leads calls lead, and each reports its outcome.
func crowd(t *Flights, n int, lead func(f *Flight, w *Waiter)) (outcomes map[Role]int) {
	var mu sync.Mutex
	var all sync.WaitGroup
	outcomes = map[Role]int{}
	for range n {
		all.Go(func() {
			w := NewWaiter()
			f, leads := t.Join(flightKey("a"), cache.Stamp{}, w)
			o := Lead
			if !leads {
				o = f.Wait(w, forAges)
			}
			if o == Lead {
				lead(f, w)
			}
			f.Leave(w)
			mu.Lock()
			outcomes[o]++
			mu.Unlock()
		})
	}
	all.Wait()
	return outcomes
}

func TestFlightOneLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := NewFlights(1<<20, 1<<30)
		got := crowd(table, 1000, func(f *Flight, _ *Waiter) {
			time.Sleep(time.Second) // the upstream's; everyone has joined
			f.Fill(Response{Length: 2})
			_ = f.Write([]byte("ok"))
			f.End(nil)
		})
		if got[Lead] != 1 || got[Follow] != 999 {
			t.Errorf("%v", got)
		}
		if table.Under(flightKey("a")) {
			t.Error("the flight is still in the table")
		}
	})
}

func TestFlightOpenSendsEveryoneOnAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := crowd(NewFlights(1<<20, 1<<30), 100, func(f *Flight, _ *Waiter) {
			time.Sleep(time.Second)
			f.Private()
		})
		if got[Lead] != 1 || got[Alone] != 99 {
			t.Errorf("%v", got)
		}
	})
}

func TestFlightThreeFailuresAreEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := crowd(NewFlights(1<<20, 1<<30), 100, func(f *Flight, _ *Waiter) {
			time.Sleep(time.Second)
			f.Fail(7)
		})
		if got[Lead] != 3 || got[Failed] != 97 {
			t.Errorf("%v", got)
		}
	})
}

func TestFlightSecondLeaderSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var leaders atomic.Int32
		got := crowd(NewFlights(1<<20, 1<<30), 100, func(f *Flight, _ *Waiter) {
			time.Sleep(time.Second)
			if leaders.Add(1) == 1 {
				f.Fail(7)
				return
			}
			f.Fill(Response{})
			f.End(nil)
		})
		if got[Lead] != 2 || got[Follow] != 98 {
			t.Errorf("%v", got)
		}
	})
}

// A leader whose client left goes on while others wait, and is cancelled when the last of them leaves.
func TestFlightLeaderLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := NewFlights(1<<20, 1<<30)
		leader, follower := NewWaiter(), NewWaiter()
		f, _ := table.Join(flightKey("a"), cache.Stamp{}, leader)
		cancelled := 0
		f.Fetching(cache.Stamp{}, cancelling(func() { cancelled++ }))
		if again, leads := table.Join(flightKey("a"), cache.Stamp{}, follower); again != f || leads {
			t.Fatal("the second request did not join")
		}
		if !f.LeaveQuietly(leader) || cancelled != 0 {
			t.Error("the fetch ends although somebody waits")
		}
		go func() {
			time.Sleep(time.Second)
			follower.Interrupt()
		}()
		if o := f.Wait(follower, forAges); o != Gone || cancelled != 1 {
			t.Errorf("outcome %d, cancelled %d times", o, cancelled)
		}
		if table.Under(flightKey("a")) {
			t.Error("somebody could still join a fetch that was cancelled")
		}
	})
}

// A request whose turn it is to lead may be leaving at that moment: the next one leads.
func TestFlightTurnIsPassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := NewFlights(1<<20, 1<<30)
		leader, leaving, staying := NewWaiter(), NewWaiter(), NewWaiter()
		f, _ := table.Join(flightKey("a"), cache.Stamp{}, leader)
		table.Join(flightKey("a"), cache.Stamp{}, leaving)
		table.Join(flightKey("a"), cache.Stamp{}, staying)
		outcome := make(chan Role)
		go func() { outcome <- f.Wait(staying, forAges) }()
		f.LeaveQuietly(leader)
		f.Fail(1)
		leaving.Interrupt()
		if o := f.Wait(leaving, forAges); o != Gone {
			t.Errorf("outcome %d", o)
		}
		if o := <-outcome; o != Lead {
			t.Errorf("outcome %d", o)
		}
	})
}

func TestFlightDeadlineIsTheFollowersOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := NewFlights(1<<20, 1<<30)
		leader, follower := NewWaiter(), NewWaiter()
		f, _ := table.Join(flightKey("a"), cache.Stamp{}, leader)
		table.Join(flightKey("a"), cache.Stamp{}, follower)
		began := time.Now()
		if o := f.Wait(follower, 3*time.Second); o != Late || time.Since(began) != 3*time.Second {
			t.Errorf("outcome %d after %v", o, time.Since(began))
		}
	})
}

// Readers get the body as it comes, each at its own pace.
func TestFlightStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := NewFlights(1<<20, 1<<30)
		leader := NewWaiter()
		f, _ := table.Join(flightKey("a"), cache.Stamp{}, leader)
		read := func(pace time.Duration, want string) {
			w := NewWaiter()
			table.Join(flightKey("a"), cache.Stamp{}, w)
			var got bytes.Buffer
			for more := true; more; {
				var piece []byte
				var err error
				if piece, more, err = f.Next(w, forAges); err != nil {
					t.Error(err)
					return
				}
				got.Write(piece)
				time.Sleep(pace)
			}
			if got.String() != want {
				t.Errorf("got %q", got.String())
			}
		}
		var all sync.WaitGroup
		all.Go(func() { read(0, "abcdefghij") })
		all.Go(func() { read(3*time.Second, "abcdefghij") })
		synctest.Wait()
		f.Fill(Response{Length: -1})
		for _, c := range "abcdefghij" {
			if err := f.Write([]byte{byte(c)}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		f.End(nil)
		all.Wait()
	})
}

// What grows beyond the limit is not kept, takes no more memory than the limit, and waits for its slowest reader.
func TestFlightTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := NewFlights(100, 1<<30)
		w := NewWaiter()
		f, _ := table.Join(flightKey("a"), cache.Stamp{}, w)
		f.Fill(Response{Length: -1})
		var sent, got int
		go func() {
			for range 50 {
				if f.Write(make([]byte, 30)) != nil {
					t.Error("nobody reads?")
				}
				sent += 30
			}
			f.End(nil)
		}()
		for more := true; more; {
			time.Sleep(time.Second)
			synctest.Wait()
			if sent-got > 130 {
				t.Errorf("%d bytes are held", sent-got)
			}
			var piece []byte
			piece, more, _ = f.Next(w, forAges)
			got += len(piece)
		}
		if _, ok := f.Kept(); ok || got != 1500 || table.Under(flightKey("a")) {
			t.Errorf("kept: %v, %d bytes", ok, got)
		}
	})
}

func TestFlightBrokenHasNoEnd(t *testing.T) {
	table := NewFlights(100, 1<<30)
	w := NewWaiter()
	f, _ := table.Join(flightKey("a"), cache.Stamp{}, w)
	f.Fill(Response{Length: 10})
	_ = f.Write([]byte("abc"))
	f.Break()
	piece, more, err := f.Next(w, forAges)
	if string(piece) != "abc" || !more || err != nil {
		t.Errorf("%q %v %v", piece, more, err)
	}
	if _, _, err = f.Next(w, forAges); err != ErrBroken {
		t.Errorf("%v", err)
	}
}

// Readers that leave while the writer waits for them let it go on, or end.
func TestFlightReadersLeaveAStalledWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := NewFlights(10, 1<<30)
		w := NewWaiter()
		f, _ := table.Join(flightKey("a"), cache.Stamp{}, w)
		f.Fill(Response{Length: -1})
		ended := make(chan error)
		go func() {
			for {
				if err := f.Write(make([]byte, 8)); err != nil {
					ended <- err
					return
				}
			}
		}()
		synctest.Wait()
		f.LeaveQuietly(w)
		if err := <-ended; err != ErrNobody {
			t.Error(err)
		}
	})
}

func TestMarks(t *testing.T) {
	table := NewFlights(1, 1<<30)
	a, b := flightKey("a"), flightKey("b")
	if table.HitForMiss(a, 0) {
		t.Error("marked before Mark")
	}
	table.MarkHitForMiss(a, 5*time.Second)
	if !table.HitForMiss(a, 6*time.Second) || table.HitForMiss(a, 5*time.Second+hitForMissTime) || table.HitForMiss(b, 6*time.Second) {
		t.Error("the mark is not of this key and this time")
	}
}

// What was done to a key ends who may join its flight, but not the flight.
func TestFlightFromBeforeAChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := NewFlights(100, 1<<30)
		store, err := cache.Open(cache.Options{MemoryBytes: cache.MinMemoryBytes, MaxEntries: 1, MaxRecord: 1 << 10})
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		before := store.Stamp(flightKey("a"))
		store.Delete(flightKey("a"))
		after := store.Stamp(flightKey("a"))
		leader, follower, newcomer, late := NewWaiter(), NewWaiter(), NewWaiter(), NewWaiter()
		f, _ := table.Join(flightKey("a"), before, leader)
		if again, leads := table.Join(flightKey("a"), before, follower); again != f || leads {
			t.Error("nothing was done, and the flight cannot be joined")
		}
		next, leads := table.Join(flightKey("a"), after, newcomer)
		if next == f || !leads {
			t.Error("joined what was fetched before the change")
		}
		if again, leads := table.Join(flightKey("a"), before, late); again != next || leads { // its stamp is a moment old
			t.Error("did not join what is fetched after the change")
		}
		f.Fill(Response{Meta: cache.Meta{Lifetime: 60}, Length: -1})
		f.End(nil)
		if o := f.Wait(follower, forAges); o != Follow {
			t.Errorf("outcome %d", o)
		}
		if !table.Under(flightKey("a")) || table.Idle() {
			t.Error("the end of the first flight is the end of the second")
		}
		next.Private()
		if !table.Idle() {
			t.Error("something is still under way")
		}
	})
}

// Only what is fresh is for those who come when it is there.
func TestFlightLatecomers(t *testing.T) {
	for _, c := range []struct {
		meta cache.Meta
		join bool
	}{{cache.Meta{Lifetime: 60}, true}, {cache.Meta{Lifetime: 60, Flags: cache.NoCache}, false}, {cache.Meta{Lifetime: 60, InitialAge: 60}, false}} {
		table := NewFlights(100, 1<<30)
		leader, late := NewWaiter(), NewWaiter()
		f, _ := table.Join(flightKey("a"), cache.Stamp{}, leader)
		f.Fill(Response{Meta: c.meta, Length: -1})
		again, leads := table.Join(flightKey("a"), cache.Stamp{}, late)
		if (again == f) != c.join || leads == c.join || late.Latecomer() != c.join {
			t.Errorf("%+v: joined %v", c.meta, again == f)
		}
	}
}

// A flight whose leader failed and that nobody wants any more is over.
func TestFlightAbandoned(t *testing.T) {
	table := NewFlights(100, 1<<30)
	leader, follower := NewWaiter(), NewWaiter()
	f, _ := table.Join(flightKey("a"), cache.Stamp{}, leader)
	table.Join(flightKey("a"), cache.Stamp{}, follower)
	f.Fail(1)
	f.LeaveQuietly(leader)
	if f.Leave(follower) || !table.Idle() || table.Under(flightKey("a")) {
		t.Error("it is not over")
	}
	alone := table.Alone(leader)
	if table.Idle() {
		t.Error("what may be stored is not under way")
	}
	alone.Break()
	alone.Break()
	if !table.Idle() {
		t.Error("it is not over")
	}
}

// Who does not read an answer that is too large to be kept does not hold up the others for long.
func TestFlightLeavesBehindWhoHoldsUpOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := NewFlights(100, 1<<30)
		reader, idle := NewWaiter(), NewWaiter()
		f, _ := table.Join(flightKey("a"), cache.Stamp{}, reader)
		table.Join(flightKey("a"), cache.Stamp{}, idle)
		f.Fill(Response{Length: -1})
		go func() {
			for range 20 {
				if f.Write(make([]byte, 30)) != nil {
					t.Error("nobody reads?")
				}
			}
			f.End(nil)
		}()
		began, got := time.Now(), 0
		for more := true; more; {
			var piece []byte
			var err error
			if piece, more, err = f.Next(reader, forAges); err != nil {
				t.Fatal(err)
			}
			got += len(piece)
		}
		if took := time.Since(began); got != 600 || took > 2*patience {
			t.Errorf("%d bytes after %v", got, took)
		}
		if _, _, err := f.Next(idle, forAges); err != ErrBroken {
			t.Errorf("who read nothing is told %v", err)
		}
	})
}

// All bodies under way share a memory; a response for which there is none passes, and is found by nobody else.
func TestFlightMemory(t *testing.T) {
	table := NewFlights(1<<20, wire.LargeBuffer+20<<10)
	fill := func(key string, n int) (*Flight, *Waiter) {
		w := NewWaiter()
		f, _ := table.Join(flightKey(key), cache.Stamp{}, w)
		f.Fill(Response{Meta: cache.Meta{Lifetime: 60}, Length: -1})
		for range n {
			if err := f.Write(make([]byte, 10<<10)); err != nil {
				t.Fatal(err)
			}
		}
		return f, w
	}
	a, reads := fill("a", 8)
	if _, kept := a.Kept(); table.Taken() != wire.LargeBuffer || !kept {
		t.Errorf("%d bytes are taken", table.Taken())
	}
	b, _ := fill("b", 4)
	if _, kept := b.Kept(); kept || table.Under(flightKey("b")) || table.Taken() != wire.LargeBuffer+20<<10 {
		t.Errorf("there was room for the second: %d bytes are taken", table.Taken())
	}
	a.End(nil)
	b.Break()
	if table.Taken() != 0 || !table.Idle() {
		t.Errorf("%d bytes are left", table.Taken())
	}
	if piece, more, err := a.Next(reads, forAges); len(piece) != 80<<10 || more || err != nil {
		t.Errorf("%d bytes, %v", len(piece), err)
	}
}

// cancelling is a canceller.
type cancelling func()

func (c cancelling) cancel() { c() }
