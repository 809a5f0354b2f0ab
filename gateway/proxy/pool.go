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

// nearlyAll is when a pool panics: with fewer than one in so many of its upstreams well, what finds them sick
// is as likely to be wrong, and the few would not bear the load. Those whose breaker is open stay out.
const nearlyAll = 10

// A Pool is the upstreams of one service.
type Pool struct {
	Name      string
	Upstreams []*Upstream
	Explicit  bool // the operator asked for it: readiness requires it

	balance  string
	hashBy   string
	hashName string // of the field, in lower case, or of the parameter
	turn     atomic.Uint32
	inflight atomic.Int64 // of a pool that hashes
	roster   atomic.Pointer[roster]
	budget   budget
	queue    *queue
	hedge    time.Duration // after which a GET is sent to another upstream as well; 0: never
	made     config.Pool   // what it was made from
	onHealth func(u *Upstream, healthy bool)

	mu sync.Mutex // of refresh
}

func newPool(c config.Pool) *Pool {
	p := &Pool{
		Name: c.Name, Explicit: c.Explicit, balance: c.Balance, hashBy: c.Hash.By, hashName: c.Hash.Name,
		queue: &queue{size: c.Queue.Size, wait: c.Queue.Wait}, hedge: c.Hedge, made: c,
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
		if u.Healthy() || !u.Probed() && u.breaker.State() != Open || u.breaker.passedBy() {
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
	r := p.roster.Load()
	if len(r.seats) > 0 {
		if s := r.choose(p, key); !slices.Contains(tried, s.Upstream) && s.take(p) {
			return s.Upstream, None
		}
	}
	return r.pickAny(p, tried)
}

// pickAny takes a place at the least busy upstream that has one and was not tried. Those that look sick are
// the last resort: not for a request that only found the others full, unless it is only requests that they fail.
func (r *roster) pickAny(p *Pool, tried []*Upstream) (*Upstream, Fault) {
	fault := NoUpstream
	for range 2 * len(r.seats) { // again if somebody was faster
		var best *seat
		from := rand.IntN(len(r.seats))
		fault = NoUpstream
		for i := range r.seats {
			s := &r.seats[(from+i)%len(r.seats)]
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
		if best.take(p) {
			return best.Upstream, None
		}
		fault = Busy
	}
	for _, u := range r.rest {
		if (fault == NoUpstream || u.breaker.passedBy()) && !slices.Contains(tried, u) && u.take(p) {
			return u, None
		}
	}
	return nil, fault
}

// refresh makes a new roster of what is known of the upstreams, and tells who has become well or sick.
func (p *Pool) refresh(now time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var well, dubious []seat
	known, fit := 0, p.countHealthy()
	for _, u := range p.Upstreams {
		healthy, state := u.Healthy(), u.breaker.State()
		switch {
		case u.breaker.passedBy(), state == HalfOpen && healthy && fit == 1:
			u.limit.Store(u.most) // nobody else is there for what it would not get
		default:
			u.limit.Store(u.limitIn(state))
		}
		s := seat{u, u.weightNow(now)}
		switch {
		case state == Open && !u.breaker.passedBy():
		case healthy:
			well = append(well, s)
		default:
			dubious = append(dubious, s)
		}
		if u.Probed() || state == Open {
			known++
		}
		if u.Probed() && u.told.Swap(toldOf(healthy)) != toldOf(healthy) && p.onHealth != nil {
			p.onHealth(u, healthy)
		}
	}
	var rest []*Upstream
	if len(well)*nearlyAll < known || len(well) == 0 {
		well = append(well, dubious...)
	} else {
		for _, s := range dubious {
			rest = append(rest, s.Upstream)
		}
	}
	r := newRoster(p.balance, well)
	r.rest = rest
	p.roster.Store(r)
	p.queue.call()
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

// untilProbe is how long it takes until the first open breaker of the pool lets something through again.
func (p *Pool) untilProbe(now time.Duration) time.Duration {
	wait := time.Duration(0)
	for _, u := range p.Upstreams {
		if until, shut := u.breaker.shut(); shut && (wait == 0 || until-now < wait) {
			wait = until - now
		}
	}
	return wait
}

// others tells whether the pool has somebody well but u.
func (p *Pool) others(u *Upstream) bool {
	return slices.ContainsFunc(p.Upstreams, func(v *Upstream) bool { return v != u && v.Healthy() })
}

// fares tells whether an upstream of the pool other than u is well and fails a much smaller share of its requests: then it is u,
// and not what is asked of it. Requests that fail wherever they go say nothing about where they went.
func (p *Pool) fares(u *Upstream, now time.Duration) bool {
	share := u.breaker.share(now)
	return slices.ContainsFunc(p.Upstreams, func(v *Upstream) bool {
		return v != u && v.Healthy() && v.breaker.State() == Closed && v.breaker.share(now) <= share/2
	})
}

// heard draws the conclusion from the head of an answer to a request that was sent at that time. It counts as soon as it is there:
// a stream may last for an hour.
func (p *Pool) heard(u *Upstream, status int, began, now time.Duration) {
	if unavailable(status) {
		p.judge(u, Unavailable, status, began)
		return
	}
	if u.breaker.praise(now) {
		u.back.Store(int64(now))
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
		changed = u.breaker.strike(now, began, f)
		changed = u.healthy.Swap(false) || changed
		u.finding.Store(uint32(f) | foundByRequest)
	case TimeoutResponse:
		if time.Duration(u.breaker.good.Load()) >= began {
			return // others had their answers meanwhile: a slow request, not a sick upstream
		}
		changed = u.breaker.strike(now, began, f)
		// Nothing good came in all that time: it hangs. A probe will tell, and until then others are there.
		if !u.breaker.wellSince(began) && p.others(u) {
			changed = u.healthy.Swap(false) || changed
			u.finding.Store(uint32(f) | foundByRequest)
		}
	case TimeoutIdle, BrokenAnswer, Truncated, Unavailable:
		changed = u.breaker.strike(now, began, f)
	default:
		return
	}
	if changed {
		p.refresh(now)
	}
	if changed || u.breaker.accused.Load() {
		u.suspect()
	}
}
