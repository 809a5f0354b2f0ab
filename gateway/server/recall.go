package server

import (
	"bytes"
	"slices"
	"sync/atomic"
	"time"

	"aigateway/gateway/cache"
	"aigateway/gateway/proxy"
	"aigateway/gateway/wire"
)

// A caching is what a route does with answers. Nil is off.
type caching struct {
	policy cache.Policy
	wait   time.Duration // for another request's fetch: as long as for an upstream
}

// cached is a request's business with the cache, part of its exchange.
type cached struct {
	request  cache.Request
	response cache.Response

	text    []byte // of the key: that of the URL, and behind it that of the variant
	url     int    // length of the first part
	names   []byte // of the fields that tell the URL's variants apart; empty: it has none
	primary cache.Key
	key     cache.Key // primary, or that of the variant

	buffer *wire.Buffer
	full   []byte      // free room, and behind it the record that find found, in buffer if it fits
	stored cache.Entry // that record

	outcome string // X-Cache, as far as it is known; "": the cache has no part in the request
	status  cache.CacheStatus

	// of one that fetches, or waits for another one's fetch
	flight  *cache.Flight
	seat    *cache.Waiter
	watched wire.Watched
	left    atomic.Bool // the client has, and the fetch goes on for others
	own     atomic.Bool // the answer that is on its way is the client's own
	lines   []byte      // of the request, if they are not the client's; never nil then
	ended   uint32      // as Flights.Ended, from before what is stored was looked at
	stamp   cache.Stamp // of primary, from before what is stored was looked at and before the fetch
	sent    int64       // when the request was, in Unix milliseconds
	landing *landing    // the answer that was taken
	settled bool        // the flight knows how the fetch ended
}

// recordRoom is kept free before a record: the lines that are new with every reply go there.
const recordRoom = 1024

// The values of X-Cache.
const (
	outcomeHit         = "HIT"
	outcomeMiss        = "MISS"
	outcomeStale       = "STALE"
	outcomeRevalidated = "REVALIDATED"
	outcomeBypass      = "BYPASS"
)

func (c *cached) reset() {
	if c.buffer != nil {
		c.buffer.Put()
		c.buffer = nil
	}
	c.watched.Reset()
	c.names, c.full, c.stored, c.outcome, c.status = c.names[:0], nil, cache.Entry{}, "", cache.CacheStatus{}
	c.flight, c.landing, c.settled = nil, nil, false
	c.left.Store(false)
	c.own.Store(false)
}

// urlText and variantText are the two parts of the key's text.
func (c *cached) urlText() []byte     { return c.text[:c.url] }
func (c *cached) variantText() []byte { return c.text[c.url:] }

// recall answers from the cache, or from what it fetches for the cache. It leaves a request in which the cache has no
// part to the next step.
func (g *Gateway) recall(x *exchange) (done bool) {
	if x.route.caching == nil || x.head.WebSocket { // what comes behind a 101 is no answer
		return false
	}
	c := &x.cached
	origin := g.origin(x)
	c.request.Read(&x.head, origin)
	if why := c.request.Bypass(); why != cache.None {
		g.passBy(x, why)
		return false
	}
	c.text = cache.AppendKey(c.text[:0], origin, x.head.Target)
	c.url = len(c.text)
	c.primary = cache.Hash(c.text)
	c.key = c.primary
	c.stamp, c.ended = g.store.Stamp(c.primary), g.flights.Ended(c.primary)
	now := time.Now().UnixMilli()
	tier := g.find(x, now)
	if tier == cache.Nowhere {
		g.miss(x, cache.None)
		return g.fill(x, false)
	}
	verdict, why := cache.Reuse(&c.stored.Meta, &c.request, now)
	if verdict.Serves() {
		g.hit(x, tier, verdict, now)
		return true
	}
	g.miss(x, why)
	if verdict == cache.Unsuitable {
		c.stored = cache.Entry{} // for this client nothing is
	}
	return g.fill(x, verdict == cache.Unsuitable)
}

// passBy notes that the cache has no part in a request, and why.
func (g *Gateway) passBy(x *exchange, why cache.Reason) {
	x.cached.outcome = outcomeBypass
	x.cached.status = cache.CacheStatus{Forward: why.Forward(), Detail: why}
	if why != cache.ForMethod {
		g.cacheMetrics.Miss(int(why))
		return
	}
	x.cached.status.Detail = cache.None // fwd=method says it all
	if cache.Invalidates(x.head.Method, 200) {
		x.forward.Taker = (*invalidation)(x)
	}
}

// hit answers with what is stored.
func (g *Gateway) hit(x *exchange, tier cache.Tier, verdict cache.Verdict, now int64) {
	c := &x.cached
	c.outcome = outcomeHit
	if verdict != cache.Fresh {
		c.outcome = outcomeStale
	}
	c.status = cache.CacheStatus{TTL: c.stored.TTL(now), Timed: true}
	g.cacheMetrics.Hit(int(tier) - int(cache.Memory))
	if verdict == cache.ServeWhileRevalidate {
		g.refresh(x)
	}
	g.serve(x, now)
}

