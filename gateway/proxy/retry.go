package proxy

import "sync/atomic"

// A budget bounds how much of a pool's traffic is sent again, so that retries cannot become the load that
// keeps a sick service down: each request pays in a fifth of a retry. What was saved is bounded, and there
// is something to begin with.
type budget struct{ fifths atomic.Int64 }

const (
	retryCost    = 5   // requests that pay for one retry: 20 % of traffic
	firstRetries = 20  // in the budget at the start
	maxRetries   = 100 // that can be saved
)

func (b *budget) start() { b.fifths.Store(firstRetries * retryCost) }

// earn pays in for one request.
func (b *budget) earn() {
	if b.fifths.Load() < maxRetries*retryCost { // a full one is only read, which costs the cores less
		b.fifths.Add(1)
	}
}

// spend takes one retry out, or tells that there is none.
func (b *budget) spend() bool {
	for {
		have := b.fifths.Load()
		if have < retryCost {
			return false
		}
		if b.fifths.CompareAndSwap(have, have-retryCost) {
			return true
		}
	}
}

// refund takes a spending back of which nothing came.
func (b *budget) refund() { b.fifths.Add(retryCost) }

// A Retry is why a request is sent again.
type Retry uint8

// The reasons for sending a request again: the rules of the law, and a hedge.
const (
	NoRetry          Retry = iota
	RetryConnect           // no connection came about: no upstream has seen the request
	RetryReused            // a connection used before broke before the first byte of a response
	RetryRefused           // a response said that nothing was executed
	RetryLate              // no head, or no content, came in time: somebody else is asked
	RetryUnavailable       // the response to a request that may be repeated was 500, 502, 503 or 504
	RetryBroken            // what came in place of a response was none, and the request may be repeated
	RetryContext           // the request does not fit into the model's context: one with a larger context is asked
	RetryHedge             // the response to a GET or HEAD takes long: another upstream is asked as well
	retries

	LastRetry = retries - 1
)

var retryNames = [retries]string{
	RetryConnect: "connect", RetryReused: "reused_connection", RetryRefused: "refused", RetryLate: "timeout", RetryUnavailable: "unavailable",
	RetryBroken: "broken", RetryContext: "context_length", RetryHedge: "hedge",
}

// String is the reason's name in metrics.
func (r Retry) String() string { return retryNames[r] }

// idempotent tells whether a request of that method may be repeated: RFC 9110 §9.2.2.
func idempotent(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "OPTIONS", "PUT", "DELETE", "QUERY":
		return true
	}
	return false
}

// unavailable tells whether a status says that the server, or the one behind it, cannot answer now.
func unavailable(status int) bool { return status >= 502 && status <= 504 }
