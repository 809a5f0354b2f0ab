package cache

import (
	"bytes"

	"aigateway/gateway/wire"
)

// Invalidates tells whether an answer with that status to a request with that method invalidates what is stored for
// its target, and perhaps for others: RFC 9111 §4.4. Methods that are not known to be safe are taken for unsafe.
func Invalidates(method []byte, status int) bool {
	switch string(method) {
	case "GET", "HEAD", "OPTIONS", "TRACE", "QUERY":
		return false
	}
	return 200 <= status && status <= 399
}

// References returns the values of Location and Content-Location; nil: none. Of an answer that [Invalidates],
// what they refer to is invalidated too, if [AppendReferenced] finds it on the same origin.
func (r *Response) References() (location, contentLocation []byte) {
	return r.location, r.contentLocation
}

// AppendReferenced appends the target, as in a request line, of a reference made by the answer to a request for
// target: RFC 3986 §5.2. ok is false, and nothing appended, for an empty reference, for one that is not well-formed,
// and for one that leaves the origin: nobody may invalidate what is not his, RFC 9111 §4.4.
func AppendReferenced(dst []byte, o Origin, target, reference []byte) (_ []byte, ok bool) {
	start := len(dst)
	reference = reference[:indexAny(reference, '#', '#')]
	if len(reference) == 0 || !isVisible(reference) {
		return dst, false
	}
	path, ok := o.cutOrigin(reference)
	if !ok {
		return dst, false
	}
	path, query := cutQuery(path)
	base, _ := cutQuery(target)
	switch {
	case len(path) > 0 && path[0] == '/':
		dst = appendPath(dst, start, path[1:])
	case len(path) == 0 && reference[0] == '?':
		dst = append(dst, base...)
	case len(path) == 0:
		dst = append(dst, '/') // a bare origin
	default:
		if dir := base[:bytes.LastIndexByte(base, '/')+1]; len(dir) > 1 {
			dst = appendSegments(dst, start, dir[1:len(dir)-1])
		}
		dst = appendPath(dst, start, path)
	}
	dst = append(dst, query...)
	if made := dst[start:]; len(made) == 0 || made[0] != '/' || wire.NamesAuthority(made) {
		return dst[:start], false
	}
	return dst, true
}

// cutOrigin cuts scheme and authority, if they are there, off a reference, and tells whether they are o's.
func (o Origin) cutOrigin(reference []byte) (path []byte, ok bool) {
	if end := indexAny(reference, ':', '/'); end < len(reference) && reference[end] == ':' && bytes.IndexByte(reference[:end], '?') < 0 {
		if !is(reference[:end], o.scheme()) || !bytes.HasPrefix(reference[end+1:], slashes) {
			return nil, false
		}
		reference = reference[end+1:]
	}
	if !bytes.HasPrefix(reference, slashes) {
		return reference, true
	}
	authority := reference[2:]
	authority = authority[:indexAny(authority, '/', '?')]
	return reference[2+len(authority):], len(authority) > 0 && o.sameHost(authority)
}

var slashes = []byte("//")

func cutQuery(target []byte) (path, query []byte) {
	end := indexAny(target, '?', '?')
	return target[:end], target[end:]
}

// appendPath appends the segments of a path and, where a dot at its end stood for a directory, a slash.
func appendPath(dst []byte, root int, path []byte) []byte {
	dst = appendSegments(dst, root, path)
	if last := path[bytes.LastIndexByte(path, '/')+1:]; string(last) == "." || string(last) == ".." {
		dst = append(dst, '/')
	}
	return dst
}

// appendSegments appends the segments of a path, which is written without its first slash, to the path that begins
// at dst[root]; "." and ".." are carried out: RFC 3986 §5.2.4.
func appendSegments(dst []byte, root int, path []byte) []byte {
	for {
		end := indexAny(path, '/', '/')
		switch segment := path[:end]; string(segment) {
		case "..":
			dst = dst[:root+max(0, bytes.LastIndexByte(dst[root:], '/'))]
		case ".":
		default:
			dst = append(append(dst, '/'), segment...)
		}
		if end == len(path) {
			return dst
		}
		path = path[end+1:]
	}
}

// isVisible tells whether b could stand in a request line.
func isVisible(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c == 0x7f {
			return false
		}
	}
	return true
}
