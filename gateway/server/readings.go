package server

import (
	"bytes"
	"maps"
	"slices"
	"strings"

	"aigateway/gateway/inference"
)

// Routes match bytes. Who stands behind may decode a path once, remove its dot segments (RFC 3986 §5.2.4) and make one slash of
// several, each or not, in whatever order: frameworks that only decode are as common as normalisers before them. A path that is
// another route's in any such reading is refused, or that route's limit, its methods and its place in the cache were passed by.

// A step is what one of them does to a path. It appends to dst.
type step func(dst, path []byte) []byte

// steps are bits of those that are left to be done.
const (
	decoding = 1 << iota
	removal
	merging
)

// leadsElsewhere tells whether the path is another route's than x's to anybody behind.
func (x *exchange) leadsElsewhere(path []byte) bool {
	x.scratch = appendDecoded(x.scratch[:0], path)
	if decoded := x.scratch; !hasDotsOrGaps(decoded) { // there is one other reading, as of a model's id with %2F in it
		return !x.plan.leads(decoded, x.route)
	}
	return !x.plan.allLead(path, decoding|removal|merging, x.route)
}

// allLead tells whether all readings of a path lead to r that come of the steps left.
func (p *plan) allLead(path []byte, left int, r *route) bool {
	return allRead(path, left, func(reading []byte) bool { return p.leads(reading, r) })
}

// allRead tells whether something holds for all readings of a path that come of the steps left.
func allRead(path []byte, left int, holds func(reading []byte) bool) bool {
	if !holds(path) {
		return false
	}
	try := func(s step, rest int) bool {
		read := s(make([]byte, 0, len(path)+1), path)
		return bytes.Equal(read, path) || allRead(read, rest, holds)
	}
	if left&decoding != 0 && !try(appendDecoded, left&^decoding) {
		return false
	}
	if left&merging != 0 && !try(appendMerged, left&^merging) {
		return false
	}
	if left&removal == 0 {
		return true
	}
	// For WHATWG's URL parser %2e is a dot.
	return try(appendDotless, left&^removal) && (left&decoding == 0 || try(appendDotlessEncoded, left&^removal))
}

// disguised tells whether a path is another dialect's than d, which it has as it stands, to anybody behind: then what is asked there
// would not be counted, nor its model looked at. Some of those behind (Express) take any case, and a slash at the end, too.
func (x *exchange) disguised(path []byte, d inference.Dialect) bool {
	switch d {
	case inference.Other, inference.Models, inference.Audio:
	default: // which has one path, and that has no other reading
		return false
	}
	speaks := func(reading []byte) bool {
		x.scratch = append(x.scratch[:0], bytes.TrimRight(reading, "/")...)
		for i, c := range x.scratch {
			if 'A' <= c && c <= 'Z' {
				x.scratch[i] = c | 0x20
			}
		}
		return inference.DialectOf(x.scratch) == d
	}
	if x.head.Plain {
		return !speaks(path)
	}
	return !allRead(path, decoding|removal|merging, speaks)
}

// leads tells whether a reading of a path is r's. A route whose path is itself not plain is found by what it is once decoded.
func (p *plan) leads(reading []byte, r *route) bool {
	found := p.find(reading)
	for _, s := range p.spelled {
		if (found == nil || len(s.plain) > len(found.plain)) && s.plainly(reading) {
			found = s
		}
	}
	return found == r || found != nil && found.plain == r.plain && (found.prefix == "") == (r.prefix == "")
}

// plainly tells whether a path is the route's, once both are plain.
func (r *route) plainly(path []byte) bool {
	return string(path) == r.plain || r.prefix != "" && bytes.HasPrefix(path, []byte(r.plain))
}

// spell notes which routes have paths that are not plain. What a path holds only percent-encoded, such as "é", may come
// as it is: then a path without any sign of it may be such a route's, and all are looked at. A slash may not.
func (p *plan) spell() {
	for _, r := range slices.Concat(p.prefixes, slices.Collect(maps.Values(p.exact))) {
		path := strings.TrimSuffix(r.path, "*")
		r.plain = string(appendPlain(nil, []byte(path)))
		if r.plain != path {
			p.spelled = append(p.spelled, r)
			p.lookAtAll = p.lookAtAll || !strings.Contains(strings.ToLower(path), "%2f")
		}
	}
}

// hasDotsOrGaps tells whether a path may have dot segments or empty ones.
func hasDotsOrGaps(path []byte) bool {
	return bytes.Contains(path, slashDot) || bytes.Contains(path, twoSlashes)
}

var slashDot, twoSlashes = []byte("/."), []byte("//")

// appendPlain appends a path with all steps done, as nginx does them.
func appendPlain(dst, path []byte) []byte {
	return appendDotless(dst, appendMerged(nil, appendDecoded(nil, path)))
}

// appendDecoded appends a path decoded once.
func appendDecoded(dst, path []byte) []byte {
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c == '%' && i+2 < len(path) {
			if hi, lo := unhex(path[i+1]), unhex(path[i+2]); hi >= 0 && lo >= 0 {
				c, i = byte(hi<<4|lo), i+2
			}
		}
		dst = append(dst, c)
	}
	return dst
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

// appendMerged appends a path with one slash for several.
func appendMerged(dst, path []byte) []byte {
	for i, c := range path {
		if c != '/' || i == 0 || path[i-1] != '/' {
			dst = append(dst, c)
		}
	}
	return dst
}

// appendDotless appends a path without its dot segments.
func appendDotless(dst, path []byte) []byte { return appendWithout(dst, path, dots) }

// appendDotlessEncoded is appendDotless for who takes %2e for a dot.
func appendDotlessEncoded(dst, path []byte) []byte { return appendWithout(dst, path, dotsEncoded) }

// appendWithout removes the segments of a path of which dots says that they are one dot or two: RFC 3986 §5.2.4.
func appendWithout(dst, path []byte, dots func(segment []byte) int) []byte {
	start := len(dst)
	for rest := path; len(rest) > 0; {
		segment := rest[1:] // behind a slash
		if n := bytes.IndexByte(segment, '/'); n >= 0 {
			segment, rest = segment[:n], segment[n:]
		} else {
			rest = nil
		}
		n := dots(segment)
		if n == 2 {
			dst = dst[:start+max(0, bytes.LastIndexByte(dst[start:], '/'))]
		}
		switch {
		case n == 0:
			dst = append(append(dst, '/'), segment...)
		case rest == nil:
			dst = append(dst, '/')
		}
	}
	return dst
}

func dots(segment []byte) int {
	if s := string(segment); s == "." || s == ".." {
		return len(segment)
	}
	return 0
}

func dotsEncoded(segment []byte) (n int) {
	for len(segment) > 0 && n < 3 {
		switch {
		case segment[0] == '.':
			segment = segment[1:]
		case len(segment) > 2 && string(segment[:2]) == "%2" && segment[2]|0x20 == 'e':
			segment = segment[3:]
		default:
			return 0
		}
		n++
	}
	if n > 2 {
		return 0
	}
	return n
}
