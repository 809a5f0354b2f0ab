package ratelimit

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"aigateway/gateway/config"
)

// SharedOptions says what NewShared is to make.
type SharedOptions struct {
	Options
	config.Redis

	Prefix   string        // of the keys; gw:v1:rl if empty
	Timeout  time.Duration // of one call, and the longest that a request is held up; 20 ms if 0
	Replicas int           // how many to reckon with until Redis tells; 1 if 0
	OnFault  func(error)   // told of every failed call, if not nil; it must not block
}

// Shared is a Limiter for all replicas of the gateway together: they share the buckets that lie in Redis.
//
// Nobody asks Redis for every request. A replica leases tokens in batches (shared.lua) and spends them here: of the global
// bucket ahead of need, by a goroutine (shared_keeper.go); of a client's when a request of his finds none (shared_leases.go).
// What was not spent for a second goes back. So a token is either in Redis or with one replica, and when it is lost on the way,
// nobody has it: all together never admit more than the buckets hold.
//
// If Redis is slow or away, a replica admits its share of the rates on its own (shared_fallback.go), and tells Redis
// afterwards how much that was. So does a request whose lease is late: a slow Redis is no reason to refuse. It never admits
// everyone.
//
// A bucket in Redis holds its burst, or a tenth of a second's worth if that is more: replicas that come for their tokens
// ten times a second would otherwise find a bucket that has run over, and admit less than the rate. It starts with its burst.
type Shared struct {
	classes []SharedClass
	limits  []shared // by class
	all     shared
	o       SharedOptions
	id      string // of this replica
	seed    maphash.Seed
	base    time.Time // of clock
	leases  *leases
	conn    atomic.Pointer[conn]

	calls   chan struct{} // under way
	kick    chan struct{}
	stop    context.Context
	end     context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex // held to switch over, and to begin another round
	round   *call      // what waits for tokens of the global bucket
	trips   uint       // switches to the fallback soon after one another
	healthy time.Duration
	retry   time.Duration // when to ask Redis again
	closed  bool
	broken  bool // a goroutine has ended before its time

	fallback atomic.Pointer[fallback]
	down     atomic.Bool
	replicas atomic.Int64

	asked, granted, returned, failed atomic.Uint64

	// These are written by every request.
	_       [64]byte
	pool    atomic.Int64 // tokens leased of the global bucket
	_       [64]byte
	low     atomic.Int64 // with fewer than these in the pool it is time to ask for more
	kicked  atomic.Bool
	denied  atomic.Bool  // Redis has no more, until
	until   atomic.Int64 // by clock
	left    atomic.Int64 // in Redis, when last heard of,
	heard   atomic.Int64 // by clock
	news    atomic.Bool  // the fallback has not looked at left since
	waiting atomic.Int64 // tokens that requests wait for
	wanted  atomic.Bool  // somebody was refused since the last call
	spent   atomic.Int64 // admitted by the fallback, not yet told to Redis,
	since   atomic.Int64 // by clock
	_       [64]byte
	dropped [scopes]atomic.Uint64
}

// A SharedClass is the limit of a route, like Class. A nil SharedClass admits everyone.
type SharedClass struct {
	shared *Shared
	fields Class // for AppendPolicy and AppendLimit
	id     uint8
}

// shared is a limit as Redis is told about it.
type shared struct {
	Rate
	most float64 // tokens that the bucket holds
	life time.Duration
}

const (
	batchTime = 100 * time.Millisecond // a batch is worth so much time
	leaseTime = time.Second            // what was not spent for so long goes back
	beatTime  = 500 * time.Millisecond // how often a replica shows itself
	aliveTime = 3 * time.Second        // who was not seen for so long is gone
	minPause  = 10 * time.Millisecond  // between two calls that find the bucket empty

	maxReplicas = 4096
	maxCalls    = 256 // at the same time

	// A key must not live for ever. One that is not used for so long is forgotten, though its bucket may not be full.
	longestLife = 30 * 24 * time.Hour
)

func newShared(r Rate) shared {
	s := shared{Rate: r, most: max(float64(r.Burst), r.PerSecond*batchTime.Seconds()), life: longestLife}
	if full := s.most / r.PerSecond; r.PerSecond > 0 && full < longestLife.Seconds()/2 {
		s.life = time.Duration(math.Ceil(full))*time.Second + 10*time.Second
	}
	return s
}

