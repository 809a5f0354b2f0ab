package proxy

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"aigateway/gateway/config"
	"aigateway/gateway/wire"
)

// panicThreshold is when a pool panics: with fewer than one in so many of its upstreams well, what finds them sick
// is as likely to be wrong, and the few would not bear the load. Those whose breaker is open stay out.
const panicThreshold = 10

// A Pool is the upstreams of one service.
type Pool struct {
	Name      string
	Upstreams []*Upstream
	Explicit  bool // the operator asked for it: readiness requires it

	balance  string
	hashBy   string
	hashName string // of the field, in lower case, or of the parameter
	next     atomic.Uint32
	inflight atomic.Int64 // of a pool that hashes
	picker   atomic.Pointer[picker]
	budget   budget
	queue    *queue
	hedge    time.Duration // after which a GET is sent to another upstream as well; 0: never
	settings config.Pool   // what it was made from
	onHealth func(u *Upstream, healthy bool)

	mu sync.Mutex // of refresh
}

func newPool(c config.Pool) *Pool {
	p := &Pool{
		Name: c.Name, Explicit: c.Explicit, balance: string(c.Balance), hashBy: string(c.Hash.By), hashName: c.Hash.Name,
		queue: &queue{size: c.Queue.Size, wait: c.Queue.Wait}, hedge: c.Hedge, settings: c,
	}
	p.budget.start()
	return p
}

// ByClient tells whether the pool needs [Exchange.ClientKey].
func (p *Pool) ByClient() bool {
	return p != nil && p.balance == hashed && p.hashBy == byClient
}

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

// QueueState is what a pool's queue is like now, and what has become of those that were in it.
type QueueState struct {
	Length   int64
	Admitted int64 // found a place
	Late     int64 // did not, in time
	Refused  int64 // found the queue full
}

// Queue returns the state of the pool's queue; that of no pool is zero.
func (p *Pool) Queue() QueueState {
	if p == nil {
		return QueueState{}
	}
	q := p.queue
	return QueueState{q.length.Load(), q.admitted.Load(), q.late.Load(), q.refused.Load()}
}

// pick takes a place at an upstream for a request that those in tried could not be given. It returns none
// with Busy if there are some but they are full, and with NoUpstream if nobody is left.
func (p *Pool) pick(key uint64, tried []*Upstream) (*Upstream, Fault) {
	r := p.picker.Load()
	if len(r.candidates) > 0 {
		if s := r.choose(p, key); !slices.Contains(tried, s.Upstream) && s.acquire(p) {
			return s.Upstream, None
		}
	}
	return r.pickAny(p, tried)
}

// pickAny takes a place at the least busy upstream that has one and was not tried. Those that look sick are
// the last resort: not for a request that only found the others full, unless it is only requests that they fail.
func (r *picker) pickAny(p *Pool, tried []*Upstream) (*Upstream, Fault) {
	fault := NoUpstream
	for range 2 * len(r.candidates) { // again if somebody was faster
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
		if best.acquire(p) {
			return best.Upstream, None
		}
		fault = Busy
	}
	for _, u := range r.lastResort {
		if (fault == NoUpstream || u.breaker.isEjected()) && !slices.Contains(tried, u) && u.acquire(p) {
			return u, None
		}
	}
	return nil, fault
}

// refresh makes a new roster of what is known of the upstreams, and tells who has become well or sick.
func (p *Pool) refresh(now time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var well, dubious []candidate
	known, fit := 0, p.countHealthy()
	for _, u := range p.Upstreams {
		healthy, state := u.Healthy(), u.breaker.State()
		switch {
		case u.breaker.isEjected(), state == HalfOpen && healthy && fit == 1:
			u.limit.Store(u.maxInflight) // nobody else is there for what it would not get
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
		if u.Probed() && u.reported.Swap(reportOf(healthy)) != reportOf(healthy) && p.onHealth != nil {
			p.onHealth(u, healthy)
		}
	}
	var rest []*Upstream
	if len(well)*panicThreshold < known || len(well) == 0 {
		well = append(well, dubious...)
	} else {
		for _, s := range dubious {
			rest = append(rest, s.Upstream)
		}
	}
	r := newPicker(p.balance, well)
	r.lastResort = rest
	p.picker.Store(r)
	p.queue.wakeFirst()
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

// served is how many requests the pool's upstreams are through with.
func (p *Pool) served() (n int64) {
	for _, u := range p.Upstreams {
		n += u.served.Load()
	}
	return n
}

// untilReopen is how long it takes until the first open breaker of the pool lets something through again.
func (p *Pool) untilReopen(now time.Duration) time.Duration {
	wait := time.Duration(0)
	for _, u := range p.Upstreams {
		if until, shut := u.breaker.openUntil(); shut && (wait == 0 || until-now < wait) {
			wait = until - now
		}
	}
	return wait
}

// hasHealthyPeer tells whether the pool has somebody well but u.
func (p *Pool) hasHealthyPeer(u *Upstream) bool {
	return slices.ContainsFunc(p.Upstreams, func(v *Upstream) bool { return v != u && v.Healthy() })
}

// peersFareBetter tells whether an upstream of the pool other than u is well and fails a much smaller share of its requests: then it is u,
// and not what is asked of it. Requests that fail wherever they go say nothing about where they went.
func (p *Pool) peersFareBetter(u *Upstream, now time.Duration) bool {
	share := u.breaker.share(now)
	return slices.ContainsFunc(p.Upstreams, func(v *Upstream) bool {
		return v != u && v.Healthy() && v.breaker.State() == Closed && v.breaker.share(now) <= share/2
	})
}

// judgeHead draws the conclusion from the head of an answer to a request that was sent at that time. It counts as soon as it is there:
// a stream may last for an hour.
func (p *Pool) judgeHead(u *Upstream, status int, began, now time.Duration) {
	if unavailable(status) {
		p.judge(u, Unavailable, status, began)
		return
	}
	if u.breaker.success(now) {
		u.recoveredAt.Store(int64(now))
		p.refresh(now)
	}
}

// judge draws the conclusion from an attempt that began at that time and has failed. A client that left says nothing about
// the upstream, nor does a connection used before that broke: its upstream may have meant to close it.
func (p *Pool) judge(u *Upstream, f Fault, status int, began time.Duration) {
	if f == None && unavailable(status) {
		f = Unavailable
	}
	now := wire.Now()
	changed := false
	switch f {
	case Unreachable, TimeoutConnect, TLSFailed:
		changed = u.breaker.failure(now, began, f)
		changed = u.healthy.Swap(false) || changed
		u.lastFailure.Store(uint32(f) | foundByRequest)
	case TimeoutResponse:
		if time.Duration(u.breaker.lastGood.Load()) >= began {
			return // others had their answers meanwhile: a slow request, not a sick upstream
		}
		changed = u.breaker.failure(now, began, f)
		// Nothing good came in all that time: it hangs. A probe will tell, and until then others are there.
		if !u.breaker.wellSince(began) && p.hasHealthyPeer(u) {
			changed = u.healthy.Swap(false) || changed
			u.lastFailure.Store(uint32(f) | foundByRequest)
		}
	case TimeoutIdle, BrokenResponse, Truncated, Unavailable:
		changed = u.breaker.failure(now, began, f)
	default:
		return
	}
	if changed {
		p.refresh(now)
	}
	if changed || u.breaker.suspected.Load() {
		u.probeSoon()
	}
}
