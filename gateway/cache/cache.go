// Package cache decides whether an answer may be used again, keeps it and finds it: a shared HTTP cache by
// RFC 9111.
//
// The policy is pure functions over what was read from two heads: [Request], [Response] and the [Meta] of a
// stored answer. The store is flat records in memory (fastcache), in front of a Redis that all replicas share.
// The package does not know connections, routes or upstreams: a caller brings heads, bytes and the time.
package cache

// A Key names a record in both tiers: SHA-256 of what AppendKey (and, for a variant, AppendVariant) wrote, so
// that nobody can make two of them meet. The text itself is kept in the record and compared.
type Key [32]byte

// Meta is what a stored answer says about itself: read from its head once, when it is stored, and decoded from
// the record with every hit. Times are Unix milliseconds of the wall clock, because replicas share them;
// durations are whole seconds, as in the fields they come from, never negative.
type Meta struct {
	Status       int
	Flags        Flags
	RequestTime  int64 // when the request was sent, §4.2.3 request_time
	ResponseTime int64 // when the head was there, §4.2.3 response_time
	InitialAge   int64 // corrected_initial_age, §4.2.3
	Lifetime     int64 // freshness_lifetime, §4.2.1

	StaleWhileRevalidate int64 // RFC 5861 §3; 0: none
	StaleIfError         int64 // RFC 5861 §4; 0: none

	Date         int64  // Unix seconds of the Date field; 0: none or not valid, ResponseTime counts
	LastModified int64  // Unix seconds; 0: none or not valid
	ETag         []byte // as sent, W/ and quotes included; empty: none. Borrowed
}

// Flags are the yes-or-no facts of a stored answer.
type Flags uint16

// What the response's directives said, and where its freshness comes from.
const (
	MustRevalidate Flags = 1 << iota // must-revalidate, proxy-revalidate or s-maxage: never stale, §5.2.2.2, §5.2.2.8, §5.2.2.10
	NoCache                          // never without validation, §5.2.2.4
	Heuristic                        // the lifetime is the route's or a heuristic, not the response's
	Varies                           // this record lists the variants of a URL instead of an answer, §4.1
	Shared                           // public, s-maxage or must-revalidate: may answer requests with Authorization, §3.5
	Own                              // the lifetime is the route's: for requests that are the same in all that may matter
	Events                           // server-sent events: not for who asks for those behind the last one it has
)
