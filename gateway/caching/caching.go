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
	"aigateway/gateway/cache"
	"aigateway/gateway/proxy"
	"aigateway/gateway/wire"
	"time"
)

// New makes the step; nil, which is off, without a store. The caller closes the store, after [Caching.Wait].
func New(o Options) *Caching {
	if o.Store == nil {
		return nil
	}
	c := &Caching{options: o, store: o.Store, proxy: o.Proxy, metrics: o.Metrics, flights: NewFlights(o.MaxBody, o.Memory)}
	c.refreshes.New = func() any { return newRefresh(c) }
	c.exchanges.New = func() any { return new(proxy.Exchange) }
	c.fills.New = func() any {
		l := &fill{caching: c}
		l.start, l.sink, l.gathers, l.relays, l.drops = l.receiveApart, l.take, l.gather, l.relay, l.drop
		return l
	}
	return c
}

// Wait waits for what goes on behind requests.
func (c *Caching) Wait() {
	if c != nil {
		c.behind.Wait()
	}
}

// Taken is how many bytes of bodies are under way to those who wait for them and into the cache.
func (c *Caching) Taken() int64 {
	if c == nil {
		return 0
	}
	return c.flights.Taken()
}

// Idle tells whether nothing is being fetched.
func (c *Caching) Idle() bool { return c.flights.Idle() && c.items.under.Load() == 0 }

// HitForMiss tells whether requests for a key do not wait for each other at present, because its responses were not for all.
func (c *Caching) HitForMiss(k cache.Key) bool { return c.flights.HitForMiss(k, wire.Now()) }

// Serve replies from the cache, or with what it fetches for the cache.
func (c *Caching) Serve(r *Request) Outcome {
	r.caching, r.reader = c, (*client)(r)
	if r.Rule.Post != nil && string(r.Head.Method) == "POST" {
		return c.servePost(r)
	}
	r.request.Read(r.Head, r.Origin, r.Rule.Fields)
	if why := r.request.Bypass(); why != cache.None {
		r.bypass(why)
		return Passed
	}
	now := time.Now().UnixMilli()
	if tier, verdict := r.lookup(now); tier != cache.Nowhere && verdict.Serves() {
		r.hit(tier, verdict, now)
		return Done
	}
	return r.miss()
}

// hit replies with what is stored.
func (r *Request) hit(tier cache.Tier, verdict cache.Verdict, now int64) {
	r.outcome = outcomeHit
	if verdict != cache.Fresh {
		r.outcome = outcomeStale
	}
	r.status = cache.CacheStatus{TTL: r.stored.TTL(now), Timed: true}
	r.caching.metrics.Hit(int(tier - cache.Memory))
	if r.posts {
		r.replay(now)
		return
	}
	if verdict == cache.ServeWhileRevalidate {
		r.refresh()
	}
	r.reply(now)
}
