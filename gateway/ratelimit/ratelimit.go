// Package ratelimit decides whether a request may come in.
//
// Its door is [New], which returns a [Limiter]; [Limiter.Class] is the limit of a route, [Class.Admit] spends tokens and
// tells in a [Verdict] what there is to say about it. A request spends of two token buckets: its client's, which depends
// on the class too, and the global one of all clients together. Both are one atomic word each (limit.go, bucket.go); the
// clients' lie in a table of fixed size (clients.go, enter.go).
//
// Tokens of models are in [Accounts]: a [Reservation] takes an estimate of each account that a request counts for, and settles it at
// its end (meter.go, token_lease.go); permits are for what is under way (permits.go, permit_lease.go).
//
// The package does not know what a client is (it is handed bytes), what time it is (likewise), or HTTP beyond the values of
// the fields that tell a client about its limit (fields.go).
package ratelimit

import (
	"fmt"
	"hash/maphash"
	"sync/atomic"
	"time"
)

// Options says what New is to make.
type Options struct {
	Global     Rate          // of all clients together
	Client     Rate          // of one client in class 0
	Routes     []Rate        // of one client in classes 1, 2, …: routes with a limit of their own
	MaxClients int           // how many clients the table has room for
	Cleanup    time.Duration // who was not seen for so long makes room for a newcomer; from 6 days on, only if nobody else does

	// Now is the clock that Admit's times are of. A refusal asks it once more: where many goroutines wait for few cores, one
	// may stand for seconds between reading the clock and Admit, and be refused by a time at which its tokens were not there
	// yet. If it is nil, time is what the caller says.
	Now func() time.Duration
}

// later is the time by Now if wait has passed by now since a request was refused.
func (o *Options) later(since, wait time.Duration) (now time.Duration, passed bool) {
	if o.Now == nil || wait == Never {
		return 0, false
	}
	now = o.Now()
	return now, now-since >= wait
}

// Scope tells which limit refused.
type Scope uint8

// The scopes, by name: "none", "client", "global".
const (
	None Scope = iota
	Client
	Global
	scopes
)

func (s Scope) String() string { return [scopes]string{"none", "client", "global"}[s] }

// A Verdict is the answer to one request. It tells about the bucket that refused, or the client's if none did.
type Verdict struct {
	OK        bool
	Scope     Scope // who refused; None if OK
	Remaining int64 // whole tokens left

	// Wait is, if refused, the time until the tokens asked for are there, should nobody else take them; if OK, the time
	// until Remaining grows. It is 0 for a full bucket, and Never for tokens that do not come.
	Wait time.Duration
}

// A Limiter holds the buckets. A nil Limiter admits everyone.
type Limiter struct {
	options Options
	classes []Class
	rates   []Rate // by id of a class, in the table's life: an id never stands for another rate
	clients *clients
	seed    maphash.Seed // a client cannot choose whose bucket he shares: he does not know it
	all     limit
	*hot
}

// hot is what every request writes; the padding keeps it off the cache lines of what is only read.
type hot struct {
	_       [64]byte
	global  bucket
	_       [64]byte
	dropped [scopes]atomic.Uint64
	_       [64]byte
}

// A Class is the limit of a route. A nil Class admits everyone.
type Class struct {
	limiter *Limiter
	id      uint8
	policy  []byte
}

// New makes a Limiter, the memory of all its clients included.
func New(o Options) (*Limiter, error) {
	rates := append([]Rate{o.Client}, o.Routes...)
	if err := o.check(rates); err != nil {
		return nil, err
	}
	l := &Limiter{
		options: o, rates: rates, seed: maphash.MakeSeed(), all: newLimit(o.Global), classes: make([]Class, len(rates)), hot: new(hot),
	}
	limits := make([]limit, len(rates))
	for i, r := range rates {
		limits[i] = newLimit(r)
		l.classes[i] = Class{limiter: l, id: uint8(i), policy: policy(r, o.Global)}
	}
	l.clients = newClients(o.MaxClients, o.Cleanup, limits)
	return l, nil
}

