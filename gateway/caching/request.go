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

// A Request is one request's business with the cache, part of its caller's state and reused with it.
type Request struct {
	// Set by the caller, once.
	Client Client
	Head   *wire.RequestHead

	// Set by the caller, before Serve.
	Rule    *Rule
	Conn    *wire.ClientConn
	Origin  cache.Origin  // whom the client meant to ask, as the upstream will be told
	Began   time.Duration // as wire.Now
	Asked   Asked
	Forward *proxy.Exchange // another one once a fill has taken it over

	// Set by Serve.
	Status int           // of the reply; 0: there was none
	Fault  proxy.Fault   // why there is no whole reply
	Waited time.Duration // for another request's fetch, or for a local response

	SavedTokens int64 // of a model's answer that it did not have to make again

	caching  *Caching
	reader   reader
	request  cache.Request
	response cache.Response
	outcome  string // X-Cache, as far as it is known; "": the cache has no part in the request
	status   cache.CacheStatus
	scratch  []byte

	// lookup
	text    []byte // of the key: that of the URL, and behind it that of the variant
	url     int    // length of the first part
	names   []byte // of the fields that tell the URL's variants apart; empty: it has none
	listed  bool   // the URL has more responses than one for requests like this one
	primary cache.Key
	key     cache.Key   // primary, or that of the variant
	ended   uint32      // as Flights.Ended, from before what is stored was looked at
	stamp   cache.Stamp // of primary, from before what is stored was looked at and before the fetch
	buffer  *wire.Buffer
	full    []byte      // free room, and behind it the record that was found, in buffer if it fits
	stored  cache.Entry // that record

	unsuitable bool // what is stored is not for this client

	post  *posting // of a POST to a model, or one before
	posts bool     // it is one

	// fetch
	phase   phase
	flight  *Flight
	waiter  *Waiter
	watched wire.Watched
	own     atomic.Bool // the response on its way is the client's own: its end is the client's
	lines   []byte      // of the request, if they are not the client's; never nil then
	sent    int64       // when the request was, in Unix milliseconds
	ready   bool        // Forward is prepared
	fill    *fill       // the response that was taken
	reads   bool        // and its body is still to come, to this goroutine
	pending []byte      // the head of the reply, which goes out with the first piece
	length  int64       // of the body as the client gets it
	owed    []byte      // what the client did not take at once, in buffer
}

// A phase is how far a request that leads a flight has come. Steps follow this order; a wrong one is a bug.
type phase uint8

const (
	notLeading phase = iota
	asking           // the flight waits for a response
	taken            // there is one for the cache; the flight does not know it yet
	settled          // the flight knows how the fetch ended
)

// enter goes on to a phase.
func (r *Request) enter(p phase) {
	ok := false
	switch p {
	case notLeading:
		ok = r.phase == settled
	case asking: // for the first time, or once more, without validators
		ok = r.phase == notLeading || r.phase == taken
	case taken:
		ok = r.phase == asking
	case settled:
		ok = r.phase == asking || r.phase == taken
	}
	if !ok {
		panic("BUG: a fetch takes a step out of its order")
	}
	r.phase = p
}

// The values of X-Cache.
const (
	outcomeHit         = "HIT"
	outcomeMiss        = "MISS"
	outcomeStale       = "STALE"
	outcomeRevalidated = "REVALIDATED"
	outcomeBypass      = "BYPASS"
)

// Reset readies r for another request; it keeps its memory, and what the caller has set once.
func (r *Request) Reset() {
	if r.buffer != nil {
		r.buffer.Put()
		r.buffer = nil
	}
	r.watched.Reset()
	r.Rule, r.Conn, r.Origin = nil, nil, cache.Origin{}
	r.Status, r.Fault, r.Waited, r.SavedTokens = 0, proxy.None, 0, 0
	r.reader, r.outcome, r.status = nil, "", cache.CacheStatus{}
	r.names, r.full, r.stored = r.names[:0], nil, cache.Entry{}
	r.unsuitable, r.listed, r.ready = false, false, false
	r.reads, r.pending, r.owed = false, nil, nil
	if r.post != nil {
		r.post.reset(r.caching.flights)
	}
	r.Asked, r.posts = Asked{}, false
	r.phase, r.flight = notLeading, nil
	if r.fill != nil {
		r.fill.put()
		r.fill = nil
	}
	r.own.Store(false)
}

// Outcome is the value of X-Cache, "" if the cache had no part in the request.
func (r *Request) Outcome() string { return r.outcome }

// Collapsed tells whether the request waited for another one's fetch.
func (r *Request) Collapsed() bool { return r.status.Collapsed }

// Abandon ends what a panic has left.
func (r *Request) Abandon() {
	if r.caching != nil {
		r.caching.proxy.Unwatch(&r.watched)
	}
}

