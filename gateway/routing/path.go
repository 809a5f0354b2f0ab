package routing

import (
	"bytes"

	"aigateway/gateway/wire"
)

// PathOf is a target without its query.
func PathOf(target []byte) []byte {
	if i := bytes.IndexByte(target, '?'); i >= 0 {
		return target[:i]
	}
	return target
}

// ShownPath is what logs and traces show of a target: its path. What stands before the path of one that was refused may be
// a name and a password.
func ShownPath(target []byte) []byte {
	path := PathOf(target)
	switch {
	case string(path) == "*", len(path) > 0 && path[0] == '/' && !wire.NamesAuthority(path):
		return path
	case len(path) > 0 && path[0] == '/':
		path = path[len("//"):]
	default:
		_, path, _ = bytes.Cut(path, schemeEnd)
	}
	if at := bytes.IndexByte(path, '/'); at >= 0 {
		return path[at:]
	}
	return nil
}

var schemeEnd = []byte("://")

// Climbs tells whether the rest of a path, behind its route's prefix, leaves it by dot segments for an
// upstream that resolves them (RFC 3986 §5.2.4). Encoded dots and slashes and backslashes are read as what
// some upstreams take them for.
func Climbs(rest []byte) bool {
	if bytes.IndexByte(rest, '.') < 0 && bytes.IndexByte(rest, '%') < 0 {
		return false
	}
	depth := 0
	for len(rest) > 0 {
		var dots, other int
		var slash, parameter bool
		for len(rest) > 0 && !slash {
			c := rest[0]
			n := 1
			if c == '%' && len(rest) >= 3 {
				switch string(bytes.ToLower(rest[1:3])) {
				case "2e":
					c, n = '.', 3
				case "2f", "5c":
					c, n = '/', 3
				case "3b":
					c, n = ';', 3
				}
			}
			rest = rest[n:]
			switch {
			case c == '/' || c == '\\':
				slash = true
			case c == ';':
				parameter = true // servlet containers drop ";x=y" from a segment before they look at it
			case parameter:
			case c == '.':
				dots++
			default:
				other++
			}
		}
		switch {
		case other == 0 && dots == 2:
			depth--
		case other > 0 || dots > 2:
			depth++
		}
		if depth < 0 {
			return true
		}
	}
	return false
}