// miss notes why what is stored, if anything, is not the answer.
func (g *Gateway) miss(x *exchange, why cache.Reason) {
	c := &x.cached
	c.outcome = outcomeMiss
	c.status = cache.CacheStatus{Forward: why.Forward()}
	switch {
	case why == cache.ForAuthorization, why == cache.ForCredentials, why == cache.ForEventStream:
		c.status.Detail = why
	case why != cache.None:
	case len(c.names) > 0:
		c.status.Forward = cache.ForwardedVaryMiss
	default:
		c.status.Forward = cache.ForwardedURIMiss
	}
	g.cacheMetrics.Miss(int(why))
}

// find looks for the answer to the request in the tiers. What it finds is in c.stored, which is empty if it is another
// one's, and c.key is its key, or the one under which an answer would be found.
func (g *Gateway) find(x *exchange, now int64) cache.Tier {
	tier := g.seek(x, now)
	if tier == cache.Nowhere {
		x.cached.stored = cache.Entry{}
	}
	return tier
}

func (g *Gateway) seek(x *exchange, now int64) cache.Tier {
	c := &x.cached
	tier := g.look(x, c.primary, now)
	if tier == cache.Nowhere || !bytes.Equal(c.stored.Key, c.urlText()) || len(c.stored.Variant) > 0 {
		return cache.Nowhere
	}
	if c.stored.Flags&cache.Varies == 0 {
		return tier
	}
	list, ok := cache.ParseVariants(c.stored.Body)
	if !ok {
		return cache.Nowhere
	}
	c.names = append(c.names[:0], list.Names...)
	c.vary(&x.head)
	if !list.Holds(c.key) {
		return cache.Nowhere
	}
	tier = g.look(x, c.key, now)
	if tier == cache.Nowhere || !bytes.Equal(c.stored.Key, c.urlText()) || !bytes.Equal(c.stored.Variant, c.variantText()) {
		return cache.Nowhere
	}
	return tier
}

// vary makes the key that of the request's variant.
func (c *cached) vary(head *wire.RequestHead) {
	c.text = cache.AppendVariant(c.text[:c.url], c.names, head)
	c.key = cache.Hash(c.text)
}

// look reads one record.
func (g *Gateway) look(x *exchange, k cache.Key, now int64) (tier cache.Tier) {
	c := &x.cached
	c.stored = cache.Entry{}
	size := wire.LargeBuffer
	long := &g.long[int(k[2])<<2|int(k[3])&3]
	if long.Load() {
		size = wire.HugeBuffer
	}
	if c.buffer != nil && len(c.buffer.B) < size {
		c.buffer.Put()
		c.buffer = nil
	}
	if c.buffer == nil {
		c.buffer = wire.GetBuffer(size)
	}
	c.full, tier = g.store.Get(c.buffer.B[:recordRoom], k, now)
	if tier == cache.Nowhere {
		return tier
	}
	if len(c.full) > size {
		long.Store(true) // it did not fit: the next one who looks brings a larger buffer
	}
	var ok bool
	if c.stored, ok = cache.Decode(c.full[recordRoom:]); !ok || c.stored.Flags&cache.Varies == 0 && !hasLength(c.stored.Head) {
		c.stored = cache.Entry{}
		return cache.Nowhere
	}
	return tier
}

// origin is whom the client meant to ask, as the upstream will be told.
func (g *Gateway) origin(x *exchange) cache.Origin {
	o := cache.Origin{Secure: x.conn.Secure(), Host: x.head.Host}
	if len(x.head.ForwardedProto) == 0 && len(x.head.ForwardedHost) == 0 || !x.plan.trusts(x.conn.Peer()) {
		return o
	}
	if len(x.head.ForwardedProto) > 0 {
		o.Secure = bytes.EqualFold(x.head.ForwardedProto, https)
	}
	if len(x.head.ForwardedHost) > 0 {
		o.Host = x.head.ForwardedHost
	}
	return o
}

var https = []byte("https")

// fill has an upstream answer, for the client and for the cache.
func (g *Gateway) fill(x *exchange, alone bool) (done bool) {
	c := &x.cached
	if c.request.OnlyIfCached { // RFC 9111 §5.2.1.7
		g.replyFault(x, &notCached)
		return true
	}
	if c.request.Head || c.request.Ranged() { // such an answer is for nobody else, and not to be stored
		if c.stored.Status != 0 && c.stored.Flags&cache.Varies == 0 && !alone {
			c.stamp, c.sent = g.store.Stamp(c.key), time.Now().UnixMilli()
			x.forward.Taker = (*check)(x)
		}
		return false
	}
	// What others may wait for is only what anybody may have asked for.
	alone = alone || c.request.Authorization || c.request.Credentials || c.request.LastEvent || c.request.NoCache ||
		g.flights.Marked(c.primary, x.began)
	g.collapse(x, alone)
	return true
}

