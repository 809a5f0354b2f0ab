package proxy

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"aigateway/gateway/config"
)

// panicThreshold is when a pool panics: with fewer than one in so many of its upstreams well, what finds them sick
// is as likely to be wrong, and the few would not bear the load. Those whose breaker is open stay out.
const panicThreshold = 10

// A Pool is the upstreams of one service.
type Pool struct {
	Name      string
	Upstreams []*Upstream
	Explicit  bool // the operator asked for it: readiness requires it

	balance    string
	hashBy     string
	hashName   string // of the field, in lower case, or of the parameter
	load       load
	sums       bool // load.inflight is kept
	engine     string
	picker     atomic.Pointer[picker]
	listing    atomic.Pointer[listing] // nil: no upstream has told what it lists
	budget     budget
	queue      *queue
	hedge      time.Duration // after which a GET is sent to another upstream as well; 0: never
	credential *credential   // shown to its upstreams in place of a client's; nil: a client's goes on
	alarm      *alarm        // who is told that requests wait while no upstream is well; nil: nobody
	settings   config.Pool   // what it was made from
	onHealth   func(u *Upstream, healthy bool)

	mu sync.Mutex // of refresh
}

func newPool(c config.Pool) *Pool {
	p := &Pool{
		Name: c.Name, Explicit: c.Explicit, balance: string(c.Balance), hashBy: string(c.Hash.By), hashName: c.Hash.Name,
		queue: newQueue(c), hedge: c.Hedge, credential: newCredential(c.Credential), settings: c,
	}
	p.sums = p.balance == hashed || p.balance == byPrefix
	p.engine = string(c.Engine)
	if p.balance == byPrefix {
		p.load.prefixes = newPrefixes()
	}
	p.queue.pool.Store(p)
	p.budget.start()
	return p
}

// ByClient tells whether the pool needs [Exchange.ClientKey].
func (p *Pool) ByClient() bool {
	return p != nil && p.balance == hashed && p.hashBy == byClient
}

// ByPrefix tells whether the pool goes by [Request.Prefix].
func (p *Pool) ByPrefix() bool { return p != nil && p.load.prefixes != nil }

// Clocks tells whether the first content of a stream has a time there.
func (p *Pool) Clocks() bool { return p.settings.Timeouts.FirstToken > 0 }

// Healthy tells whether any upstream of the pool is.
func (p *Pool) Healthy() bool {
	for _, u := range p.Upstreams {
		if u.Healthy() {
			return true
		}
	}
	return false
}

// Sick tells whether every upstream of the pool is known to be.
func (p *Pool) Sick() bool {
	for _, u := range p.Upstreams {
		if u.Healthy() || !u.Probed() && u.breaker.State() != Open || u.breaker.isEjected() {
			return false
		}
	}
	return true
}

// pickFor acquires a place at an upstream for a request that those in tried could not be given. It returns none with Busy if all
// others are full, and with NoUpstream if there are no others.
func (p *Pool) pickFor(x *Request, tried []*Upstream) (*Upstream, Fault) {
	r := p.pickerFor(x.target().Model)
	if p.load.prefixes == nil {
		return p.pickFrom(r, x.hashKey(p), tried)
	}
	if len(r.candidates) > 1 {
		if s := r.byPrefix(x.Prefix); !slices.Contains(tried, s.Upstream) && p.acquire(s.Upstream) {
			return s.Upstream, None
		}
	}
	return p.pickFrom(r, 0, tried)
}

// pick is pickFor for what hash goes by; 0 if the request has nothing to go by.
func (p *Pool) pick(key uint64, tried []*Upstream) (*Upstream, Fault) {
	return p.pickFrom(p.picker.Load(), key, tried)
}

// pickFrom is pick among those that a picker chooses from.
func (p *Pool) pickFrom(r *picker, key uint64, tried []*Upstream) (*Upstream, Fault) {
	if len(r.candidates) > 0 {
		if s := r.choose(key); !slices.Contains(tried, s.Upstream) && p.acquire(s.Upstream) {
			return s.Upstream, None
		}
	}
	return p.pickAny(r, tried)
}

