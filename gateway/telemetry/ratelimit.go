package telemetry

import (
	"bytes"
	"fmt"
)

// RateLimit is what the limiter tells about itself. The counts begin at its start.
type RateLimit struct {
	Clients       int    // that it knows now
	Overflow      uint64 // newcomers that took over another client's place
	DroppedClient uint64 // refused by the client's own limit
	DroppedGlobal uint64 // refused by the limit of all together
	Leases        uint64 // taken from the shared bucket
	LeaseTokens   uint64 // that came with them
	Fallback      bool   // the shared bucket is out of reach: the local limits stand in
}

// writeRateLimit asks the limiter once for all of its series. A gateway without one shows zeros, so that a dashboard
// shows a line and not "no data".
func (m *Metrics) writeRateLimit(b *bytes.Buffer) {
	var s RateLimit
	if m.rateLimit != nil {
		s = m.rateLimit()
	}
	writeHead(b, "rate_limit_dropped_total", "Requests refused, by the limit that refused them.", "counter")
	fmt.Fprintf(b, "rate_limit_dropped_total{scope=\"client\"} %d\n", s.DroppedClient)
	fmt.Fprintf(b, "rate_limit_dropped_total{scope=\"global\"} %d\n", s.DroppedGlobal)
	f := func(name, help, kind string, value uint64) {
		writeHead(b, name, help, kind)
		fmt.Fprintf(b, "%s %d\n", name, value)
	}
	f("rate_limit_clients", "Clients in the limiter's table.", "gauge", uint64(max(0, s.Clients)))
	f("rate_limit_table_overflow_total", "Newcomers that took over another client's place in a full table.", "counter", s.Overflow)
	f("rate_limit_leases_total", "Leases taken from the shared bucket.", "counter", s.Leases)
	f("rate_limit_lease_tokens_total", "Tokens that came with leases.", "counter", s.LeaseTokens)
	f("rate_limit_fallback", "1 while the shared bucket is out of reach and local limits stand in.", "gauge", uint64(oneIf(s.Fallback)))
}
