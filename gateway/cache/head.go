package cache

import "aigateway/gateway/wire"

// AppendHead appends the field lines of an answer that are stored with it: RFC 9111 §3.1. All are, known or not, but
// those that belong to one connection (wire has left them out), those that are written anew for each reply (Age,
// Content-Length), those that are about a proxy, and those that a qualified private or no-cache names. An answer
// without Date gets one: RFC 9110 §6.6.1. Trailers never get here: they are dropped.
func (r *Response) AppendHead(dst []byte, h *wire.ResponseHead) []byte {
	d, _ := r.directives()
	dated := false
	for name, value := range h.Lines() {
		if isStored(name) && !d.names(name) {
			dated = dated || is(name, "date")
			dst = appendLine(dst, name, value)
		}
	}
	if !dated {
		dst = r.appendDate(dst)
	}
	return dst
}

// appendDate appends when the response came, for one that does not say.
func (r *Response) appendDate(dst []byte) []byte {
	dst = append(dst, "Date: "...)
	dst = appendNow(dst, r.times.Response/1000)
	return append(dst, "\r\n"...)
}

// AppendDateLine appends a field Date. seconds are Unix time.
func AppendDateLine(dst []byte, seconds int64) []byte {
	return append(appendNow(append(dst, "Date: "...), seconds), "\r\n"...)
}

func appendLine(dst, name, value []byte) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, "\r\n"...)
}

// isStored tells whether a response field is stored at all.
func isStored(name []byte) bool {
	switch len(name) {
	case 3:
		return !is(name, "age")
	case 7:
		return !is(name, "x-cache") // what another cache said about this one fetch
	case 14:
		return !is(name, "content-length")
	case 18:
		return !is(name, "proxy-authenticate")
	case 19:
		return !is(name, "proxy-authorization")
	case 25:
		return !is(name, "proxy-authentication-info")
	}
	return true
}

// Freshen appends the stored lines as the answer h, which r was read from, updates them: a 304 that
// [Response.Validates] or a 200 to HEAD that [Response.HeadMatches]. RFC 9111 §3.2: its fields replace those of the
// same name. Three more than the rule says do not: Content-Encoding, on which the stored body depends; Content-Range,
// which is about a message; and Set-Cookie, which is the client's whose request this was.
//
// What the merged head says is then read by [Response.Reread] and judged by [Policy.Store], as if it had come whole.
func (r *Response) Freshen(dst, stored []byte, h *wire.ResponseHead) []byte {
	d, _ := r.directives()
	for {
		name, value, rest, ok := wire.CutField(stored)
		if !ok {
			break
		}
		stored = rest
		// Date is renewed in any case: the stored answer is now as old as its validation.
		if is(name, "date") || d.names(name) || r.updates(name) && hasField(h, name) {
			continue
		}
		dst = appendLine(dst, name, value)
	}
	dated := false
	for name, value := range h.Lines() {
		if r.updates(name) && !d.names(name) {
			dated = dated || is(name, "date")
			dst = appendLine(dst, name, value)
		}
	}
	if !dated {
		dst = r.appendDate(dst)
	}
	return dst
}

// updates tells whether a field of a freshening answer replaces the stored one.
func (r *Response) updates(name []byte) bool {
	switch len(name) {
	case 10:
		if is(name, "set-cookie") {
			d, _ := r.directives()
			return d.public
		}
	case 13:
		return !is(name, "content-range")
	case 16:
		return !is(name, "content-encoding")
	}
	return isStored(name)
}

func hasField(h *wire.ResponseHead, name []byte) bool {
	for n := range h.Lines() {
		if sameName(n, name) {
			return true
		}
	}
	return false
}

// AppendNotModified appends the stored lines that a 304 carries: RFC 9110 §15.4.5. Metadata of the body stays away,
// and Last-Modified too where there is an entity tag; a client need not be told again what it has.
func AppendNotModified(dst, stored []byte, m *Meta) []byte {
	for {
		name, value, rest, ok := wire.CutField(stored)
		if !ok {
			return dst
		}
		stored = rest
		if !isBodyMetadata(name) && !(len(m.ETag) > 0 && is(name, "last-modified")) {
			dst = appendLine(dst, name, value)
		}
	}
}

func isBodyMetadata(name []byte) bool {
	switch len(name) {
	case 12:
		return is(name, "content-type")
	case 13:
		return is(name, "content-range")
	case 16:
		return is(name, "content-encoding") || is(name, "content-language")
	}
	return false
}