// AppendOutcome appends what the cache has to say about the reply; nothing if it had no part in it.
func (r *Request) AppendOutcome(dst []byte) []byte {
	if r.outcome == "" {
		return dst
	}
	dst = wire.AppendField(dst, "X-Cache: ", r.outcome)
	dst = append(dst, "Cache-Status: "...)
	return append(cache.AppendCacheStatus(dst, r.status), "\r\n"...)
}

// appendKey makes the text that of a target's key.
func (r *Request) appendKey(target []byte) {
	if r.posts {
		r.text = r.Rule.Fields.AppendTo(r.request.AppendPostKey(r.text[:0], r.Origin, target, &r.post.key), r.Head)
		return
	}
	r.text = r.Rule.Fields.AppendTo(cache.AppendKey(r.text[:0], r.Origin, target), r.Head)
}

// urlText and variantText are the two parts of the key's text.
func (r *Request) urlText() []byte     { return r.text[:r.url] }
func (r *Request) variantText() []byte { return r.text[r.url:] }

// vary makes the key that of the request's variant.
func (r *Request) vary() {
	r.text = cache.AppendVariant(r.text[:r.url], r.names, r.Head, &r.request)
	r.key = cache.Hash(r.text)
}

// renewStamp takes a stamp of now. What is stored is of no use any more if something was done to it since the last one.
func (r *Request) renewStamp() {
	now := r.caching.store.Stamp(r.primary)
	if !r.caching.store.Valid(r.stamp) {
		r.stored = cache.Entry{}
	}
	r.stamp = now
}

// validators is what is stored for the request if the upstream can be asked whether it still holds.
func (r *Request) validators() *cache.Meta {
	if r.stored.Status == 0 || r.stored.Flags&cache.Varies != 0 || len(r.stored.ETag) == 0 && r.stored.LastModified == 0 {
		return nil
	}
	return &r.stored.Meta
}

// mayServeOnError tells whether what is stored may be the reply although it is stale, because the upstream fails.
func (r *Request) mayServeOnError() bool {
	return r.stored.Status != 0 && r.stored.Flags&cache.Varies == 0 && r.caching.store.Valid(r.stamp) &&
		cache.MayServeOnError(&r.stored.Meta, &r.request, time.Now().UnixMilli())
}

// recordRoom is kept free before a record: the lines that are new with every reply go there.
const recordRoom = 1024

// RecordOverhead is what a record may need besides its body and head, in bytes.
const RecordOverhead = recordRoom

// A reader is whom a fetch is for: the client that asks or, behind a stale reply, only the cache.
type reader interface {
	prepare(*proxy.Exchange)
	owns() bool           // a response that others must not get goes to the reader
	readRecord(now int64) // what is in Request.full
	readFlight(f *Flight) // what it has, as it comes
}

// A fill is a response on its way into the cache and to those who wait for it. It outlives the request that led, if it has a goroutine of
// its own, and is used again.
type fill struct {
	caching  *Caching
	start    func()             // receiveApart, bound once
	sink     func([]byte) error // take, likewise
	gathers  func([]byte) error // gather
	relays   func([]byte) error // relay
	drops    func([]byte) error // drop
	reader   *Request           // who receives the response for its client as well; nil: nobody
	forward  *proxy.Exchange
	flight   *Flight
	next     step // what is done with it
	response Response
	primary  cache.Key
	key      cache.Key
	stamp    cache.Stamp // of primary, from before the request went out
	own      cache.Stamp // of key
	keeps    bool        // the response may be stored
	marked   bool        // the key, because the body is too large
	posts    bool        // the response is a model's
	answer   answer      // which is this, then
	sole     bool        // under the URL's key: no other one is known for the URL, although others would get another
}

// A step of a request that leads a flight does its part and names the next one; nil: it was the last. After Varnish's
// fetch, which is steps of this kind (cache_fetch.c).
//
//	ask ──► store          a response for all: shared and stored
//	    ├─► freshen        a 304: what is stored is good again
//	    ├─► replace        a failed response, and what is stored may stand in for it: serveOnError
//	    ├─► serveOnError   a failure without a response, likewise
//	    ├─► askAgain       a 304 about something else: once more, without validators
//	    ├─► discard        a response for a client that is not there
//	    └─► (none)         it has gone to the client, or there is a fault
type step func(*Request) step

// Options are what New needs.
type Options struct {
	Store    *cache.Store
	MaxBody  int64 // bytes; a longer body is not kept
	Memory   int64 // bytes that all bodies on their way may take
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
	items     itemFlights
	long      [1024]atomic.Bool // by a part of the key: a record did not fit a large buffer
	refreshes sync.Pool
	fills     sync.Pool
	exchanges sync.Pool      // the proxy's, of requests whose own has gone with a fill
	behind    sync.WaitGroup // what goes on behind requests: bodies on their way into the cache, refreshes
}

// A Rule is what a route does with responses.
type Rule struct {
	Policy cache.Policy
	Fields *cache.Fields // what the operator says about request fields; nil: nothing
	Post   *PostRule     // what is done with models' answers to POST; nil: nothing
	Shared bool          // what was made for one tenant is for all
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
