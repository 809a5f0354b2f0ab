package ratelimit

import "time"

// A fallback admits one replica's share while Redis is away or late: the rates and bursts divided by the replicas last heard
// of.
//
// Its buckets live as long as there are so many replicas, over any number of switches, and fill up at the replica's share of
// the rate only. So all replicas' fallbacks together never admit more than one bucket would in the same time, however often Redis
// comes and goes, and with what they lease it is twice that at most. It is far less, because of two things more. What Redis last
// said caps the bucket: when the fallback decides for the first time since, it keeps no more than the replica's part of what
// was left then and has come in meanwhile. And what it admits is charged afterwards (shared.lua). Whom Redis has said nothing
// about has his share of a full bucket: to be refused, a client must have spent something.
//
// The leases in hand are spent first: they are paid for.
type fallback struct {
	all      limit
	global   bucket
	clients  *clients
	replicas int64
}

func newFallback(o Options, replicas int64) *fallback {
	rates := append([]Rate{o.Client}, o.Routes...)
	limits := make([]limit, len(rates))
	for i, r := range rates {
		limits[i] = newLimit(part(r, replicas))
	}
	return &fallback{all: newLimit(part(o.Global, replicas)), clients: newClients(o.MaxClients, o.Cleanup, limits), replicas: replicas}
}

// part is what one of n replicas has of a limit. A bucket holds a token at least.
func part(r Rate, n int64) Rate {
	p := Rate{PerSecond: r.PerSecond / float64(n), Burst: max(r.Burst/n, 1)}
	if p.PerSecond < minPerSecond {
		p.PerSecond = 0
	}
	return p
}

// share is the part of so many tokens: of one that is there, one.
func (f *fallback) share(tokens float64) int64 {
	whole := int64(min(max(tokens, 0), maxBurst))
	return (whole + f.replicas - 1) / f.replicas
}

func (f *fallback) caller(r *request) caller { return f.clients.caller(r.hash, r.class) }

// fallbackAll spends tokens of this replica's share of the global bucket.
func (r *request) fallbackAll() state {
	s := r.s
	f := s.fallback.Load()
	if s.news.Load() {
		s.capAll(f, r.now)
	}
	st := f.global.take(&f.all, r.now, int(r.cost))
	if st.ok && s.spent.Add(r.cost) == r.cost {
		s.since.Store(int64(s.clock()))
	}
	return st
}

// capAll leaves no more in the share of the global bucket than Redis knew of.
func (s *Shared) capAll(f *fallback, now time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.news.Load() {
		return
	}
	elapsed := s.clock() - time.Duration(s.heard.Load())
	share := f.share(float64(s.left.Load()) + s.all.PerSecond*elapsed.Seconds())
	if st := f.global.take(&f.all, now, 0); st.remaining > share {
		f.global.take(&f.all, now, int(st.remaining-share))
	}
	s.news.Store(false)
}

// forget makes the fallback begin with nothing: what there is goes back to Redis. The caller holds mu.
func (s *Shared) forget() {
	s.left.Store(0)
	s.heard.Store(int64(s.clock()))
	s.news.Store(true)
}

const (
	// While Redis is away it is asked so often. The replicas find it back one after the other within this time; the last one
	// still admits its share while the first ones lease it already, and is charged for it afterwards (shared.lua).
	probeTime = 250 * time.Millisecond

	steady = 10 * time.Second // how long Redis has to answer until an earlier failure is forgiven
)

// backoff is how long Redis is left alone after it failed so many times soon after it came back. It grows, because whoever has
// no tokens here waits for it each time.
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

// switchOver makes the fallback decide, one for as many replicas as there are. The caller holds mu.
func (s *Shared) switchOver() {
	if !s.down.Load() {
		if n := s.replicas.Load(); n != s.fallback.Load().replicas {
			f := newFallback(s.o.Options, n)
			f.clients.evicted.Store(s.fallback.Load().clients.evicted.Load())
			s.fallback.Store(f)
		}
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
