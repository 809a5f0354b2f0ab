package cache

import (
	"bytes"

	"aigateway/gateway/wire"
)

// An Origin is whom the client meant to ask, as the upstream is told by X-Forwarded-Proto and X-Forwarded-Host:
// the client's own scheme and Host, or what a trusted proxy says about them. Answers may depend on both, so both
// are in the key.
type Origin struct {
	Secure bool   // https
	Host   []byte // with a port, if there was one; in any case. Borrowed
	Client Client // who asks; nil: nobody knows

	// Keyed tells that the gateway has found out who asks by what the client showed, and takes that out: to an upstream, and so
	// to a cache, there is no credential. Tenant is who it is, and whose responses are nobody else's; nil: they are for all.
	Keyed  bool
	Tenant []byte
}

// A Client tells who asks, as far as the gateway knows.
type Client interface {
	// HasAddress tells whether the text is the client's address.
	HasAddress(text []byte) bool
}

// A Request is what the cache has to know about a request. Its bytes are borrowed from the head; a Request is
// reused, and allocates nothing once its slices have grown.
type Request struct {
	Head bool // HEAD: answered as GET, without the body

	// Cache-Control, RFC 9111 §5.2.1. Seconds; -1: not said.
	NoCache, OnlyIfCached               bool
	MaxAge, MinFresh                    int64
	MaxStale                            int64 // without a value: 2^31
	StaleIfError                        int64 // RFC 5861 §4
	Authorization, Credentials          bool  // a field Authorization; a cookie or an API key
	LastEvent                           bool  // Last-Event-ID: an event stream is to go on behind that event
	ifNoneMatch                         [][]byte
	ifModifiedSince, ifRange, byteRange single

	keyed  bool   // as Origin.Keyed
	name   []byte // scratch of underscored
	others []byte // the lines by which an upstream may choose its answer, see [Request.other]
	class  Key    // SHA-256 of others
	hashed bool   // class is up to date

	bypass Reason
}

// single is a field that may appear once: twice is not valid.
type single struct {
	value []byte
	count int
}

func (s *single) see(value []byte) {
	s.value = value
	s.count++
}

// Read reads a request that wire has accepted. f is what the operator says about fields, or nil.
func (r *Request) Read(h *wire.RequestHead, o Origin, f *Fields) {
	*r = Request{ifNoneMatch: r.ifNoneMatch[:0], others: r.others[:0], name: r.name, MaxAge: -1, MinFresh: -1, MaxStale: -1, StaleIfError: -1, keyed: o.Keyed}
	switch string(h.Method) {
	case "GET":
	case "HEAD":
		r.Head = true
	default:
		r.bypass = ForMethod
		return
	}
	if h.HasBody() {
		r.bypass = ForBody
		return
	}
	var pragma, control bool
	for _, l := range h.Noted {
		switch {
		case is(l.Name, "cache-control"):
			control = true
			r.readControl(l.Value)
		case is(l.Name, "pragma"):
			pragma = pragma || saysNoCache(l.Value)
		case o.Keyed && wire.IsCredential(l.Name): // which goes no further
		case o.Keyed && wire.IsProtocol(l.Name): // there may be a key in it, and something else that matters
			r.refuse(ForUnkeyedField)
		case bytes.IndexByte(l.Name, '_') >= 0:
			r.underscored(l.Name, l.Value)
		case r.take(l.Name, l.Value), f.settles(l.Name):
		default:
			r.other(l.Name, l.Value, o)
		}
	}
	// Pragma speaks only for clients that do not know Cache-Control: RFC 9111 §5.4.
	r.NoCache = r.NoCache || pragma && !control
}

func saysNoCache(list []byte) bool {
	for len(list) > 0 {
		var d directive
		if d, list = cutDirective(list); is(d.name, "no-cache") {
			return true
		}
	}
	return false
}

// refuse has the request go past the cache; the first reason is the one that is told.
func (r *Request) refuse(why Reason) {
	if r.bypass == None {
		r.bypass = why
	}
}

// take files a field that speaks to caches, or of credentials, and tells whether that is all there is to it.
func (r *Request) take(name, value []byte) (done bool) {
	switch len(name) {
	case 5:
		if done = is(name, "range"); done {
			r.byteRange.see(value)
		}
	case 8:
		if done = is(name, "if-range"); done {
			r.ifRange.see(value)
		} else if is(name, "if-match") {
			r.refuse(ForOriginCondition)
		}
	case 13:
		if done = is(name, "if-none-match"); done {
			r.ifNoneMatch = append(r.ifNoneMatch, value)
		} else if is(name, "authorization") {
			r.Authorization = true
		} else if is(name, "last-event-id") {
			r.LastEvent = true
		}
	case 17:
		if done = is(name, "if-modified-since"); done {
			r.ifModifiedSince.see(value)
		}
	case 19:
		if is(name, "if-unmodified-since") {
			r.refuse(ForOriginCondition)
		}
	}
	return done
}

// readControl takes one Cache-Control line of a request, RFC 9111 §5.2.1. What asks for something fresher and
// cannot be read asks for the freshest; what allows something stale and cannot be read allows nothing.
func (r *Request) readControl(list []byte) {
	for len(list) > 0 {
		var d directive
		d, list = cutDirective(list)
		n, ok := d.seconds()
		switch {
		case is(d.name, "no-cache"):
			r.NoCache = true
		case is(d.name, "no-store"):
			r.refuse(ForRequestNoStore)
		case is(d.name, "only-if-cached"):
			r.OnlyIfCached = true
		case is(d.name, "max-age"):
			if !ok {
				n = 0
			}
			r.MaxAge = least(r.MaxAge, n)
		case is(d.name, "min-fresh"):
			if !ok {
				n = maxSeconds
			}
			r.MinFresh = max(r.MinFresh, n)
		case is(d.name, "max-stale"):
			if d.form == bare {
				n = maxSeconds
			}
			r.MaxStale = least(r.MaxStale, n)
		case is(d.name, "stale-if-error"):
			r.StaleIfError = least(r.StaleIfError, n)
		}
	}
}

// least returns the smaller of a and n, where a may be -1: not said.
func least(a, n int64) int64 {
	if a < 0 {
		return n
	}
	return min(a, n)
}

// Bypass tells why the request goes past the cache: it is neither answered from it nor stored. None: it does not.
func (r *Request) Bypass() Reason { return r.bypass }

// limits tells whether the client does not want every fresh answer, nor any stale one unless it says so:
// RFC 9111 §5.2.1.1, §5.2.1.3, §5.2.1.4.
func (r *Request) limits() bool { return r.NoCache || r.MaxAge >= 0 || r.MinFresh >= 0 }

// Selective tells whether the request, sent on as it is, may be answered with less than the whole: it has
// conditions or ranges of the client's own. Its answer is of no use to others; see [AppendLines].
func (r *Request) Selective() bool {
	return len(r.ifNoneMatch) > 0 || r.ifModifiedSince.count > 0 || r.byteRange.count > 0
}

// Ranged tells whether the request asks for a part.
func (r *Request) Ranged() bool { return r.byteRange.count > 0 }