// pickAny acquires a place at the least busy upstream that has one and was not tried. Those that look sick are
// the last resort: not for a request that only found the others full, unless they are ejected, and would be well but for their requests.
func (p *Pool) pickAny(r *picker, tried []*Upstream) (*Upstream, Fault) {
	fault := NoUpstream
	for range 2 * len(r.candidates) { // again if another request was faster
		var best *candidate
		from := rand.IntN(len(r.candidates))
		fault = NoUpstream
		for i := range r.candidates {
			s := &r.candidates[(from+i)%len(r.candidates)]
			switch limit := s.limit.Load(); {
			case limit == 0 || slices.Contains(tried, s.Upstream):
			case s.inflight.Load() >= limit:
				fault = Busy
			case best == nil || s.busier(best) < 0:
				best = s
			}
		}
		if best == nil {
			break
		}
		if p.acquire(best.Upstream) {
			return best.Upstream, None
		}
		fault = Busy
	}
	for _, u := range r.lastResort {
		if (fault == NoUpstream || u.breaker.isEjected()) && !slices.Contains(tried, u) && p.acquire(u) {
			return u, None
		}
	}
	return nil, fault
}

// refresh makes a new picker of what is known of the upstreams, and reports which have become well or sick.
func (p *Pool) refresh(now time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var well, dubious []candidate
	known, fit := 0, p.countHealthy()
	for _, u := range p.Upstreams {
		healthy, state := u.Healthy(), u.breaker.State()
		switch {
		case u.breaker.isEjected(), state == HalfOpen && healthy && fit == 1:
			u.limit.Store(u.maxInflight) // what it did not get, no other upstream could take
		default:
			u.limit.Store(u.limitIn(state))
		}
		s := candidate{u, u.weightNow(now)}
		switch {
		case state == Open && !u.breaker.isEjected():
		case healthy:
			well = append(well, s)
		default:
			dubious = append(dubious, s)
		}
		if u.Probed() || state == Open {
			known++
		}
	}
	var lastResort []*Upstream
	if p.hasRoom() && fit == 0 {
		dubious = slices.DeleteFunc(dubious, func(s candidate) bool { return !s.breaker.isEjected() }) // requests wait rather than try
	}
	if len(well)*panicThreshold < known || len(well) == 0 {
		well = append(well, dubious...)
	} else {
		for _, s := range dubious {
			lastResort = append(lastResort, s.Upstream)
		}
	}
	r := newPicker(p.balance, &p.load, well)
	r.lastResort = lastResort
	r.narrow(p.listing.Load())
	p.picker.Store(r)
	p.queue.hand()
	p.reportHealth() // when it is so: who is told that an upstream is left out can rely on it
}

// reportHealth reports the upstreams that have become well or sick since it was last called.
func (p *Pool) reportHealth() {
	for _, u := range p.Upstreams {
		healthy := u.Healthy()
		if !u.Probed() || u.reported.Swap(reportOf(healthy)) == reportOf(healthy) {
			continue
		}
		u.models.askSoon(healthy)
		if !healthy && p.load.prefixes != nil {
			p.load.prefixes.forget(u.place) // who has begun anew has an empty cache
		}
		if p.onHealth != nil {
			p.onHealth(u, healthy)
		}
	}
}

// countHealthy is how many upstreams of the pool are healthy.
func (p *Pool) countHealthy() (n int) {
	for _, u := range p.Upstreams {
		if u.Healthy() {
			n++
		}
	}
	return n
}

// untilReopen is how long it takes until the first open breaker of the pool lets something through again.
func (p *Pool) untilReopen(now time.Duration) time.Duration {
	wait := time.Duration(0)
	for _, u := range p.Upstreams {
		if until, open := u.breaker.openUntil(); open && (wait == 0 || until-now < wait) {
			wait = until - now
		}
	}
	return wait
}

// acquire takes one of the places at an upstream for a request to the pool; release gives it back.
func (p *Pool) acquire(u *Upstream) bool {
	if u.inflight.Add(1) > u.limit.Load() {
		if u.inflight.Add(-1) < u.limit.Load() && p.queue.length.Load() > 0 {
			p.queue.hand() // while it looked as if there was no place, another one may have come to that conclusion
		}
		return false
	}
	if p.sums {
		p.load.inflight.Add(1)
	}
	return true
}

func (p *Pool) release(u *Upstream) {
	u.served.Add(1)
	p.giveBack(u)
}

// giveBack gives a place back, perhaps unused, to who waits for it.
func (p *Pool) giveBack(u *Upstream) {
	u.inflight.Add(-1)
	if p.sums {
		p.load.inflight.Add(-1)
	}
	if p.queue.length.Load() > 0 {
		p.queue.hand()
	}
}

// takeOver makes a place that another pool has acquired one of this pool's: a reload has put this one in its stead.
func (p *Pool) takeOver(from *Pool) {
	if from.sums {
		from.load.inflight.Add(-1)
	}
	if p.sums {
		p.load.inflight.Add(1)
	}
}