func (o Options) check(rates []Rate) error {
	if err := o.Global.check(); err != nil {
		return fmt.Errorf("all clients together: %w", err)
	}
	for i, r := range rates {
		if err := r.check(); err != nil {
			return fmt.Errorf("one client in class %d: %w", i, err)
		}
	}
	const most = maxLines * slots / slotsForTwo * 2
	switch {
	case len(rates) > maxClasses:
		return fmt.Errorf("cannot keep %d limits apart: at most %d routes may have their own", len(rates), maxClasses-1)
	case o.MaxClients < 1 || o.MaxClients > most:
		return fmt.Errorf("cannot make room for %d clients: it must be 1 to %d", o.MaxClients, most)
	case o.Cleanup <= 0:
		return fmt.Errorf("cannot forget a client after %s: the cleanup time must be positive", o.Cleanup)
	}
	return nil
}

// Class returns the limit of Options.Client for 0, of Options.Routes[i-1] for i.
func (l *Limiter) Class(i int) *Class {
	if l == nil {
		return nil
	}
	return &l.classes[i]
}

// Admit spends cost tokens of a client in class 0.
func (l *Limiter) Admit(now time.Duration, client []byte, cost int) Verdict {
	return l.Class(0).Admit(now, client, cost)
}

// Admit spends cost tokens if both the client's bucket and the global one have them; else it spends none. Now is the time
// since a moment before the first request, the same for all of them, on a monotonic clock; client is borrowed. A cost above
// the burst is never admitted, and one below 1 is free.
func (c *Class) Admit(now time.Duration, client []byte, cost int) Verdict {
	if c == nil {
		return Verdict{OK: true}
	}
	l := c.limiter
	who := l.clients.caller(maphash.Bytes(l.seed, client), c.id)
	v := l.admit(now, who, cost)
	if !v.OK {
		if later, passed := l.options.later(now, v.Wait); passed {
			v = l.admit(later, who, cost)
		}
	}
	if !v.OK {
		l.dropped[v.Scope].Add(1)
	}
	return v
}

func (l *Limiter) admit(now time.Duration, who caller, cost int) Verdict {
	// The client's bucket comes first, so that one who is over his limit takes nothing from the others.
	own, slot := l.clients.take(who, now, cost)
	if !own.ok {
		return refusal(Client, own)
	}
	if all := l.global.take(&l.all, now, cost); !all.ok {
		l.clients.refund(slot, who, cost)
		return refusal(Global, all)
	}
	return Verdict{OK: true, Remaining: own.remaining, Wait: own.wait}
}

func refusal(scope Scope, s state) Verdict {
	return Verdict{Scope: scope, Remaining: s.remaining, Wait: s.wait}
}

// Refund gives back tokens that Admit spent and nobody needed.
func (c *Class) Refund(client []byte, cost int) {
	if c == nil {
		return
	}
	l := c.limiter
	who := l.clients.caller(maphash.Bytes(l.seed, client), c.id)
	l.clients.refund(l.clients.find(who), who, cost)
	l.global.refund(&l.all, cost)
}

// Stats is what metrics show. The counts begin at New.
type Stats struct {
	Clients       int    // seen within the cleanup time and not evicted since; a client in two classes counts twice
	Bytes         int    // size of the table, which never changes
	Overflow      uint64 // newcomers that found their part of the table full and took over another client's bucket
	DroppedClient uint64 // refused with scope client
	DroppedGlobal uint64
}

// Stats reads the whole table: some milliseconds for a million clients, without holding anybody up.
func (l *Limiter) Stats(now time.Duration) Stats {
	if l == nil {
		return Stats{}
	}
	return Stats{
		Clients:       l.clients.count(now),
		Bytes:         l.clients.size(),
		Overflow:      l.clients.evicted.Load(),
		DroppedClient: l.dropped[Client].Load(),
		DroppedGlobal: l.dropped[Global].Load(),
	}
}
