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
		if u.Healthy() || !u.Probed() && u.breaker.State() != Open {
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
// the last resort: not for a request that only found the others full.
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
	if fault == Busy {
		return nil, Busy
	}
	for _, u := range r.rest {
		if !slices.Contains(tried, u) && u.take(p) {
			return u, None
		}
	}
	return nil, NoUpstream
}

// refresh makes a new roster of what is known of the upstreams, and tells who has become well or sick.
func (p *Pool) refresh(now time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var well, dubious []seat
	known := 0
	for _, u := range p.Upstreams {
		healthy, state := u.Healthy(), u.breaker.State()
		u.limit.Store(u.limitIn(state))
		s := seat{u, u.weightNow(now)}
		switch {
		case state == Open:
		case healthy:
			well = append(well, s)
		default:
			dubious = append(dubious, s)
		}
		if u.Probed() || state == Open {
			known++
		}
		if told := u.told.Swap(toldOf(healthy)); told != toldOf(healthy) && u.Probed() && p.onHealth != nil {
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

// judge draws the conclusion from an attempt that began at that time. A client that left says nothing about
// the upstream, nor does a connection used before that broke: its upstream may have meant to close it.
func (p *Pool) judge(u *Upstream, f Fault, status int, began time.Duration) {
	if f == None && unavailable(status) {
		f = Unavailable
	}
	now := wire.Now()
	changed := false
	switch f {
	case None:
		if changed = u.breaker.praise(now); changed {
			u.back.Store(int64(now))
		}
	case Unreachable, TimeoutConnect, TLSFailed:
		changed = u.breaker.strike(now, began, f)
		changed = u.healthy.Swap(false) || changed
		u.finding.Store(uint32(f))
	case TimeoutResponse:
		changed = u.breaker.strike(now, began, f)
		// Nothing good came in all that time: it hangs. A probe will tell, and until then others are there.
		if time.Duration(u.breaker.good.Load()) < began && p.others(u) {
			changed = u.healthy.Swap(false) || changed
			u.finding.Store(uint32(f))
		}
	case TimeoutIdle, BrokenAnswer, Truncated, Unavailable:
		changed = u.breaker.strike(now, began, f)
	default:
		return
	}
	if changed {
		p.refresh(now)
	}
	if f != None || changed {
		u.suspect()
	}
}
