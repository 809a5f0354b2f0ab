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

	// Response is told of the head of a response that goes to the client, before it goes, and says whether Body is to see
	// what follows.
	Response(head *wire.ResponseHead) (body bool)

	// Body sees a piece of the response's body, decoded, before the client gets it.
	Body(piece []byte)
}

// AppendMillis appends a duration in milliseconds, to the microsecond.
func AppendMillis(dst []byte, d time.Duration) []byte {
	us := max(0, d.Microseconds())
	dst = append(strconv.AppendInt(dst, us/1000, 10), '.')
	return append(dst, byte('0'+us/100%10), byte('0'+us/10%10), byte('0'+us%10))
}

// A Taker may take a response that is not for one client alone.
type Taker interface {
	wire.Stayer

	// Take is asked when the head of a response is there, with the length of the body that follows: bytes,
	// wire.ChunkedBody or wire.UntilClose. If it says yes, Forward returns Taken, and the body is the caller's to
	// read by [Proxy.Receive], also in another goroutine. The head is borrowed. Take may add to x.Fields.
	Take(head *wire.ResponseHead, length int64) bool
}

// stayer is what a taker is for the watch; no taker is none.
func stayer(t Taker) wire.Stayer {
	if t == nil {
		return nil
	}
	return t
}