// NewShared makes a Shared. It waits for Redis for a moment, and starts without if it does not answer.
func NewShared(o SharedOptions) (*Shared, error) {
	rates := append([]Rate{o.Client}, o.Routes...)
	if err := o.check(rates); err != nil {
		return nil, err
	}
	switch {
	case len(o.Addrs) == 0:
		return nil, errors.New("cannot share limits: no address of Redis")
	case o.Timeout < 0 || o.Replicas < 0 || o.Replicas > maxReplicas:
		return nil, fmt.Errorf("cannot share limits: timeout %v, %d replicas", o.Timeout, o.Replicas)
	}
	if o.Prefix == "" {
		o.Prefix = "gw:v1:rl"
	}
	if o.Timeout == 0 {
		o.Timeout = 20 * time.Millisecond
	}
	var id [16]byte
	rand.Read(id[:])
	s := &Shared{
		o: o, id: hex.EncodeToString(id[:]), seed: maphash.MakeSeed(), base: time.Now(), all: newShared(o.Global),
		classes: make([]SharedClass, len(rates)), limits: make([]shared, len(rates)),
		kick: make(chan struct{}, 1), calls: make(chan struct{}, maxCalls), round: newCall(), healthy: math.MinInt64 / 2,
	}
	for i, r := range rates {
		s.limits[i] = newShared(r)
		s.classes[i] = SharedClass{shared: s, id: uint8(i), fields: Class{policy: policy(r, o.Global)}}
	}
	s.replicas.Store(int64(max(o.Replicas, 1)))
	s.left.Store(-1)
	s.leases = newLeases(o.MaxClients)
	s.fallback.Store(newFallback(o.Options, s.replicas.Load()))
	s.down.Store(true) // until Redis has answered
	s.stop, s.end = context.WithCancel(context.Background())

	first := make(chan struct{})
	s.running.Go(func() { s.keep(first) })
	s.running.Go(s.sweep)
	select {
	case <-first:
	case <-time.After(5 * s.o.Timeout):
	}
	return s, nil
}

