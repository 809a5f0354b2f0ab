package cache

import (
	"bytes"

	"aigateway/gateway/wire"
)

// Times are when a request was sent to the upstream and when the head of its answer was there, in Unix
// milliseconds: request_time and response_time of RFC 9111 §4.2.3.
type Times struct{ Request, Response int64 }

// A Response is what the cache has to know about an upstream's answer. Its bytes are borrowed from the head; a
// Response is reused, and allocates nothing once its slices have grown.
type Response struct {
	status int
	length int64 // bytes, as announced; less than 0: unknown
	times  Times

	control  directives // Cache-Control
	targeted directives // CDN-Cache-Control, RFC 9213
	// targetedBad: not a dictionary; targetedSome: not empty.
	targetedBad, targetedSome bool

	age                       int64 // age_value
	ageSeen                   bool
	date, lastModified        stamp
	expires                   stamp
	etag                      single
	coding                    []byte // Content-Encoding
	vary                      varies
	setCookie, contentRange   bool
	events                    bool // parts that come as they arise, without an end perhaps
	location, contentLocation []byte
}

// stamp is a field that holds an HTTP-date.
type stamp struct {
	seconds   int64
	seen, bad bool // bad: not a date, or two that differ
}

func (s *stamp) see(value []byte, now int64) {
	n, ok := parseDate(value, now)
	if !ok || s.seen && n != s.seconds {
		s.bad = true
	}
	if !s.seen {
		s.seconds, s.seen = n, true
	}
}

func (s *stamp) valid() bool { return s.seen && !s.bad }

// Read reads an answer that wire has accepted.
func (r *Response) Read(h *wire.ResponseHead, t Times) {
	r.reset(h.Status, t)
	r.length = h.ContentLength
	for name, value := range h.Lines() {
		r.take(name, value)
	}
}

// Reread reads the merged head that [Response.Freshen] wrote, for a stored answer of that status. The age and the
// times stay those of the answer that freshened it.
func (r *Response) Reread(status int, head []byte) {
	age, seen := r.age, r.ageSeen
	r.reset(status, r.times)
	for {
		name, value, rest, ok := wire.CutField(head)
		if !ok {
			break
		}
		r.take(name, value)
		head = rest
	}
	r.age, r.ageSeen = age, seen
}

func (r *Response) reset(status int, t Times) {
	*r = Response{status: status, length: -1, times: t, control: r.control, targeted: r.targeted, vary: r.vary}
	r.control.reset()
	r.targeted.reset()
	r.vary.reset()
}

func (r *Response) take(name, value []byte) {
	switch len(name) {
	case 3:
		if is(name, "age") && !r.ageSeen {
			r.ageSeen = true
			r.takeAge(value)
		}
	case 4:
		if is(name, "date") && !r.date.seen {
			r.date.see(value, r.times.Response)
		} else if is(name, "etag") {
			r.etag.see(value)
		} else if is(name, "vary") {
			r.vary.read(value)
		}
	case 7:
		if is(name, "expires") {
			r.expires.see(value, r.times.Response)
		}
	case 8:
		if is(name, "location") {
			r.location = value
		}
	case 10:
		r.setCookie = r.setCookie || is(name, "set-cookie")
	case 12:
		r.events = r.events || is(name, "content-type") && isLive(value)
	case 13:
		if is(name, "cache-control") {
			r.control.read(value)
		} else if is(name, "last-modified") {
			r.lastModified.see(value, r.times.Response)
		} else if is(name, "content-range") {
			r.contentRange = true
		}
	case 16:
		if is(name, "content-encoding") {
			r.takeCoding(value)
		} else if is(name, "content-location") {
			r.contentLocation = value
		}
	case 17:
		if is(name, "cdn-cache-control") && len(value) > 0 {
			r.targetedSome = true
			r.targetedBad = !r.targeted.readTargeted(value) || r.targetedBad
		}
	}
}

// isLive tells whether the media type is one of answers that come as things happen: server-sent events, and parts each of
// which replaces the one before.
func isLive(value []byte) bool {
	return hasPrefix(value, "text/event-stream") || hasPrefix(value, "multipart/x-mixed-replace")
}

// takeAge reads the first member of the first line; what is not a number of seconds is ignored: RFC 9111 §5.1.
func (r *Response) takeAge(value []byte) {
	first, _ := cutElement(value)
	if n, ok := parseSeconds(first); ok {
		r.age = n
	}
}

func (r *Response) takeCoding(value []byte) {
	if len(r.coding) > 0 {
		value = severalCodings
	}
	r.coding = value
}

var severalCodings = []byte("several")

// directives returns those that count, and whether they are targeted: then Cache-Control and Expires do not,
// RFC 9213 §2.2.
func (r *Response) directives() (d *directives, targeted bool) {
	if r.targetedSome && !r.targetedBad {
		return &r.targeted, true
	}
	return &r.control, false
}

// lifetime is freshness_lifetime as the answer states it, in seconds: RFC 9111 §4.2.1. ok is false if it states
// none.
func (r *Response) lifetime() (seconds int64, ok bool) {
	d, targeted := r.directives()
	switch {
	case d.sMaxAge != absent:
		return int64(d.sMaxAge), true
	case d.maxAge != absent:
		return int64(d.maxAge), true
	case targeted || !r.expires.seen:
		return 0, false
	case r.expires.bad:
		return 0, true // §5.3: what is not a date, and 0 above all, is in the past
	}
	return clamp(r.expires.seconds - r.dated()), true
}

// dated is the value of Date, or when the answer came if there is no valid one: RFC 9110 §6.6.1. Unix seconds.
func (r *Response) dated() int64 {
	if r.date.valid() {
		return r.date.seconds
	}
	return r.times.Response / 1000
}

// initialAge is corrected_initial_age in whole seconds, RFC 9111 §4.2.3: the larger of the two ways to
// calculate it. A clock that was set back between request and answer counts as a delay of zero.
func (r *Response) initialAge() int64 {
	delay := max(0, r.times.Response-r.times.Request)
	apparent := max(0, r.times.Response-r.dated()*1000)
	return clamp(max(apparent, r.age*1000+delay) / 1000)
}

// clamp keeps seconds between 0 and 2^31: RFC 9111 §1.2.2.
func clamp(seconds int64) int64 { return min(max(seconds, 0), maxSeconds) }

// entityTag returns the answer's entity tag; nil if there is none, or not one that is well-formed, or if it must
// not be stored.
func (r *Response) entityTag() []byte {
	d, _ := r.directives()
	if r.etag.count != 1 || !isEntityTag(r.etag.value) || d.names(fieldETag) {
		return nil
	}
	return r.etag.value
}

// modified returns the answer's Last-Modified in Unix seconds, 0 as with [Response.entityTag].
func (r *Response) modified() int64 {
	d, _ := r.directives()
	if !r.lastModified.valid() || d.names(fieldLastModified) {
		return 0
	}
	return r.lastModified.seconds
}

var (
	fieldETag         = []byte("etag")
	fieldLastModified = []byte("last-modified")
	fieldSetCookie    = []byte("set-cookie")
)

// isEntityTag tells whether b is one entity tag, RFC 9110 §8.8.3.
func isEntityTag(b []byte) bool {
	b = bytes.TrimPrefix(b, weakPrefix)
	if len(b) < 2 || b[0] != '"' || b[len(b)-1] != '"' {
		return false
	}
	for _, c := range b[1 : len(b)-1] {
		if c <= ' ' || c == '"' || c == 0x7f {
			return false
		}
	}
	return true
}

var weakPrefix = []byte("W/")
