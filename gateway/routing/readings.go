package routing

import "bytes"

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

// AllReadings tells whether something holds for all readings of a path, those that lie in its place included. What is read is borrowed.
func AllReadings(path []byte, holds func(reading []byte) bool) bool {
	return allRead(path, decoding|removal|merging, holds)
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
