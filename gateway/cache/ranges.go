package cache

import (
	"bytes"
	"strconv"
)

// A RangeResult says how a stored whole answers a request with a range.
type RangeResult uint8

const (
	// Whole: no range, or one that does not count. The reply is the stored answer.
	Whole RangeResult = iota
	// Part: the reply is 206 with one part.
	Part
	// Unsatisfiable: the reply is 416, with Content-Range: bytes */size.
	Unsatisfiable
)

// Range reads the request's Range for a stored answer whose body has size bytes: RFC 9110 §14.2. The part is
// body[from:to]. Only a single range of bytes in a GET of a 200 counts; several ranges, other units and what cannot
// be read are ignored, as a server may, and so is all of it if If-Range names another answer. NotModified comes
// first: RFC 9110 §13.2.2.
func (r *Request) Range(m *Meta, size int64) (from, to int64, result RangeResult) {
	if r.byteRange.count != 1 || r.Head || m.Status != 200 || size <= 0 || !r.inRange(m) {
		return 0, size, Whole
	}
	unit, spec, ok := bytes.Cut(r.byteRange.value, equals)
	if !ok || !is(unit, "bytes") {
		return 0, size, Whole
	}
	first, last, ok := bytes.Cut(spec, dash)
	if !ok {
		return 0, size, Whole
	}
	if len(first) == 0 {
		return suffixRange(last, size)
	}
	return fromRange(first, last, size)
}

var equals, dash = []byte("="), []byte("-")

// suffixRange reads "-500": the last 500 bytes.
func suffixRange(digits []byte, size int64) (from, to int64, result RangeResult) {
	n, ok := parsePosition(digits)
	switch {
	case !ok:
		return 0, size, Whole
	case n == 0:
		return 0, 0, Unsatisfiable
	}
	return max(0, size-n), size, Part
}

// fromRange reads "500-" and "500-999".
func fromRange(first, last []byte, size int64) (from, to int64, result RangeResult) {
	from, ok := parsePosition(first)
	if !ok {
		return 0, size, Whole
	}
	to = size
	if len(last) > 0 {
		n, ok := parsePosition(last)
		if !ok || n < from {
			return 0, size, Whole
		}
		to = min(n, size-1) + 1
	}
	if from >= size {
		return 0, 0, Unsatisfiable
	}
	return from, to, Part
}

// parsePosition reads digits; a number too large for a body is the largest.
func parsePosition(digits []byte) (n int64, ok bool) {
	const most = 1 << 58 // ten times that still fits
	for _, c := range digits {
		if !isDigit(c) {
			return 0, false
		}
		if n < most {
			n = n*10 + int64(c-'0')
		}
	}
	return min(n, most), len(digits) > 0
}

// inRange evaluates If-Range: RFC 9110 §13.1.5. Without it the range counts. An entity tag must match strongly; a date
// must be exactly Last-Modified, and that must be a strong validator, at least a second older than Date (§8.8.2.2).
func (r *Request) inRange(m *Meta) bool {
	switch r.ifRange.count {
	case 0:
		return true
	case 1:
	default:
		return false
	}
	if isEntityTag(r.ifRange.value) {
		return strongMatch(r.ifRange.value, m.ETag)
	}
	date, ok := parseDate(r.ifRange.value, m.ResponseTime)
	return ok && m.LastModified != 0 && date == m.LastModified && m.date() > m.LastModified
}

// AppendContentRange appends the value of Content-Range for the part body[from:to] of size bytes; for
// from = to = 0, the one of a 416. RFC 9110 §14.4.
func AppendContentRange(dst []byte, from, to, size int64) []byte {
	dst = append(dst, "bytes "...)
	if to == 0 {
		dst = append(dst, '*')
	} else {
		dst = strconv.AppendInt(dst, from, 10)
		dst = append(dst, '-')
		dst = strconv.AppendInt(dst, to-1, 10)
	}
	dst = append(dst, '/')
	return strconv.AppendInt(dst, size, 10)
}
