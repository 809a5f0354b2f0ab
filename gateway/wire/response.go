package wire

import "bytes"

// A ResponseHead is what one scan of an upstream's response head found. It is borrowed and reused as a
// [RequestHead] is.
type ResponseHead struct {
	fields

	Status        int
	Reason        []byte // may be empty
	Minor         int
	ContentLength int64 // bytes, ChunkedBody or UntilClose, as the fields say; see [ResponseHead.BodyLength]
	Close         bool  // the upstream will close the connection
	WebSocket     bool  // the upstream goes on with WebSocket, if the status is 101: RFC 6455 §4.1
	HasDate       bool
	Refers        bool // there is a Location or a Content-Location
	Coded         bool // there is a Content-Encoding that is one
	ContentType   []byte
}

// FindHeadEnd returns the length of the head at the start of b, its empty line included, or 0 if b does not
// hold all of it. from is where to look: what an earlier call has looked at in vain need not be read again.
func FindHeadEnd(b []byte, from int) int {
	from = max(0, from-3)
	if i := bytes.Index(b[from:], headEnd); i >= 0 {
		return from + i + len(headEnd)
	}
	return 0
}

// HasBareLF tells whether a line of an unfinished head ends without CR.
func HasBareLF(head []byte) bool {
	for at := 0; ; {
		i := bytes.IndexByte(head[at:], '\n')
		if i < 0 {
			return false
		}
		if at += i; at == 0 || head[at-1] != '\r' {
			return true
		}
		at++
	}
}

var headEnd = []byte("\r\n\r\n")

// Scan reads head, the bytes up to and with the empty line, and says whether the response may be passed on:
// the response policy. An upstream is not an attacker, but one response read in two ways is another client's
// response on a shared connection.
func (h *ResponseHead) Scan(head []byte) Violation {
	h.reset(nil)
	*h = ResponseHead{fields: h.fields, ContentLength: UntilClose}
	n := bytes.IndexByte(head, '\n')
	if n < 1 || head[n-1] != '\r' {
		return BadStatus
	}
	if !h.scanStatus(head[:n-1]) {
		return BadStatus
	}
	block := head[n+1:]
	h.block = block
	var seen responseSeen
	keepAlive := false
	v := h.fields.scan(block, func(name, value []byte) (bool, Violation) {
		keep, keeps, v := h.take(name, value, &seen)
		keepAlive = keepAlive || keeps
		return keep, v
	})
	if v != None {
		return v
	}
	if seen.encoding {
		if seen.length {
			return LengthAndEncoding // RFC 9112 §6.3: ought to be handled as an error
		}
		if h.Minor == 0 {
			return BadTransferEncoding
		}
		h.ContentLength = ChunkedBody
	}
	h.Close = h.Close || h.Minor == 0 && !keepAlive
	h.WebSocket = seen.webSocket && h.Minor == 1 && h.isNominated(upgradeName)
	if h.dropNominated(); len(h.nominated) > 0 {
		_, h.HasDate = h.Field("date")
	}
	return None
}

const ofUpstream = "x-upstream-"

// responseSeen marks the fields that decide the framing, and the protocol.
type responseSeen struct{ length, encoding, webSocket bool }

// scanStatus reads "HTTP/1.1 200 OK". RFC 9112 §4; the reason may be missing, with or without its space.
func (h *ResponseHead) scanStatus(line []byte) bool {
	if len(line) < 12 || string(line[:7]) != "HTTP/1." || line[8] != ' ' {
		return false
	}
	if line[7] != '0' && line[7] != '1' {
		return false
	}
	h.Minor = int(line[7] - '0')
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return false
		}
		h.Status = h.Status*10 + int(c-'0')
	}
	if h.Status < 100 || h.Status > 599 {
		return false
	}
	if len(line) > 12 {
		if line[12] != ' ' || !validValue(line[13:]) {
			return false
		}
		h.Reason = line[13:]
	}
	return true
}

func (h *ResponseHead) take(name, value []byte, seen *responseSeen) (keep, keepAlive bool, v Violation) {
	if len(name) > len(ofUpstream) && name[1] == '-' && is(name[:len(ofUpstream)], ofUpstream) {
		return false, false, None // what tells of upstreams is the gateway's to say
	}
	switch len(name) {
	case 2:
		return !is(name, "te"), false, None
	case 4:
		h.HasDate = h.HasDate || is(name, "date")
	case 7:
		if is(name, "upgrade") {
			seen.webSocket = isWebSocket(value)
			return false, false, None
		}
		return !is(name, "trailer") && !is(name, "x-cache"), false, None // of another cache
	case 8:
		h.Refers = h.Refers || is(name, "location")
	case 10:
		if is(name, "connection") {
			closes, keeps := h.nominate(value)
			h.Close = h.Close || closes
			return false, keeps, None
		}
		return !is(name, "keep-alive"), false, None
	case 12:
		if is(name, "x-request-id") {
			return false, false, None // one request has one id, and it is the gateway's
		}
		if is(name, "content-type") {
			h.ContentType = value
		}
		return !is(name, "cache-status"), false, None
	case 14:
		if is(name, "content-length") {
			return false, false, h.takeLength(value, seen)
		}
	case 16:
		h.Refers = h.Refers || is(name, "content-location")
		h.Coded = h.Coded || is(name, "content-encoding") && !(len(value) == len("identity") && is(value, "identity"))
		return !is(name, "proxy-connection"), false, None
	case 17:
		if is(name, "transfer-encoding") {
			if !once(&seen.encoding) || len(value) != 7 || !is(value, "chunked") {
				return false, false, BadTransferEncoding
			}
			return false, false, None
		}
	case 18:
		return !is(name, "proxy-authenticate"), false, None
	}
	return true, false, None
}

// takeLength accepts a repeated Content-Length of the same value (RFC 9110 §8.6), which some stacks send.
func (h *ResponseHead) takeLength(value []byte, seen *responseSeen) Violation {
	n, ok := parseLength(value)
	if !ok || !once(&seen.length) && n != h.ContentLength {
		return BadContentLength
	}
	h.ContentLength = n
	return None
}

// BodyLength is the length of the body that follows this head on the connection, in a response to a request
// with that method: RFC 9112 §6.3.
func (h *ResponseHead) BodyLength(method []byte) int64 {
	if string(method) == "HEAD" || h.Status < 200 || h.Status == 204 || h.Status == 304 {
		return 0
	}
	return h.ContentLength
}

// EventStream tells whether the body is server-sent events, whose every line matters as soon as it is there.
func (h *ResponseHead) EventStream() bool {
	const media = "text/event-stream"
	return len(h.ContentType) >= len(media) && is(h.ContentType[:len(media)], media)
}
