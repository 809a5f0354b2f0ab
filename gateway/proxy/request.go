package proxy

import (
	"aigateway/gateway/wire"
	"bytes"
	"time"
)

// hashKey is what the pool hashes x by; 0 if it does not, or x has no such thing.
func (r *Request) hashKey(p *Pool) uint64 {
	if p.balance != hashed {
		return 0
	}
	var what []byte
	switch p.hashBy {
	case byHeader:
		what, _ = r.Head.Field(p.hashName)
	case byQuery:
		what = parameter(r.Target, p.hashName)
	case byPath:
		what, _, _ = bytes.Cut(r.Target, question)
	default:
		what = r.ClientKey
	}
	if len(what) == 0 {
		return 0
	}
	return hashOf(what)
}

// A Request is what is asked of an upstream. Slices are borrowed until Forward returns.
type Request struct {
	Head        *wire.RequestHead
	Target      []byte // as the upstream gets it
	RequestID   []byte
	TraceParent []byte
	TraceStates [][]byte
	Lines       []byte    // CRLF after each, in place of those of Head that travel on; nil: those
	Peer        []byte    // the client's address as text
	Secure      bool      // the client came over TLS
	Anonymous   bool      // what the client shows to say who it is was for the gateway: it goes no further
	Trusted     bool      // the peer may speak for a client: its X-Forwarded fields are continued
	ClientKey   []byte    // who asks, for a pool that hashes by client
	Generates   bool      // it is of OpenAI's API: an upstream may take its time of a generation for the head
	Prefix      []uint64  // chained hashes of how the prompt begins, for a pool that goes by prefix: each stands for a block and all before it
	Drop        []string  // lines of the response whose names begin so, in lower case, go no further
	Meter       Meter     // decides whether the request goes on, and sees what it costs; nil: it does
	Filter      Filter    // takes something out of an event stream; nil: nothing
	Tunnel      TunnelTap // sees what the upstream says in a tunnel, in which there are no extensions then; nil: nobody
	Identity    bool      // the response is to be read here: it must not come coded
	Turn
	Policy  Policy     // whether the request may be sent again
	Dialect Dialect    // what is spoken; nil: not known
	Targets []Target   // whom to ask, at least one: the next when no upstream of the one before takes the request
	Span    Span       // what targets replace
	Reader  BodyReader // sees the body; nil: nobody
	at      int        // the target that is asked, of Targets
	Room    int        // bytes by which what goes upstream may be longer than what came, beside the gateway's own lines
}

// A Turn is what a request goes by that has to wait for a place at an upstream.
type Turn struct {
	Tenant   []byte        // who shares: each tenant has its share; nil: the client key, or the peer's address
	Weight   int           // of its share; 0: one
	Cost     int64         // of the request: tokens that it has reserved; 0: what others cost in the mean, or all alike
	Class    Class         // X-Priority of the request may say a less urgent one
	Deadline time.Duration // until when it would wait, as wire.Now; 0: as long as the pool lets it. X-Request-Timeout-Ms may say less, and ends the waiting for a head, too
}

// timeForHead is how long an upstream may take until the head of its response is there.
func (r *Request) timeForHead(u *Upstream) time.Duration {
	if r.Generates {
		return u.timeouts.Generation
	}
	return u.timeouts.Response
}

// A Result is what became of a request. Forward sets it, and Receive adds to its times.
type Result struct {
	Status       int           // of the response passed on or taken, 0 if none
	Upstream     *Upstream     // the last one asked
	Queued       bool          // it had to wait for a place at an upstream
	Retried      Retry         // why this request was sent again, the last time
	Attempts     int           // at upstreams, without a hedge
	RetryAfter   time.Duration // with NoUpstream and Busy: when there may be a place; 0: unknown
	HeadAt       time.Duration // when the head of the response was there, as wire.Now; 0 if it never was
	UpstreamTime time.Duration // of all attempts together, and of waiting for a place
	QueueTime    time.Duration // waiting for a place
	ClientTime   time.Duration // waiting for the request's body
}
