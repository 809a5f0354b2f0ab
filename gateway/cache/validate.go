package cache

import (
	"bytes"

	"aigateway/gateway/wire"
)

// AppendConditional appends the field lines that ask an upstream whether the stored answer is still the one:
// RFC 9111 §4.3.1. Both validators are sent if there are both; nothing if there are none.
func AppendConditional(dst []byte, m *Meta) []byte {
	if len(m.ETag) > 0 {
		dst = append(dst, "If-None-Match: "...)
		dst = append(dst, m.ETag...)
		dst = append(dst, "\r\n"...)
	}
	if m.LastModified != 0 {
		dst = append(dst, "If-Modified-Since: "...)
		dst = appendDate(dst, m.LastModified)
		dst = append(dst, "\r\n"...)
	}
	return dst
}

// AppendLines appends the client's lines that travel on without its own conditions and ranges, and instead of them
// the validators of the stored answer, if m is not nil: a request whose answer is of use to everybody.
func AppendLines(dst []byte, h *wire.RequestHead, m *Meta) []byte {
	for name, value := range h.Lines() {
		if !isSelector(name) {
			dst = appendLine(dst, name, value)
		}
	}
	if m == nil {
		return dst
	}
	return AppendConditional(dst, m)
}

// isSelector tells whether a request field asks for less than the whole answer.
func isSelector(name []byte) bool {
	switch len(name) {
	case 5:
		return is(name, "range")
	case 8:
		return is(name, "if-range")
	case 13:
		return is(name, "if-none-match")
	case 17:
		return is(name, "if-modified-since")
	}
	return false
}

// NotModified tells whether a stored answer, about to be the reply, is what the client has already: RFC 9111 §4.3.2.
// Then the reply is 304, with the lines that [AppendNotModified] leaves.
func (r *Request) NotModified(m *Meta) bool {
	if m.Status != 200 {
		return false
	}
	if len(r.ifNoneMatch) > 0 { // takes precedence, even where nothing in it can be read
		return r.noneMatch(m)
	}
	if r.ifModifiedSince.count != 1 { // RFC 9110 §13.1.3: more than one member is ignored
		return false
	}
	since, ok := parseDate(r.ifModifiedSince.value, m.ResponseTime)
	if !ok {
		return false
	}
	if m.LastModified != 0 {
		return m.LastModified <= since
	}
	return m.date() <= since
}

// noneMatch tells whether If-None-Match names the stored answer. "*" names any, RFC 9110 §13.1.2.
func (r *Request) noneMatch(m *Meta) bool {
	for _, list := range r.ifNoneMatch {
		if string(list) == "*" {
			return true
		}
		for len(list) > 0 {
			var tag []byte
			if tag, list = cutEntityTag(list); weakMatch(tag, m.ETag) {
				return true
			}
		}
	}
	return false
}

// cutEntityTag cuts the first entity tag off a list. What is none ends at the next comma and is nil.
func cutEntityTag(list []byte) (tag, rest []byte) {
	list = trim(list)
	start := 0
	if bytes.HasPrefix(list, weakPrefix) {
		start = 2
	}
	if start < len(list) && list[start] == '"' {
		// RFC 9110 §8.8.3: a backslash in an entity tag is a character like any other.
		if n := bytes.IndexByte(list[start+1:], '"'); n >= 0 {
			end := start + n + 2
			next := end + indexAny(list[end:], ',', ',')
			if len(trim(list[end:next])) == 0 {
				return list[:end], after(list, next)
			}
			return nil, after(list, next)
		}
	}
	return nil, after(list, indexAny(list, ',', ','))
}

// weakMatch and strongMatch compare entity tags: RFC 9110 §8.8.3.2. Nothing matches an empty one.
func weakMatch(a, b []byte) bool {
	return len(a) > 0 && bytes.Equal(bytes.TrimPrefix(a, weakPrefix), bytes.TrimPrefix(b, weakPrefix))
}

func strongMatch(a, b []byte) bool { return isStrong(a) && bytes.Equal(a, b) }

func isStrong(tag []byte) bool { return len(tag) > 0 && !bytes.HasPrefix(tag, weakPrefix) }

// date is when the stored answer was made, in Unix seconds: its Date, or when it came.
func (m *Meta) date() int64 {
	if m.Date != 0 {
		return m.Date
	}
	return m.ResponseTime / 1000
}

// Validates tells whether a 304 is about this stored answer, RFC 9111 §4.3.4. If it is not, nothing stored may be
// updated or used; the request has to be sent again without validators.
//
// What was asked about is this answer alone: its validators went out, and no condition of a client's own. So a 304
// that names none is about it, and only one that names another validator is not.
func (r *Response) Validates(m *Meta) bool {
	switch tag := r.anyEntityTag(); {
	case isStrong(tag):
		return strongMatch(tag, m.ETag)
	case len(tag) > 0:
		return weakMatch(tag, m.ETag)
	case r.lastModified.valid() && m.LastModified != 0:
		// Taken for a weak validator: it has no more than to be the same.
		return r.lastModified.seconds == m.LastModified
	}
	return true
}

// anyEntityTag is the answer's entity tag, whether it may be stored or not.
func (r *Response) anyEntityTag() []byte {
	if r.etag.count != 1 || !isEntityTag(r.etag.value) {
		return nil
	}
	return r.etag.value
}

// HeadMatches tells whether a 200 to HEAD is about this stored answer, whose body has size bytes: RFC 9111 §4.3.5.
// Then it updates it ([Response.Freshen]); if not, the stored answer is stale, and best removed.
func (r *Response) HeadMatches(m *Meta, size int64) bool {
	if tag := r.anyEntityTag(); len(tag) > 0 && !bytes.Equal(tag, m.ETag) {
		return false
	}
	if r.lastModified.valid() && r.lastModified.seconds != m.LastModified {
		return false
	}
	return r.length < 0 || r.length == size
}
