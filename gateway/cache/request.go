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

// Read reads a request that wire has accepted. The lines are walked over only if one of them may matter.
func (r *Request) Read(h *wire.RequestHead, o Origin) {
	*r = Request{ifNoneMatch: r.ifNoneMatch[:0], MaxAge: -1, MinFresh: -1, MaxStale: -1, StaleIfError: -1}
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
	if h.Caching {
		r.readLines(h, o)
	}
}

func (r *Request) readLines(h *wire.RequestHead, o Origin) {
	var pragma, control bool
	for name, value := range h.Lines() {
		switch {
		case is(name, "cache-control"):
			control = true
			r.readControl(value)
		case is(name, "pragma"):
			pragma = pragma || saysNoCache(value)
		default:
			r.take(name, value, o)
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

// take files one field other than Cache-Control and Pragma.
func (r *Request) take(name, value []byte, o Origin) {
	switch len(name) {
	case 5:
		if is(name, "range") {
			r.byteRange.see(value)
		}
	case 8:
		if is(name, "if-match") {
			r.refuse(ForOriginCondition)
		} else if is(name, "if-range") {
			r.ifRange.see(value)
		}
	case 13:
		if is(name, "authorization") {
			r.Authorization = true
		} else if is(name, "last-event-id") {
			r.LastEvent = true
		} else if is(name, "if-none-match") {
			r.ifNoneMatch = append(r.ifNoneMatch, value)
		}
	case 17:
		if is(name, "if-modified-since") {
			r.ifModifiedSince.see(value)
		}
	case 19:
		if is(name, "if-unmodified-since") {
			r.refuse(ForOriginCondition)
		}
	}
	if isCredential(name) {
		r.Credentials = true
	}
	if isUnkeyed(name) && !o.implies(name, value) {
		r.refuse(ForUnkeyedField)
	}
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

// isCredential tells whether the field says who asks, apart from Authorization: cookies, API keys, and the
// identity that an authenticating proxy has found out. The names of the many kinds of keys have in common how
// they begin or end.
func isCredential(name []byte) bool {
	switch len(name) {
	case 6:
		return is(name, "cookie") || is(name, "apikey")
	case 8:
		if is(name, "x-apikey") {
			return true
		}
	}
	return hasSuffix(name, "-key") || hasSuffix(name, "-token") || hasPrefix(name, "x-auth") ||
		hasPrefix(name, "x-amzn-oidc-") || is(name, "x-forwarded-user") || is(name, "x-forwarded-email") ||
		is(name, "x-forwarded-groups") || is(name, "x-forwarded-preferred-username")
}

// isUnkeyed tells whether some upstreams choose or write their answer by the field, as if it were the target or
// the Host: RFC 9111 §7.1. X-Forwarded-Proto, -Host and -For never get here: wire keeps them.
func isUnkeyed(name []byte) bool {
	switch {
	case is(name, "x-host"), is(name, "forwarded"):
		return true
	case is(name, "x-forwarded-server"), is(name, "x-original-forwarded-for"):
		return false // who passed the request on: common, and nobody answers by it
	case hasPrefix(name, "x-forwarded-"):
		return !isCredential(name)
	}
	return hasPrefix(name, "x-original-") || hasPrefix(name, "x-rewrite-") || hasPrefix(name, "x-http-") ||
		hasPrefix(name, "x-method-")
}

func hasPrefix(name []byte, lower string) bool {
	return len(name) >= len(lower) && is(name[:len(lower)], lower)
}

func hasSuffix(name []byte, lower string) bool {
	return len(name) >= len(lower) && is(name[len(name)-len(lower):], lower)
}

// implies tells whether a field says only what scheme and host say already. Load balancers add such fields to
// every request.
func (o Origin) implies(name, value []byte) bool {
	switch {
	case is(name, "x-forwarded-port"):
		return o.hasPort(value)
	case is(name, "x-forwarded-scheme"):
		return is(value, o.scheme())
	case is(name, "x-forwarded-ssl"):
		return o.Secure && is(value, "on") || !o.Secure && is(value, "off")
	}
	return false
}

func (o Origin) hasPort(port []byte) bool {
	if i := bytes.LastIndexByte(o.Host, ':'); i >= 0 && bytes.IndexByte(o.Host[i:], ']') < 0 {
		return bytes.Equal(o.Host[i+1:], port)
	}
	return string(port) == o.defaultPort()
}

func (o Origin) scheme() string {
	if o.Secure {
		return "https"
	}
	return "http"
}

func (o Origin) defaultPort() string {
	if o.Secure {
		return "443"
	}
	return "80"
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