// Close gives the tokens back and leaves. From then on the fallback decides.
func (s *Shared) Close() {
	if s == nil {
		return
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	s.forget()
	s.switchOver()
	s.mu.Unlock()
	s.end()
	s.running.Wait()
	s.mu.Lock()
	s.forget() // also what the last call told
	s.mu.Unlock()
	if c := s.conn.Load(); c != nil {
		c.Close()
	}
}

// guard keeps a bug in a goroutine here from ending the gateway: the fallback decides from then on.
func (s *Shared) guard() {
	e := recover()
	if e == nil {
		return
	}
	s.fault(fmt.Errorf("BUG: %v", e))
	s.mu.Lock()
	s.broken = true
	s.switchOver()
	s.mu.Unlock()
}

// Class returns the limit of Options.Client for 0, of Options.Routes[i-1] for i.
func (s *Shared) Class(i int) *SharedClass {
	if s == nil {
		return nil
	}
	return &s.classes[i]
}

// Admit spends cost tokens of a client in class 0.
func (s *Shared) Admit(now time.Duration, client []byte, cost int) Verdict {
	return s.Class(0).Admit(now, client, cost)
}

// AppendPolicy is that of Class.
func (c *SharedClass) AppendPolicy(dst []byte) []byte {
	if c == nil {
		return dst
	}
	return c.fields.AppendPolicy(dst)
}

// AppendLimit is that of Class.
func (c *SharedClass) AppendLimit(dst []byte, v Verdict) []byte {
	if c == nil {
		return dst
	}
	return c.fields.AppendLimit(dst, v)
}

// Admit is that of Class. It may wait for Redis: for Timeout at most, and only if neither tokens are here nor it is known
// that there are none. What remains is what this replica knows of.
func (c *SharedClass) Admit(now time.Duration, client []byte, cost int) Verdict {
	if c == nil {
		return Verdict{OK: true}
	}
	s := c.shared
	cost = max(cost, 0)
	r := request{s: s, now: now, class: c.id, hash: s.hash(client, c.id), client: client, cost: int64(cost)}
	v := r.admit()
	if !v.OK {
		if later, passed := s.o.later(now, v.Wait); passed {
			r.now = later
			v = r.admit()
		}
	}
	if !v.OK {
		s.dropped[v.Scope].Add(1)
	}
	return v
}

func (r *request) admit() Verdict {
	r.local = false
	own := r.takeOwn()
	if !own.ok {
		return refusal(Client, own)
	}
	if all := r.takeAll(); !all.ok {
		r.refundOwn()
		return refusal(Global, all)
	}
	return Verdict{OK: true, Remaining: own.remaining, Wait: own.wait}
}

// Refund gives back tokens that Admit spent and nobody needed. While Redis is away they are dropped.
func (c *SharedClass) Refund(client []byte, cost int) {
	if c == nil || cost <= 0 || c.shared.down.Load() {
		return
	}
	s := c.shared
	if s.leases.refund(s.hash(client, c.id), int64(cost)) {
		s.pool.Add(int64(cost))
	}
}

func (s *Shared) hash(client []byte, class uint8) uint64 {
	return maphash.Bytes(s.seed, client) ^ uint64(class)<<56
}

// clock is the time of the goroutines here. Requests that find tokens do not look at it.
func (s *Shared) clock() time.Duration { return time.Since(s.base) }

// A request is one call of Admit.
type request struct {
	s      *Shared
	now    time.Duration // the caller's
	hash   uint64
	client []byte
	cost   int64
	began  time.Duration // by clock, when it had to wait first
	waited bool
	class  uint8

	local bool // the client's token is of the fallback,
	slot  int  // in this slot
	from  *fallback
}

// budget is how long the request may still be held up.
func (r *request) budget() time.Duration {
	if !r.waited {
		r.waited, r.began = true, r.s.clock()
	}
	return r.s.o.Timeout - (r.s.clock() - r.began)
}

// takeAll spends tokens of the global bucket.
func (r *request) takeAll() state {
	s := r.s
	if r.cost > s.all.Burst {
		return state{wait: Never}
	}
	for late := false; ; late = !r.waitAll() {
		if s.spendPool(r.cost) {
			return state{ok: true}
		}
		if late || s.down.Load() {
			return r.fallbackAll()
		}
		if s.denied.Load() {
			if !s.wanted.Load() {
				s.wanted.Store(true)
			}
			return s.deniedAll(r.cost)
		}
	}
}

// spendPool takes tokens that were leased, and has the next batch fetched when they run low.
func (s *Shared) spendPool(cost int64) bool {
	for {
		have := s.pool.Load()
		if have < cost {
			return false
		}
		if s.pool.CompareAndSwap(have, have-cost) {
			if have-cost < s.low.Load() {
				s.hurry()
			}
			return true
		}
	}
}

// hurry wakes the keeper, once.
func (s *Shared) hurry() {
	if s.kicked.Load() || !s.kicked.CompareAndSwap(false, true) {
		return
	}
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

func (s *Shared) deniedAll(cost int64) state {
	until, have := time.Duration(s.until.Load()), min(s.pool.Load(), cost-1)
	if until == Never || s.all.PerSecond == 0 {
		return state{remaining: have, wait: Never}
	}
	more := float64(cost-have-1) / s.all.PerSecond // Redis told when there is one
	return state{remaining: have, wait: max(until-s.clock(), 1) + time.Duration(more*float64(time.Second))}
}

// waitAll waits until the keeper has asked for tokens; it reports whether it has.
func (r *request) waitAll() bool {
	s := r.s
	budget := r.budget()
	if budget <= 0 {
		return false
	}
	s.mu.Lock()
	round := s.round
	s.mu.Unlock()
	s.waiting.Add(r.cost)
	defer s.waiting.Add(-r.cost)
	if s.pool.Load() >= r.cost || s.denied.Load() || s.down.Load() {
		return true // meanwhile
	}
	s.kicked.Store(true)
	select {
	case s.kick <- struct{}{}:
	default:
	}
	return round.wait(budget)
}

// A call is under way; others wait for it.
type call struct{ done chan struct{} }

func newCall() *call { return &call{done: make(chan struct{})} }

func (c *call) wait(most time.Duration) bool {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-c.done:
		return true
	case <-timer.C:
		return false
	}
}

// SharedStats is what metrics show.
type SharedStats struct {
	Stats
	Replicas int    // that are alive, this one included
	Asked    uint64 // calls to Redis for tokens
	Granted  uint64 // tokens leased
	Returned uint64 // tokens that went back
	Failed   uint64 // calls that failed, came too late, or were answered with nonsense
	Fallback bool   // Redis is away
}

// Stats is that of Limiter. Clients are those with a lease: whoever was here in the last second or two. Overflow counts those
// whose lease had to go for another's.
func (s *Shared) Stats(time.Duration) SharedStats {
	if s == nil {
		return SharedStats{}
	}
	clients, bytes := s.leases.size()
	f := s.fallback.Load()
	return SharedStats{
		Stats: Stats{
			Clients: clients, Bytes: bytes + f.clients.size(), Overflow: s.leases.evicted.Load() + f.clients.evicted.Load(),
			DroppedClient: s.dropped[Client].Load(), DroppedGlobal: s.dropped[Global].Load(),
		},
		Replicas: int(s.replicas.Load()), Asked: s.asked.Load(), Granted: s.granted.Load(), Returned: s.returned.Load(),
		Failed: s.failed.Load(), Fallback: s.down.Load(),
	}
}
