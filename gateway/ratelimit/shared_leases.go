package ratelimit

import (
	"crypto/sha256"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// leases are the tokens of clients that were leased and not spent yet: one for each client that was here in the last second
// or two, and never more than MaxClients. When there is no room, the lease that was not used for longest is dropped with its
// tokens. They lie in a few arrays that grow as far as they must and are used again, without a pointer but for calls under way.
type leases struct {
	shards  []shard
	tick    atomic.Uint32 // the time, in steps of sweepTime
	evicted atomic.Uint64
}

const sweepTime = 250 * time.Millisecond

type shard struct {
	mu     sync.Mutex
	index  map[uint64]int32 // by hash
	list   []lease          // the first is the anchor of the ring: next is the one used last
	unused int32            // the first of those that are free, 0 if none is
	most   int
	_      [64]byte
}

// A lease is what is known about one client's bucket.
type lease struct {
	hash   uint64
	id     [16]byte
	class  uint8
	heard  bool  // left is known
	news   bool  // the fallback has not looked at left since
	tokens int64 // leased
	left   int64 // in Redis, after the last call,
	told   time.Duration
	spent  int64 // admitted by the fallback, not yet told to Redis,
	since  time.Duration
	batch  int64
	asked  time.Duration
	until  time.Duration // when there will be more in Redis
	retry  time.Duration // when to ask
	bad    time.Duration // his key was found to be nonsense: until then the fallback decides
	call   *call         // under way
	seen   uint32
	next   int32
	prev   int32
}

func newLeases(most int) *leases {
	n := 1
	for n < 64 && most/n >= 128 {
		n *= 2
	}
	l := &leases{shards: make([]shard, n)}
	for i := range l.shards {
		l.shards[i] = shard{index: make(map[uint64]int32), list: make([]lease, 1), most: max(most/n, 1)}
	}
	return l
}

func (l *leases) shard(hash uint64) *shard { return &l.shards[hash%uint64(len(l.shards))] }

// refund gives tokens back to a lease that is still there.
func (l *leases) refund(hash uint64, cost int64) bool {
	h := l.shard(hash)
	h.mu.Lock()
	defer h.mu.Unlock()
	i, ok := h.index[hash]
	if ok {
		h.list[i].tokens += cost
	}
	return ok
}

func (l *leases) size() (n, bytes int) {
	const entry = int(unsafe.Sizeof(lease{})) + 16 // and its place in the index, about
	for i := range l.shards {
		h := &l.shards[i]
		h.mu.Lock()
		n += len(h.index)
		bytes += cap(h.list) * entry
		h.mu.Unlock()
	}
	return n, bytes
}

// enter returns the lease of a request's client. It is valid while mu is held, as everything of a shard.
func (l *leases) enter(h *shard, r *request) *lease {
	i, ok := h.index[r.hash]
	tick := l.tick.Load()
	if ok {
		e := &h.list[i]
		if e.seen != tick {
			e.seen = tick
			h.unlink(i)
			h.link(i)
		}
		return e
	}
	if len(h.index) >= h.most {
		l.evicted.Add(1)
		h.remove(h.list[0].prev)
	}
	if i = h.unused; i != 0 {
		h.unused = h.list[i].next
	} else {
		i = int32(len(h.list))
		h.list = append(h.list, lease{})
	}
	digest := sha256.Sum256(r.client)
	h.list[i] = lease{hash: r.hash, id: [16]byte(digest[:16]), class: r.class, seen: tick, asked: -time.Hour}
	h.index[r.hash] = i
	h.link(i)
	return &h.list[i]
}

func (h *shard) link(i int32) {
	e, anchor := &h.list[i], &h.list[0]
	e.prev, e.next = 0, anchor.next
	h.list[anchor.next].prev = i
	anchor.next = i
}

func (h *shard) unlink(i int32) {
	e := &h.list[i]
	h.list[e.prev].next, h.list[e.next].prev = e.next, e.prev
}

func (h *shard) remove(i int32) {
	h.unlink(i)
	delete(h.index, h.list[i].hash)
	h.list[i] = lease{next: h.unused}
	h.unused = i
}

// first is what a bucket begins with that Redis does not know, and what has run over since: Redis has lost it, if it was there
// before.
func (e *lease) first(l *shared, clock time.Duration) int64 {
	switch {
	case e.heard:
		return e.left + l.flow(clock-e.told)
	case e.spent > 0:
		return l.Burst + l.flow(clock-e.since)
	}
	return l.Burst
}

// takeOwn spends tokens of the client's bucket.
func (r *request) takeOwn() state {
	s := r.s
	limit, h := &s.limits[r.class], s.leases.shard(r.hash)
	for late := false; ; {
		h.mu.Lock()
		e := s.leases.enter(h, r)
		if r.cost > limit.Burst {
			st := e.state(limit)
			h.mu.Unlock()
			return state{remaining: st.remaining, wait: Never}
		}
		if e.tokens >= r.cost {
			e.tokens -= r.cost
			st := e.state(limit)
			h.mu.Unlock()
			return st
		}
		clock := s.clock()
		if late || s.down.Load() || clock < e.bad {
			st := r.fallbackOwn(e, clock)
			h.mu.Unlock()
			return st
		}
		if clock < e.retry && r.cost-e.tokens > e.left {
			st := e.refusal(limit, clock)
			h.mu.Unlock()
			return st
		}
		c, first := e.call, e.call == nil
		if first {
			c = newCall()
			e.call = c
			q := e.question(r, limit, clock)
			q.keys = []string{s.bucketOf(e.id, e.class)}
			go s.lease(r.hash, c, q)
		}
		h.mu.Unlock()
		if late = !c.wait(r.budget()); late && first {
			s.trip(errLate, clock)
		}
	}
}

// question asks for a batch: what is spent in batchTime, in steps of two.
func (e *lease) question(r *request, l *shared, clock time.Duration) question {
	switch since := clock - e.asked; {
	case since < batchTime/2:
		e.batch *= 2
	case since > batchTime:
		e.batch /= 2
	}
	e.batch = min(max(e.batch, int64(l.PerSecond*batchTime.Seconds()), 1), l.Burst)
	e.asked = clock
	need := r.cost - e.tokens
	q := question{limit: l, first: e.first(l, clock), want: max(e.batch, need), need: need, charge: e.spent, since: e.since}
	if e.spent > 0 {
		q.flow = l.flow(clock - e.since)
	}
	e.spent = 0
	return q
}

// lease makes the call that requests wait for. It goes on when they have given up: its tokens are for those that come later.
func (s *Shared) lease(hash uint64, c *call, q question) {
	defer s.guard()
	began := s.clock()
	a, err := s.ask(q, s.late())
	aboutKey := err != nil && isAboutKey(err)
	switch {
	case aboutKey:
		s.fault(err)
	case err != nil:
		s.trip(err, began)
	}
	h := s.leases.shard(hash)
	h.mu.Lock()
	defer h.mu.Unlock()
	defer close(c.done)
	i, ok := h.index[hash]
	if !ok || h.list[i].call != c {
		return // the lease had to go meanwhile, and what was granted is lost
	}
	e, clock := &h.list[i], s.clock()
	e.call = nil
	if err == nil {
		e.hear(q, a, clock, s.pause()/2)
		return
	}
	if q.charge > 0 {
		e.spent += q.charge
		e.since = q.since
	}
	if aboutKey {
		e.bad = clock + leaseTime
	}
}

// hear notes what Redis said.
func (e *lease) hear(q question, a answer, clock, pause time.Duration) {
	e.tokens += a.granted
	e.left, e.heard, e.news, e.told = a.left, true, true, clock
	if a.granted == q.want || a.granted >= q.need && a.left > 0 {
		return
	}
	// Once these tokens are spent, there are no more. Other replicas may give some back, so ask after leaseTime at the latest.
	e.until = Never
	if a.wait < Never/2 {
		e.until = clock + max(a.wait, pause)
	}
	e.retry = min(e.until, clock+leaseTime)
}

func (l *shared) interval() time.Duration {
	if l.PerSecond == 0 {
		return Never
	}
	return time.Duration(float64(time.Second) / l.PerSecond)
}

// state is about a lease that tokens were just taken of.
func (e *lease) state(l *shared) state {
	st := state{ok: true, remaining: min(e.tokens+e.left, l.Burst), wait: l.interval()}
	if st.remaining == l.Burst {
		st.wait = 0
	}
	return st
}

func (e *lease) refusal(l *shared, clock time.Duration) state {
	st := state{remaining: min(e.tokens+e.left, l.Burst), wait: Never}
	if l.PerSecond > 0 && e.until != Never {
		st.wait = max(e.until-clock, 1)
	}
	return st
}

// fallbackOwn spends tokens of this replica's share of the client's bucket. The caller holds the lock of the lease.
func (r *request) fallbackOwn(e *lease, clock time.Duration) state {
	s := r.s
	f := s.fallback.Load()
	who := f.caller(r)
	if e.news {
		e.news = false
		if st, _ := f.clients.take(who, r.now, 0); st.remaining > 0 {
			share := f.share(float64(e.left) + s.limits[r.class].PerSecond*(clock-e.told).Seconds())
			f.clients.take(who, r.now, int(max(st.remaining-share, 0)))
		}
	}
	st, slot := f.clients.take(who, r.now, int(r.cost))
	if st.ok {
		r.local, r.slot, r.from = true, slot, f
		if e.spent == 0 {
			e.since = clock
		}
		e.spent += r.cost
	}
	return st
}

// uncharge takes back what Redis was to be told.
func (l *leases) uncharge(hash uint64, cost int64) {
	h := l.shard(hash)
	h.mu.Lock()
	defer h.mu.Unlock()
	if i, ok := h.index[hash]; ok {
		h.list[i].spent = max(h.list[i].spent-cost, 0)
	}
}

// refundOwn gives the client's tokens back after the global bucket had none.
func (r *request) refundOwn() {
	s := r.s
	if !r.local {
		s.leases.refund(r.hash, r.cost)
		return
	}
	r.from.clients.refund(r.slot, r.from.caller(r), int(r.cost))
	s.leases.uncharge(r.hash, r.cost)
}

// sweep sends back what nobody spends, and forgets who is not here any more. While Redis is away it leaves everything as it is:
// nothing could be sent, and what the fallback admitted must not be forgotten.
func (s *Shared) sweep() {
	defer s.guard()
	ticker := time.NewTicker(sweepTime)
	defer ticker.Stop()
	for {
		select {
		case <-s.stop.Done():
			s.sweepOut()
			return
		case <-ticker.C:
		}
		s.leases.tick.Add(1)
		for i := range s.leases.shards {
			for !s.down.Load() && s.stop.Err() == nil {
				old := s.leases.old(&s.leases.shards[i], uint32(leaseTime/sweepTime))
				s.giveBack(old, s.o.Timeout)
				if len(old) == 0 {
					break
				}
			}
		}
	}
}

// sweepOut gives back as much as there is time for.
func (s *Shared) sweepOut() {
	end := s.clock() + 25*s.o.Timeout
	for i := range s.leases.shards {
		for s.clock() < end {
			old := s.leases.old(&s.leases.shards[i], 0)
			if len(old) == 0 {
				break
			}
			if !s.giveBack(old, s.o.Timeout) {
				return
			}
		}
	}
}

// old removes leases that were not used for so many ticks, as many as fit into one message, and returns those that Redis has
// to hear of.
func (l *leases) old(h *shard, ticks uint32) (old []lease) {
	now := l.tick.Load()
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(old) < 128 {
		i := h.list[0].prev
		if i == 0 {
			break
		}
		e := &h.list[i]
		if now-e.seen < ticks || e.call != nil {
			break
		}
		if e.tokens > 0 || e.spent > 0 {
			old = append(old, *e)
		}
		h.remove(i)
	}
	return old
}
