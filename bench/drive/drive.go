// Package drive sends HTTP/1.1 requests at a pace and measures the answers: the engine of the load generator
// (aigateway/bench/load) and of the comparison with other proxies (aigateway/bench/peers).
//
// Its door is [Run]. With a rate the loop is open: request number i is due at i/rate, whether or not the earlier ones
// are answered, and its latency counts from when it was due. A server that stalls for a second is so charged for every
// request that would have come in that second, not for the one that happened to wait (coordinated omission). Without a
// rate each connection sends its next request when the last one is answered, which finds out how much a server can do
// and says little about its latency.
//
// One thread and one system call a read and a write do all the work, so that a core drives more than a server answers.
package drive

import (
	"errors"
	"time"
)

// A Target is a server and what to ask of it.
type Target struct {
	Addr    string        // IP address and port
	Request []byte        // a whole message
	HEAD    bool          // the request is one: no body follows
	Next    func() []byte // makes the next message, in place of Request; it is read until the answer is there
}

// A Plan says what to send, how fast and for how long.
type Plan struct {
	Targets []Target      // each connection has one; they take turns
	Rate    float64       // requests per second of all connections together; 0: as fast as answers come
	Conns   int           // connections, and so the most requests at a time
	Fresh   bool          // a new connection for every request
	Leave   time.Duration // the client closes this long after it has sent a request; 0: it waits for the end
	Time    time.Duration // no request is due after this
	Most    int64         // requests; 0: as many as are due
	Timeout time.Duration // an answer that takes longer is an error, and so is what is not sent this long after Time
	Every   time.Duration // how often to call Progress; 0: never
	// Progress is called by the loop, which waits for it; the Result is borrowed.
	Progress func(at time.Duration, so *Result)
}

// Result is what came of a Plan.
type Result struct {
	Elapsed   time.Duration    `json:"elapsed_ns"` // from the first request due to the last answer
	Due       int64            `json:"due"`        // requests whose time had come
	Done      int64            `json:"done"`       // answers that came whole
	Left      int64            `json:"left"`       // answers the client did not wait for
	Dialed    int64            `json:"dialed"`     // connections, the first ones included
	Status    map[int]int64    `json:"status"`     // of the answers that came whole
	Errors    map[string]int64 `json:"errors"`     // requests without a whole answer, by kind
	Body      int64            `json:"body_bytes"`
	Events    int64            `json:"events"`     // of event streams
	Latency   Histogram        `json:"latency"`    // due to last byte, of whole answers, and of errors until they were noticed
	FirstByte Histogram        `json:"first_byte"` // due to first byte
	Lag       Histogram        `json:"lag"`        // due to sent: what the generator or its connections added
	Event     Histogram        `json:"event"`      // due to the first event of a stream
	Gap       Histogram        `json:"gap"`        // from one event of a stream to the next
}

// The kinds of Errors.
const (
	KindConnect   = "connect"   // there was no connection
	KindClosed    = "closed"    // the server closed or reset before a whole answer
	KindTimeout   = "timeout"   // no whole answer in time
	KindMalformed = "malformed" // not HTTP/1.1
	KindUnsent    = "unsent"    // all connections were busy to the end
)

// Failed is the number of requests without a whole answer, those the client left aside.
func (r *Result) Failed() (n int64) {
	for _, m := range r.Errors {
		n += m
	}
	return n
}

// Per is how often a second something happened that was counted n times.
func (r *Result) Per(n int64) float64 { return float64(n) / max(r.Elapsed.Seconds(), 1e-9) }

func (p *Plan) check() error {
	switch {
	case len(p.Targets) == 0:
		return errors.New("there is nothing to send to")
	case p.Conns < 1:
		return errors.New("at least one connection is needed")
	case p.Rate < 0 || p.Rate > 1e6:
		return errors.New("the rate is between 0 and 1,000,000 requests a second")
	case p.Time <= 0 && p.Most <= 0:
		return errors.New("either a time or a number of requests is needed")
	case p.Timeout <= 0:
		return errors.New("a timeout is needed")
	}
	return nil
}
