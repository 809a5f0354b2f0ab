// Package caching is the cache's step on a request's way: what is stored is the reply, and what is not is fetched once for
// all who ask.
//
// Its door is [New] and [Caching.Serve], with a [Request] that is part of the caller's state. The rules and the tiers are
// package cache's, the carrying is package proxy's; who asks, and what else stands in a reply, is the business of a [Client].
//
// A request goes one of these ways:
//
//	lookup      bypass · hit (and a refresh behind it) · miss
//	fetch       lead a flight, follow another one's, or go alone
//	ask         the steps of who leads, each of which names the next: store, freshen, serveOnError, discard or relayed
//	reply       a record, or a response as it arrives
package caching

import (
	"sync"
	"sync/atomic"
	"time"

	"aigateway/gateway/cache"
	"aigateway/gateway/proxy"
	"aigateway/gateway/telemetry"
	"aigateway/gateway/wire"
)

// Options are what New needs.
type Options struct {
	Store    *cache.Store
	MaxBody  int64 // bytes; a longer body is not kept
	Proxy    *proxy.Proxy
	Metrics  *telemetry.Cache
	Draining func() bool // whether the gateway is on its way out: nothing is refreshed then
	OnPanic  func(any)
}

// A Caching is the cache's step of one gateway.
type Caching struct {
	options   Options
	store     *cache.Store
	proxy     *proxy.Proxy
	metrics   *telemetry.Cache
	flights   *Flights
	long      [1024]atomic.Bool // by a part of the key: a record did not fit a large buffer
	refreshes sync.Pool
	behind    sync.WaitGroup // what goes on behind requests: bodies on their way into the cache, refreshes
}

// New makes the step; nil, which is off, without a store. The caller closes the store, after [Caching.Wait].
func New(o Options) *Caching {
	if o.Store == nil {
		return nil
	}
	c := &Caching{options: o, store: o.Store, proxy: o.Proxy, metrics: o.Metrics, flights: NewFlights(o.MaxBody)}
	c.refreshes.New = func() any { return newRefresh(c) }
	return c
}

// Wait waits for what goes on behind requests.
func (c *Caching) Wait() {
	if c != nil {
		c.behind.Wait()
	}
}

// Idle tells whether nothing is being fetched.
func (c *Caching) Idle() bool { return c.flights.Idle() }

// HitForMiss tells whether requests for a key do not wait for each other at present, because its responses were not for all.
func (c *Caching) HitForMiss(k cache.Key) bool { return c.flights.HitForMiss(k, wire.Now()) }

// A Rule is what a route does with responses.
type Rule struct {
	Policy cache.Policy
	Fields *cache.Fields // what the operator says about request fields; nil: nothing
	Wait   time.Duration // for another request's fetch: as long as for an upstream
	Local  func() []byte // makes the body of a JSON response without an upstream; nil: one is asked
}

// A Client is a request as its caller has it.
type Client interface {
	// Prepare tells the proxy what to send where.
	Prepare(*proxy.Exchange)

	// AppendOwn appends the lines that are new with every reply, in the caller's words.
	AppendOwn(dst []byte) []byte
}

// An Outcome is what became of a request.
type Outcome uint8

// The outcomes.
const (
	Passed    Outcome = iota // the cache has no part in it: the caller goes on
	Done                     // there was a reply, or there is Request.Fault
	NotStored                // only-if-cached was asked for, and nothing is stored that may be used: RFC 9111 §5.2.1.7
	Panicked                 // those who fetched for it did
)

// Serve replies from the cache, or with what it fetches for the cache.
func (c *Caching) Serve(r *Request) Outcome {
	r.caching, r.reader = c, (*client)(r)
	r.request.Read(r.Head, r.Origin, r.Rule.Fields)
	if why := r.request.Bypass(); why != cache.None {
		r.bypass(why)
		return Passed
	}
	if r.lookup() {
		return Done
	}
	return r.miss()
}
