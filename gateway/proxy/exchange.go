package proxy

import (
	"time"

	"aigateway/gateway/wire"
)

// An Exchange is one request on its way up and its response on the way down. The caller owns it, fills the
// first part, calls [Proxy.Forward] and reads the Result; it may be reused after [Exchange.Reset].
type Exchange struct {
	Request
	Client *wire.ClientConn // nil: no client waits, and Taker takes every response
	Taker  Taker            // nil: every response goes to Client
	Fields []byte           // lines to add to the response, CRLF after each; x keeps the memory

	Tap   Tap           // nil: none
	Began time.Duration // when the request did, as wire.Now, for a Server-Timing field; 0: no such field

	Result

	attempt          // the one under way, or the last one
	collected bool   // Collect has read the body
	taken     bool   // Taker has the response, and Receive is still to come
	filtering bool   // Filter takes something out of it
	length    int64  // of the response's body, if it is taken
	tapped    bool   // Tap sees the body of the response
	course           // of its attempts
	flow      stream // the response's body
	piece     framed // of it, that a sink has
	watched   wire.Watched
	head      []byte       // scratch: a head being written
	hold      hold         // the request's body, or the first part of it
	large     *wire.Buffer // the body of a response that does not fit into that of the attempt
	tried     []*Upstream  // of the target, by this request, in vain
	wait      waitState
	pump      *pump            // sends a body that is not whole; nil if none
	hedge     *hedge           // an attempt beside this one; nil if none
	onPiece   func(n int) bool // relayPiece, bound once
	onSent    func()           // sentAll, bound once
}

// An Outcome is what [Proxy.Forward] has come to: Relayed, Taken, or a [Fault].
type Outcome uint8

// The good outcomes. The numbers of all others are those of their faults.
const (
	Relayed Outcome = Outcome(None) // the client, or who receives it, has the whole response
	Taken   Outcome = 255           // the Taker has taken the response, whose body is to be read by [Proxy.Receive]
)

// Fault is why the response has neither been relayed nor taken; None if it has.
func (o Outcome) Fault() Fault {
	if o == Taken {
		return None
	}
	return Fault(o)
}

// Reset readies x for another request; it keeps its scratch memory.
func (x *Exchange) Reset() {
	x.watched.Reset()
	x.hold.release()
	clear(x.Targets)
	*x = Exchange{Request: Request{Targets: x.Targets[:0]}, Fields: x.Fields[:0], attempt: attempt{response: x.response}, head: x.head[:0], tried: x.tried[:0], hold: hold{more: x.hold.more[:0]}, onPiece: x.onPiece, onSent: x.onSent}
}

// Gone tells whether the client left while the request was on its way.
func (x *Exchange) Gone() bool { return x.watched.Gone() }

// free gives the buffers back.
func (x *Exchange) free() {
	x.hold.release()
	x.attempt.free()
	if x.large != nil {
		x.large.Put()
		x.large = nil
	}
}

// attempted tells the tap of an attempt that began at x.began.
func (x *Exchange) attempted(f Fault) {
	if x.Tap != nil {
		x.Tap.Attempted(x.upstream, f, x.Status, x.began)
	}
}

// tapResponse tells the tap that a response is about to go.
func (x *Exchange) tapResponse() { x.tapped = x.Tap != nil && x.Tap.Response(&x.response) }

// tapBody shows the tap a piece of it.
func (x *Exchange) tapBody(piece []byte) {
	x.metered(piece)
	if x.tapped && len(piece) > 0 {
		x.Tap.Body(piece)
	}
}

// hungUp tells whether the client has left, and Taker does not want the response without it.
func (x *Exchange) hungUp() bool {
	return x.Client != nil && x.Client.HungUp() && (x.Taker == nil || !x.Taker.ClientLeft())
}

func (x *Exchange) toHEAD() bool { return string(x.Head.Method) == "HEAD" }

// sendBehindHead puts x.head right before the body at b[body:to] and sends both.
func (x *Exchange) sendBehindHead(b []byte, body, to int) Fault {
	message := b[max(0, body-len(x.head)):to]
	if len(x.head) <= body {
		copy(message, x.head)
	} else { // it was a short one before the gateway had its say
		x.head = append(x.head, b[body:to]...)
		message = x.head
	}
	if x.Client.Send(message) != nil {
		return x.clientGone()
	}
	return None
}

// clientGone notes that the client has left in the middle of its response.
func (x *Exchange) clientGone() Fault {
	x.watched.MarkGone()
	x.Client.Reset()
	return ClientGone
}

// upgrades tells whether the request asks for a tunnel. A response that others may get as well cannot be one.
func (x *Exchange) upgrades() bool { return x.Head.WebSocket && x.Taker == nil && x.Client != nil }

// switched tells whether the upstream has granted it.
func (x *Exchange) switched() bool {
	return x.response.Status == 101 && x.response.WebSocket && x.upgrades()
}
