package wire

// A Line is one field line of a head. Borrowed.
type Line struct{ Name, Value []byte }

// note keeps a line that travels on for the cache, unless it cannot matter to it.
func (h *RequestHead) note(name, value []byte) {
	if !indifferent(name) {
		h.Noted = append(h.Noted, Line{name, value})
	}
}

// dropNoted forgets the lines that Connection names.
func (h *RequestHead) dropNoted() {
	kept := h.Noted[:0]
	for _, l := range h.Noted {
		if !h.isNominated(l.Name) {
			kept = append(kept, l)
		}
	}
	h.Noted = kept
}

// dropContent forgets what is told of the content where Connection names the lines that tell it.
func (h *RequestHead) dropContent() {
	if h.isNominated(contentType) {
		h.ContentType = nil
	}
	h.Encoded = h.Encoded && !h.isNominated(contentEncoding)
}

var contentType, contentEncoding = []byte("content-type"), []byte("content-encoding")

// Indifferent tells whether a field cannot matter to a cache, whatever the method. Content-Type is among these, although for a POST
// it does.
func Indifferent(name []byte) bool { return indifferent(name) }

// indifferent tells whether a field cannot matter to a cache: it neither asks for another response, nor tells who asks.
// The list is short, and whatever is not on it counts, known or not. The reason for each name is in the README page of
// the cache.
func indifferent(name []byte) bool {
	switch len(name) {
	case 2:
		return is(name, "b3")
	case 3:
		return is(name, "via")
	case 6:
		return is(name, "cf-ray")
	case 7:
		return is(name, "referer")
	case 8:
		return is(name, "cdn-loop") || is(name, "priority")
	case 10:
		if is(name, "user-agent") {
			return true
		}
	case 12:
		if is(name, "content-type") || is(name, "sentry-trace") {
			return true
		}
	case 13:
		if is(name, "uber-trace-id") {
			return true
		}
	case 15:
		if is(name, "accept-encoding") || is(name, "x-amzn-trace-id") {
			return true
		}
	case 16:
		if is(name, "x-correlation-id") {
			return true
		}
	case 18:
		if is(name, "x-forwarded-server") {
			return true
		}
	case 21:
		if is(name, "x-cloud-trace-context") {
			return true
		}
	case 24:
		if is(name, "x-original-forwarded-for") {
			return true
		}
	}
	return indifferentKind(name)
}

// indifferentKind is indifferent for the names that have a beginning in common.
func indifferentKind(name []byte) bool {
	n := len(name)
	switch name[0] | 0x20 {
	case 's':
		return n >= 10 && is(name[:10], "sec-fetch-") || n >= 9 && is(name[:9], "sec-ch-ua") && (n == 9 || name[9] == '-')
	case 'x':
		return n >= 12 && is(name[:12], "x-stainless-") || n >= 5 && is(name[:5], "x-b3-") || n >= 10 && is(name[:10], "x-datadog-")
	}
	return false
}