// collapse takes part in the fetch of the key: it leads, or waits for what the leader finds.
func (g *Gateway) collapse(x *exchange, alone bool) {
	c := &x.cached
	if c.seat == nil {
		c.seat = cache.NewWaiter()
	}
	for moved := false; ; {
		if alone {
			g.lead(x, g.flights.Alone(c.seat))
			return
		}
		g.renewStamp(c)
		f, leads := g.flights.Join(c.key, c.stamp, c.seat)
		if leads {
			if !g.foundMeanwhile(x, f) {
				g.lead(x, f)
			}
			return
		}
		switch g.follow(x, f) {
		case toLead:
			g.lead(x, f)
			return
		case answered:
			return
		case elsewhere: // its variant has a flight of its own, or will have
			alone, moved = moved, true
		case byItself:
			alone = true
		}
	}
}

// renewStamp takes a stamp of now. What is stored is of no use any more if something was done to it since the last one.
func (g *Gateway) renewStamp(c *cached) {
	now := g.store.Stamp(c.primary)
	if !g.store.Valid(c.stamp) {
		c.stored = cache.Entry{}
	}
	c.stamp = now
}

// foundMeanwhile answers from the cache a request that leads, if another one's fetch ended after this one had looked
// and before it took its seat.
func (g *Gateway) foundMeanwhile(x *exchange, f *cache.Flight) bool {
	c := &x.cached
	if g.flights.Ended(c.primary) == c.ended || !g.foundFresh(x) {
		return false
	}
	c.share(f, false)
	f.Leave(c.seat)
	c.status.Collapsed = true
	g.cacheMetrics.Coalesced()
	g.serve(x, time.Now().UnixMilli())
	return true
}

// foundFresh looks once more.
func (g *Gateway) foundFresh(x *exchange) bool {
	now := time.Now().UnixMilli()
	if g.find(x, now) == cache.Nowhere {
		return false
	}
	verdict, _ := cache.Reuse(&x.cached.stored.Meta, &x.cached.request, now)
	return verdict == cache.Fresh
}

// share shows what is stored to those who wait in a flight.
func (c *cached) share(f *cache.Flight, standIn bool) {
	record := slices.Clone(c.full[recordRoom:])
	e, _ := cache.Decode(record)
	f.Land(cache.Answer{
		Meta: e.Meta, StandIn: standIn, Names: slices.Clone(c.names), Variant: e.Variant, Lines: storedLines(&e),
		Length: int64(len(e.Body)), Body: e.Body,
	})
	f.End(record)
}

// next is what a request does after it has waited for another one's fetch.
type next uint8

const (
	answered  next = iota // nothing: it has its answer, or its client has left
	toLead                // fetch, for all who wait
	elsewhere             // wait for the fetch of its own variant
	byItself              // fetch alone
)

// follow waits for what the leader of a flight finds.
func (g *Gateway) follow(x *exchange, f *cache.Flight) next {
	c := &x.cached
	g.proxy.Watch(&c.watched, x.conn, c.seat)
	defer g.proxy.Unwatch(&c.watched)
	c.status.Collapsed = true
	began := wire.Now()
	outcome := f.Wait(c.seat, x.route.caching.wait)
	x.forward.UpstreamTime += wire.Now() - began // it is the upstream that makes it wait
	switch outcome {
	case cache.Lead:
		c.status.Collapsed = false
		return toLead
	case cache.Alone:
		f.Leave(c.seat)
		c.status.Collapsed = false
		return byItself
	case cache.Left:
		g.left(x)
		return answered
	case cache.Late:
		x.fault = proxy.TimeoutResponse
		g.replyFault(x, ofProxyFault(proxy.TimeoutResponse))
		return answered
	case cache.Failed:
		f.Leave(c.seat)
		if x.fault = proxy.Fault(f.Fault()); x.fault == proxy.None { // there were panics
			g.replyFault(x, &internal)
			return answered
		}
		g.replyFault(x, ofProxyFault(x.fault))
		return answered
	}
	defer f.Leave(c.seat)
	a := f.Answer()
	if next := g.fits(x, &a); next != answered {
		c.status.Collapsed = false
		return next
	}
	g.cacheMetrics.Coalesced()
	g.serveArriving(x, f)
	return answered
}

// fits tells whether the answer of a flight is one for this request, too.
func (g *Gateway) fits(x *exchange, a *cache.Answer) next {
	c := &x.cached
	if len(a.Names) > 0 {
		c.names = append(c.names[:0], a.Names...)
		c.vary(&x.head)
		if !bytes.Equal(c.variantText(), a.Variant) {
			return elsewhere
		}
	}
	now := time.Now().UnixMilli()
	verdict, _ := cache.Reuse(&a.Meta, &c.request, now)
	switch {
	case verdict == cache.Unsuitable:
		return byItself
	case a.StandIn:
		if !cache.MayServeOnError(&a.Meta, &c.request, now) {
			return byItself
		}
		c.outcome = outcomeStale
	case !verdict.Serves() && c.seat.Latecomer():
		return byItself // it was there before this request, which wants it validated: RFC 9111 §4
	}
	return answered
}

// left notes that the request's client has left.
func (g *Gateway) left(x *exchange) {
	x.fault = proxy.ClientGone
	x.drop()
}
