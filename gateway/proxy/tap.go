package proxy

import (
	"strconv"
	"time"

	"aigateway/gateway/wire"
)

// A Tap sees what passes and changes nothing of it. Its methods are called on Forward's goroutine and must not block;
// slices are borrowed.
type Tap interface {
	// Attempted is told of each attempt at an upstream: when it began, as wire.Now, how it ended and the status of the
	// answer, 0 if there is none. What Forward sends next has the TraceParent that x has then. A hedge has that of the
	// attempt beside it: of these two, only the one that Forward goes on with is told of.
	Attempted(u *Upstream, f Fault, status int, began time.Duration)

	// Response is told of the head of an answer that goes to the client, before it goes, and says whether Body is to see
	// what follows.
	Response(head *wire.ResponseHead) (body bool)

	// Body sees a piece of the answer's body, decoded, before the client gets it.
	Body(piece []byte)
}

// attempted tells the tap of an attempt that began at x.began.
func (x *Exchange) attempted(f Fault) {
	if x.Tap != nil {
		x.Tap.Attempted(x.upstream, f, x.Status, x.began)
	}
}

// tapResponse tells the tap that an answer is about to go.
func (x *Exchange) tapResponse() { x.tapped = x.Tap != nil && x.Tap.Response(&x.response) }

// tapBody shows the tap a piece of it.
func (x *Exchange) tapBody(piece []byte) {
	if x.tapped && len(piece) > 0 {
		x.Tap.Body(piece)
	}
}

// appendTiming appends what the gateway and the upstream took until now (W3C Server Timing, in milliseconds), for an
// answer whose head goes now.
func appendTiming(dst []byte, x *Exchange) []byte {
	if x.Began == 0 {
		return dst
	}
	now := wire.Now()
	upstream := x.UpstreamTime + now - x.began
	dst = append(dst, "Server-Timing: gateway;dur="...)
	dst = AppendMillis(dst, now-x.Began-upstream-x.ClientTime)
	if x.QueueTime > 0 {
		dst = AppendMillis(append(dst, ", queue;dur="...), x.QueueTime)
	}
	dst = append(dst, ", upstream;dur="...)
	return append(AppendMillis(dst, upstream-x.QueueTime), "\r\n"...)
}

// AppendMillis appends a duration in milliseconds, to the microsecond.
func AppendMillis(dst []byte, d time.Duration) []byte {
	us := max(0, d.Microseconds())
	dst = append(strconv.AppendInt(dst, us/1000, 10), '.')
	return append(dst, byte('0'+us/100%10), byte('0'+us/10%10), byte('0'+us%10))
}
