package wire

import "strconv"

// What heads are composed of. A reply is a status line, the lines that are kept of a response, the gateway's own, and the
// framing of its body; a request is the same from a request line on.

// AppendStatusLine appends the status line of a response, CRLF included.
func AppendStatusLine[R string | []byte](dst []byte, status int, reason R) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(append(dst, ' '), reason...)
	return append(dst, "\r\n"...)
}

// AppendField appends a field line; nameColon ends with ": ".
func AppendField[V string | []byte](dst []byte, nameColon string, value V) []byte {
	return append(append(append(dst, nameColon...), value...), "\r\n"...)
}

// AppendInt appends a field line whose value is a decimal number; nameColon ends with ": ".
func AppendInt(dst []byte, nameColon string, value int64) []byte {
	dst = strconv.AppendInt(append(dst, nameColon...), value, 10)
	return append(dst, "\r\n"...)
}

// AppendVia appends the Via field of what came by HTTP/1.minor: RFC 9110 §7.6.3.
func AppendVia(dst []byte, minor int) []byte {
	if minor == 0 {
		return append(dst, "Via: 1.0 "+Name+"\r\n"...)
	}
	return append(dst, "Via: 1.1 "+Name+"\r\n"...)
}

// AppendLength appends the framing of a body of length bytes, or in chunks; none for [UntilClose].
func AppendLength(dst []byte, length int64) []byte {
	switch length {
	case UntilClose:
		return dst
	case ChunkedBody:
		return append(dst, "Transfer-Encoding: chunked\r\n"...)
	}
	return AppendInt(dst, "Content-Length: ", length)
}

// ChunkRoom is how many bytes [FrameChunk] needs before the data, and ChunkTail how many behind it.
const (
	ChunkRoom = 16
	ChunkTail = len("\r\n" + LastChunk)
)

// FrameChunk makes a chunk of b[from:to], in the room around it, and returns where it begins and ends. No data is no chunk:
// that would be the last one.
func FrameChunk(b []byte, from, to int) (int, int) {
	if from == to {
		return from, to
	}
	var line [ChunkRoom]byte
	size := AppendChunkSize(line[:0], to-from)
	from -= copy(b[from-len(size):], size)
	to += copy(b[to:], "\r\n")
	return from, to
}

// FrameEnd puts the last chunk at b[to:], and returns where it ends.
func FrameEnd(b []byte, to int) int { return to + copy(b[to:], LastChunk) }
