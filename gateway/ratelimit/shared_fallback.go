package ratelimit

import (
	"sync"
	"time"
)

// A fallback admits one replica's share while Redis is away: the rates and bursts divided by the replicas last heard of.
//
// It must not be a second set of full buckets, or every switch-over would let a burst in that the buckets in Redis have given
// away already. So there is a new fallback for each, and its buckets start as good as empty: the global one without
// a token, and a client's with a single one (none if it is known that he has none in Redis), for the sake of those who come
// rarely. That is one token for each client and replica more than there should be; it is charged afterwards.
// The leases in hand are spent first: they are paid for.
type fallback struct {
	all     limit
	global  bucket
	clients *clients
	salt    uint64                   // another for each fallback: with it all clients are newcomers in the same old table
	few     []bool                   // by class: it is refilled, so a newcomer has a token
	doors   [64]struct{ sync.Mutex } // a newcomer's bucket is emptied before somebody else finds it
}

func newFallback(o Options, rates []Rate, replicas int) *fallback {
	f := &fallback{clients: newClients(o.MaxClients, o.Cleanup, make([]limit, len(rates))), few: make([]bool, len(rates))}
	for i, r := range rates {
		f.few[i] = r.PerSecond > 0
	}
	return f.next(o.Global, rates, replicas)
}

// next is the fallback for another time. It takes over the memory of the table. What is found in there is another fallback's:
// buckets of clients that nobody finds again, for the newcomers to inherit, who do not trust it.
func (f *fallback) next(all Rate, rates []Rate, replicas int) *fallback {
	g := &fallback{all: newLimit(part(all, replicas)), few: f.few, salt: mix(f.salt + 0x9e3779b97f4a7c15)}
	limits := make([]limit, len(rates))
	for i, r := range rates {
		limits[i] = newLimit(part(r, replicas))
	}
	g.clients = &clients{lines: f.clients.lines, gates: f.clients.gates, cleanup: f.clients.cleanup}
	g.clients.limits.Store(&limits)
	g.clients.evicted.Store(f.clients.evicted.Load())
	// A bucket that will be full in the far future is one whose clock was set back: spend takes it for empty.
	g.global.word.Store(horizon << lowBits)
	return g
}

// part is what one of n replicas has of a limit. A bucket holds a token at least.
func part(r Rate, n int) Rate {
	p := Rate{PerSecond: r.PerSecond / float64(n), Burst: max(r.Burst/int64(n), 1)}
	if p.PerSecond < minPerSecond {
		p.PerSecond = 0
	}
	return p
}

// take spends tokens of a client. Known says that he is known to have none in Redis.
func (f *fallback) take(r *request, known bool) (state, int) {
	door := &f.doors[r.hash%uint64(len(f.doors))]
	door.Lock()
	defer door.Unlock()
	who := f.caller(r)
	if f.clients.find(who) == noSlot {
		keep := int64(1)
		if known || !f.few[r.class] {
			keep = 0
		}
		if s, _ := f.clients.take(who, r.now, 0); s.remaining > keep {
			f.clients.take(who, r.now, int(s.remaining-keep))
		}
	}
	return f.clients.take(who, r.now, int(r.cost))
}

func (f *fallback) caller(r *request) caller { return f.clients.caller(r.hash^f.salt, r.class) }

// fallbackAll spends tokens of this replica's share of the global bucket.
func (r *request) fallbackAll() state {
	f := r.s.fallback.Load()
	st := f.global.take(&f.all, r.now, int(r.cost))
	if st.ok {
		r.s.spent.Add(r.cost)
	}
	return st
}

const (
	// While Redis is away it is asked so often. The replicas find it back one after the other within this time; the last one
	// still admits its share while the first ones lease it already, and is charged for it afterwards (shared.lua).
	probeTime = 250 * time.Millisecond

	steady = 10 * time.Second // how long Redis has to answer until an earlier failure is forgiven
)

// backoff is how long Redis is left alone after it failed so many times soon after it came back. It grows, because every
// fallback has a token for each newcomer.
func backoff(trips uint) time.Duration {
	return min(100*time.Millisecond<<min(trips, 5), 2*time.Second)
}

// trip switches over to the fallback after a call failed that began at a time. Calls that were under way together fail together,
// and count as one.
func (s *Shared) trip(err error, began time.Duration) {
	s.fault(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock()
	switch {
	case s.closed || began < s.healthy:
		return
	case s.down.Load():
		s.retry = max(s.retry, now+probeTime)
		return
	case now-s.healthy > steady:
		s.trips = 0
	}
	s.retry = now + backoff(s.trips)
	s.trips++
	s.switchOver()
}

// switchOver makes the fallback decide, a new one if it does not already. The caller holds mu.
func (s *Shared) switchOver() {
	if !s.down.Load() {
		f := s.fallback.Load()
		rates := append([]Rate{s.o.Client}, s.o.Routes...)
		s.fallback.Store(f.next(s.o.Global, rates, int(s.replicas.Load())))
		s.down.Store(true)
	}
	s.release()
}

// release lets go who waits for tokens of the global bucket. The caller holds mu.
func (s *Shared) release() {
	close(s.round.done)
	s.round = newCall()
}

// recover goes back to leases after a call that was answered.
func (s *Shared) recover() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down.Load() && !s.closed && !s.broken {
		s.healthy = s.clock()
		s.down.Store(false)
	}
}

func (s *Shared) fault(err error) {
	s.failed.Add(1)
	if s.o.OnFault != nil {
		s.o.OnFault(err)
	}
}
