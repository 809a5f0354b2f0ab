package proxy

import (
	"time"

	"aigateway/gateway/wire"
)

// A Request is what is asked of an upstream. Slices are borrowed until Forward returns.
type Request struct {
	Head        *wire.RequestHead
	Target      []byte // as the upstream gets it
	RequestID   []byte
	TraceParent []byte
	TraceStates [][]byte
	Lines       []byte // CRLF after each, in place of those of Head that travel on; nil: those
	Peer        []byte // the client's address as text
	Secure      bool   // the client came over TLS
	Trusted     bool   // the peer may speak for a client: its X-Forwarded fields are continued
	ClientKey   []byte // who asks, for a pool that hashes by client
	Pool        *Pool
	Fallback    *Pool // asked when Pool has nobody who takes the request; may be nil
}

// A Result is what became of a request. Forward sets it, and Receive adds to its times.
type Result struct {
	Status       int           // of the response passed on or taken, 0 if none
	Upstream     *Upstream     // the last one asked
	Queued       bool          // it had to wait for a place at an upstream
	Retried      Retry         // why this request was sent again, the last time
	RetryAfter   time.Duration // with NoUpstream and Busy: when there may be a place; 0 if nobody knows
	HeadAt       time.Duration // when the head of the response was there, as wire.Now; 0 if it never was
	UpstreamTime time.Duration // of all attempts together, and of waiting for a place
	QueueTime    time.Duration // waiting for a place
	ClientTime   time.Duration // waiting for the request's body
}

// An Exchange is one request on its way up and its response on the way down. The caller owns it, fills the
// first part, calls [Proxy.Forward] and reads the Result; it may be reused after [Exchange.Reset].
type Exchange struct {
	Request
	Client *wire.ClientConn // nil: nobody in particular waits, and Taker takes every response
	Taker  Taker            // nil: every response goes to Client
	Fields []byte           // lines to add to the response, CRLF after each; x keeps the memory

	Tap   Tap           // nil: nobody looks
	Began time.Duration // when the request did, as wire.Now, for a Server-Timing field; 0: no such field

	Result

	attempt       // the one under way, or the last one
	taken   bool  // Taker has the response, and Receive is still to come
	length  int64 // of the response's body, if it is taken
	tapped  bool  // Tap sees the body of the response
	failing bool  // a 503 is not the last word: Fallback may be asked
	watched wire.Watched
	head    []byte       // scratch: a head being written
	hold    hold         // the request's body, or the first part of it
	large   *wire.Buffer // the body of a response that does not fit into that of the attempt
	tried   []*Upstream  // by this request, in vain
	pump    *pump        // sends a body that is not whole; nil if none
	hedge   *hedge       // an attempt beside this one; nil if none
}

// An Outcome is what [Proxy.Forward] has come to: Relayed, Taken, or a [Fault].
type Outcome uint8

// The good outcomes. The numbers of all others are those of their faults.
const (
	Relayed Outcome = Outcome(None) // the client has the whole response
	Taken   Outcome = 255           // the Taker has taken the response, whose body is to be read by [Proxy.Receive]
)

// Fault is why the response has neither been relayed nor taken; None if it has.
func (o Outcome) Fault() Fault {
	if o == Taken {
		return None
	}
	return Fault(o)
}

// A Taker may take an answer that is not for one client alone.
type Taker interface {
	wire.Stayer

	// Take is asked when the head of an answer is there, with the length of the body that follows: bytes,
	// wire.ChunkedBody or wire.UntilClose. If it says yes, Forward returns Taken, and the body is the caller's to
	// read by [Proxy.Receive], also in another goroutine. The head is borrowed. Take may add to x.Fields.
	Take(head *wire.ResponseHead, length int64) bool
}

// Reset readies x for another request; it keeps its scratch memory.
func (x *Exchange) Reset() {
	x.watched.Reset()
	*x = Exchange{Fields: x.Fields[:0], attempt: attempt{response: x.response}, head: x.head[:0], tried: x.tried[:0], hold: hold{more: x.hold.more[:0]}}
}

// Gone tells whether the client left while the request was on its way.
func (x *Exchange) Gone() bool { return x.watched.Gone() }

// repeatable tells whether the request may be sent again after an upstream has seen it, and can be.
func (x *Exchange) repeatable() bool { return x.hold.whole && idempotent(x.Head.Method) }

// free gives the buffers back.
func (x *Exchange) free() {
	x.hold.release()
	x.attempt.free()
	if x.large != nil {
		x.large.Put()
		x.large = nil
	}
}
