package proxy

// A Fault is why a request has no whole response. The zero value is "it has one".
type Fault uint8

// The faults, by the phase they end. The server turns them into statuses.
const (
	None Fault = iota

	// The client's part.
	ClientGone    // it left, or stopped taking the response
	BodyTooLarge  // its body exceeds the limit
	BodyMalformed // its chunks are not chunks
	BodyTimeout   // it stopped sending its body
	BodySlow      // it sends its body too slowly
	BodyRefused   // its reader did not take it
	BodiesFull    // the gateway has no memory left to hold its body in
	OverBudget    // its meter does not let it in

	// The upstream's part. The client has not got a byte of a response yet.
	NoUpstream      // the pool has no upstream that may be asked
	Busy            // every upstream has as many requests as it may, and the queue was full or too slow
	Unreachable     // no connection: refused, reset, no such name
	TimeoutConnect  // no connection in time
	TimeoutResponse // no response head in time
	TimeoutIdle     // silence inside the body, or an upstream that stopped reading the request
	BrokenResponse  // closed, cut or malformed
	HeadTooLarge    // a response head over the limit
	UpstreamFailed  // it answered with an error, again and again; only requests that wait for another one's fetch are told so
	TLSFailed       // no TLS with it: its certificate, or no TLS at all
	Unavailable     // it answered 502, 503 or 504, and the fallback was to be asked instead
	Exhausted       // the gateway has no descriptor or port left to connect with
	Looped          // it is this gateway itself; only probes find that out

	// The response had begun; the client's connection was reset.
	Truncated
)

var faults = [...]string{
	None:            "",
	ClientGone:      "client_gone",
	BodyTooLarge:    "body_too_large",
	BodyMalformed:   "body_malformed",
	BodyTimeout:     "timeout_request",
	BodySlow:        "body_too_slow",
	BodyRefused:     "body_refused",
	BodiesFull:      "bodies_full",
	OverBudget:      "over_budget",
	NoUpstream:      "no_upstream",
	Busy:            "upstream_busy",
	Unreachable:     "upstream_unreachable",
	TimeoutConnect:  "timeout_connect",
	TimeoutResponse: "timeout_response",
	TimeoutIdle:     "timeout_idle",
	BrokenResponse:  "bad_upstream_response",
	HeadTooLarge:    "upstream_header_too_large",
	UpstreamFailed:  "upstream_failed",
	TLSFailed:       "upstream_tls",
	Unavailable:     "upstream_unavailable",
	Exhausted:       "gateway_exhausted",
	Looped:          "loop_detected",
	Truncated:       "truncated",
}

// String is the fault's name in answers, logs and metrics.
func (f Fault) String() string { return faults[f] }

// OfClient tells whether it is the client's doing, and says nothing about an upstream.
func (f Fault) OfClient() bool { return ClientGone <= f && f <= BodyRefused }

// unreachable tells whether no connection came about.
func (f Fault) unreachable() bool { return f == Unreachable || f == TimeoutConnect || f == TLSFailed }

// isTimeout tells whether the upstream was waited for in vain.
func (f Fault) isTimeout() bool { return TimeoutConnect <= f && f <= TimeoutIdle }
