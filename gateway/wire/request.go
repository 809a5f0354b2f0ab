package wire

import "bytes"

// Body lengths that are not a number of bytes.
const (
	// ChunkedBody is the length of a body that announces none: it is sent in chunks.
	ChunkedBody = -1
	// UntilClose is the length of a response body that ends with its connection (RFC 9112 §6.3, case 8).
	UntilClose = -2
)

// A RequestHead is what one scan of a request's head found. Everything is borrowed from the bytes scanned;
// a RequestHead is reused from request to request and allocates nothing once its slices have grown.
type RequestHead struct {
	fields
	authority []byte // of a target in absolute-form
	path      []byte // memory for a target that has none

	Method, Target, Host []byte
	Plain                bool   // the path holds no "%", and no slash with a dot or a slash behind it
	Minor                int    // of the version, HTTP/1.Minor
	ContentLength        int64  // bytes; 0 = no body, ChunkedBody = chunked
	Expect               bool   // Expect: 100-continue
	Close                bool   // the client will not send another request
	Noted                []Line // of a GET or HEAD: the lines that travel on and may matter to a cache, in order
	Encoded              bool   // a Content-Encoding travels on
	ContentType          []byte // nil: none travels on
	WebSocket            bool   // the client asks to go on with WebSocket, and with nothing else: RFC 6455 §4.1

	ForwardedFor           [][]byte // values of all X-Forwarded-For lines, in order
	ForwardedProto         []byte   // http or https; nil: nothing was said that can be used
	ForwardedHost          []byte
	RequestID, TraceParent []byte
	Timeout                []byte   // X-Request-Timeout-Ms as it was written, the last one; nil: there is none
	TraceStates            [][]byte // values of all tracestate lines, in order
	Via                    [][]byte // values of all Via lines, in order; they travel on as well
}

// A RequestLine is a request head in its parts, as they were written.
type RequestLine struct {
	Method, Target, Proto []byte
	Block                 []byte // the field lines, with the empty line behind them
}

// CutRequestLine cuts the request line off a whole head. ok is false if it has not three parts and CR LF.
func CutRequestLine(head []byte) (l RequestLine, ok bool) {
	n := bytes.IndexByte(head, '\n')
	if n < 1 || head[n-1] != '\r' {
		return RequestLine{}, false
	}
	line := head[:n-1]
	a, b := bytes.IndexByte(line, ' '), bytes.LastIndexByte(line, ' ')
	if a < 1 || b == a {
		return RequestLine{}, false
	}
	return RequestLine{Method: line[:a], Target: line[a+1 : b], Proto: line[b+1:], Block: head[n+1:]}, true
}

// Scan reads a request's head and says whether it may be used: the request policy. proto is the version as
// written; block holds the field lines. It refuses whatever two HTTP implementations may read differently,
// because what this gateway and an upstream read differently is what request smuggling is made of.
func (h *RequestHead) Scan(method, target, proto, block []byte) Violation {
	h.Reset()
	h.block, h.Method, h.Target = block, method, target
	if v := h.scanLine(proto); v != None {
		return v
	}
	var seen requestSeen
	keepAlive, noting := false, string(method) == "GET" || string(method) == "HEAD"
	v := h.fields.scan(block, func(name, value []byte) (bool, Violation) {
		keep, keeps, v := h.take(name, value, &seen)
		keepAlive = keepAlive || keeps
		if keep && noting {
			h.note(name, value)
		}
		return keep, v
	})
	if v != None {
		return v
	}
	if v := h.checkFraming(&seen); v != None {
		return v
	}
	h.Close = h.Close || h.Minor == 0 && !keepAlive
	h.WebSocket = seen.upgrade == 1 && h.isNominated(upgradeName) && h.Minor == 1 && !h.HasBody() && string(h.Method) == "GET"
	if len(h.nominated) > 0 {
		h.dropNominated()
		h.dropNoted()
		h.dropContent()
	}
	return None
}

// CopyFrom makes h a copy of another head that was found to be good, in memory of its own: buf, which it returns.
func (h *RequestHead) CopyFrom(o *RequestHead, buf []byte) []byte {
	buf = append(append(append(append(buf[:0], o.Method...), o.Target...), o.Host...), o.block...)
	method, rest := buf[:len(o.Method)], buf[len(o.Method):]
	target, rest := rest[:len(o.Target)], rest[len(o.Target):]
	host, block := rest[:len(o.Host)], rest[len(o.Host):]
	if h.Scan(method, target, protos[o.Minor], block) != None {
		panic("BUG: a copy of a good head is refused")
	}
	h.Host = host // perhaps not that of the field: RFC 9112 §3.2.2
	return buf
}

var protos = [...][]byte{[]byte("HTTP/1.0"), []byte("HTTP/1.1")}

// Reset forgets what the last scan found.
func (h *RequestHead) Reset() {
	h.fields.reset(nil)
	*h = RequestHead{fields: h.fields, path: h.path, Noted: h.Noted[:0], ForwardedFor: h.ForwardedFor[:0], TraceStates: h.TraceStates[:0], Via: h.Via[:0]}
}

// HasBody tells whether bytes follow the head.
func (h *RequestHead) HasBody() bool { return h.ContentLength != 0 }

// requestSeen marks the fields that may appear once.
type requestSeen struct {
	host, length, encoding, expect, contentType, authorization, traceParent bool

	scheme  bool
	upgrade int // Upgrade fields; one that is not for WebSocket alone counts twice
}

func (h *RequestHead) scanLine(proto []byte) Violation {
	switch string(proto) {
	case "HTTP/1.1":
		h.Minor = 1
	case "HTTP/1.0":
		h.Minor = 0
	default:
		if len(proto) == 8 && string(proto[:5]) == "HTTP/" && isDigit(proto[5]) && proto[6] == '.' && isDigit(proto[7]) &&
			h.scanTarget() == None {
			return BadVersion
		}
		return BadLine
	}
	if v := checkMethod(h.Method); v != None {
		return v
	}
	return h.scanTarget()
}

func (h *RequestHead) scanTarget() Violation {
	if len(h.Target) > 0 && h.Target[0] != '/' {
		if v := h.takeAuthority(); v != None {
			return v
		}
	}
	return h.checkTarget()
}

// known tells whether a method is one of the well-known ones.
func known(method []byte) bool {
	switch string(method) {
	case "GET", "POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY":
		return true
	}
	return false
}

// maxMethod bounds a method, in bytes; the longest that is registered has 17.
const maxMethod = 64

// checkMethod accepts any token (RFC 9110 §9.1) but those that ask a proxy for something else than to pass them on, and
// those that are another method to an upstream that ignores the case.
func checkMethod(method []byte) Violation {
	if known(method) {
		return None
	}
	if len(method) == 0 {
		return BadMethod
	}
	for _, c := range method {
		if !tchar[c] {
			return BadMethod
		}
	}
	if len(method) > maxMethod {
		return UnknownMethod
	}
	upper := bytes.ToUpper(method)
	switch string(upper) {
	case "CONNECT", "TRACE", "TRACK":
		return UnknownMethod
	}
	if known(upper) {
		return BadMethod
	}
	return None
}

// IsMethod tells whether a request may have that method.
func IsMethod(method []byte) bool { return checkMethod(method) == None }

// takeAuthority makes a target in absolute-form one in origin-form, as every server must accept it: its authority is the
// Host, whatever the field says (RFC 9112 §3.2.2).
func (h *RequestHead) takeAuthority() Violation {
	t := h.Target
	switch {
	case len(t) > 7 && is(t[:4], "http") && string(t[4:7]) == "://":
		t = t[7:]
	case len(t) > 8 && is(t[:5], "https") && string(t[5:8]) == "://":
		t = t[8:]
	default:
		return BadTarget
	}
	n := bytes.IndexAny(t, "/?")
	if n < 0 {
		n = len(t)
	}
	authority, rest := t[:n], t[n:]
	if len(authority) == 0 || len(authority) > 255 || !validHost(authority) {
		return BadHost
	}
	if len(rest) == 0 || rest[0] != '/' {
		h.path = append(append(h.path[:0], '/'), rest...) // an empty path is "/": RFC 9110 §4.2.3
		rest = h.path
	}
	h.authority, h.Target = authority, rest
	return None
}

// checkTarget accepts origin-form only (RFC 9112 §3.2.1). A second slash makes some parsers read an authority.
func (h *RequestHead) checkTarget() Violation {
	t := h.Target
	if len(t) == 0 || t[0] != '/' || NamesAuthority(t) {
		return BadTarget
	}
	h.Plain = true
	path := true
	for i, c := range t {
		switch targetClass[c] {
		case ordinary:
		case forbidden:
			return BadTarget
		case question:
			path = false
		case percent:
			h.Plain = h.Plain && !path
		case dotOrSlash:
			if path && i > 0 && t[i-1] == '/' {
				h.Plain = false
			}
		}
	}
	return None
}

// What a byte is to a target. Bytes above 0x7f are not allowed in a URI but common in prompts; they pass as they are.
const (
	ordinary = iota
	forbidden
	question
	percent
	dotOrSlash
)

var targetClass = func() (class [256]uint8) {
	for c := range byte(' ' + 1) {
		class[c] = forbidden
	}
	class[0x7f], class['#'] = forbidden, forbidden
	class['?'], class['%'], class['.'], class['/'] = question, percent, dotOrSlash, dotOrSlash
	return class
}()

// impersonates tells whether a name with an underscore is, to CGI and its descendants, that of a field by which a message
// is framed, by which a client is known, that a cache goes by, or that a gateway writes: they read X_Forwarded_For as
// X-Forwarded-For.
func impersonates(name []byte) bool {
	var b [maxReserved]byte
	if len(name) > len(b) {
		return bytes.HasPrefix(dashed(b[:], name[:len(forwardedPrefix)]), forwardedPrefix)
	}
	n := dashed(b[:], name)
	return bytes.HasPrefix(n, forwardedPrefix) || reserved[string(n)]
}

// dashed writes name into dst, in lower case and with hyphens for underscores.
func dashed(dst, name []byte) []byte {
	for i, c := range name {
		switch {
		case c == '_':
			c = '-'
		case 'A' <= c && c <= 'Z':
			c |= 0x20
		}
		dst[i] = c
	}
	return dst[:len(name)]
}

var forwardedPrefix = []byte("x-forwarded-")

// maxReserved is the length of the longest name in reserved.
const maxReserved = 24

// reserved are the names that impersonates knows, beside those that begin with X-Forwarded-.
var reserved = names(
	// framing, and what goes from hop to hop
	"content-length", "content-type", "content-encoding", "transfer-encoding", "keep-alive", "proxy-connection", "http2-settings",
	// who asks
	"proxy-authorization", "proxy-authenticate", "x-api-key", "api-key", "x-auth-token", "x-real-ip", "x-client-ip", "true-client-ip",
	"x-cluster-client-ip", "cf-connecting-ip", "fastly-client-ip", "x-original-url", "x-rewrite-url", "x-url-scheme", "front-end-https",
	"x-script-name", "sec-websocket-protocol",
	// what a cache goes by
	"cache-control", "accept-encoding", "accept-language", "accept-charset", "if-match", "if-none-match", "if-modified-since",
	"if-unmodified-since", "if-range", "last-event-id",
	// the gateway's own
	"x-request-id", "x-cache-post", "x-priority", "x-request-timeout-ms",
)

func names(list ...string) map[string]bool {
	set := make(map[string]bool, len(list))
	for _, name := range list {
		set[name] = true
	}
	return set
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// NamesAuthority tells whether some parsers read an authority at the beginning of a target: "//host/path", or
// with a backslash, which browsers take for a slash.
func NamesAuthority(t []byte) bool {
	return len(t) > 1 && (t[1] == '/' || t[1] == '\\')
}

// take files one field. keep tells whether the line travels on as it is; keepAlive whether it is a
// Connection field with that token.
func (h *RequestHead) take(name, value []byte, seen *requestSeen) (keep, keepAlive bool, v Violation) {
	if bytes.IndexByte(name, '_') >= 0 && impersonates(name) {
		return false, false, UnderscoreName
	}
	if len(name) > 10 {
		keep, v = h.takeLong(name, value, seen)
		return keep, false, v
	}
	switch len(name) {
	case 2:
		return !is(name, "te"), false, None // hop-by-hop
	case 3:
		if is(name, "via") {
			h.Via = append(h.Via, value)
		}
	case 4:
		if is(name, "host") {
			h.Host = value
			return false, false, onlyOnce(&seen.host, DuplicateHost)
		}
	case 6:
		if is(name, "expect") {
			if !once(&seen.expect) || len(value) != 12 || !is(value, "100-continue") {
				return false, false, BadExpect
			}
			h.Expect = h.Minor > 0
			return false, false, None
		}
	case 7:
		if is(name, "upgrade") {
			seen.upgrade++
			if !isWebSocket(value) {
				seen.upgrade++
			}
			return false, false, None
		}
		return !is(name, "trailer"), false, None // hop-by-hop; trailers are dropped
	case 10:
		if is(name, "connection") {
			closes, keeps := h.nominate(value)
			h.Close = h.Close || closes
			return false, keeps, None
		}
		if is(name, "tracestate") {
			h.TraceStates = append(h.TraceStates, value)
			return false, false, None
		}
		return !is(name, "keep-alive"), false, None
	}
	return true, false, None
}

// takeLong is take of a name of more than ten bytes.
func (h *RequestHead) takeLong(name, value []byte, seen *requestSeen) (keep bool, v Violation) {
	switch len(name) {
	case 11:
		if is(name, "traceparent") {
			if h.TraceParent = value; !once(&seen.traceParent) {
				h.TraceParent = nil // two parents are none
			}
			return false, None
		}
	case 12:
		if is(name, "x-request-id") {
			h.RequestID = value
			return false, None
		}
		if is(name, "content-type") {
			h.ContentType = value
			return true, onlyOnce(&seen.contentType, DuplicateField)
		}
	case 13:
		if is(name, "authorization") {
			return true, onlyOnce(&seen.authorization, DuplicateField)
		}
	case 14:
		if is(name, "content-length") {
			return false, h.takeLength(value, seen)
		}
		return !is(name, "http2-settings"), None
	case 15:
		if is(name, "x-forwarded-for") {
			h.ForwardedFor = append(h.ForwardedFor, value)
			return false, None
		}
	case 16:
		if is(name, "x-forwarded-host") {
			h.ForwardedHost = value
			return false, None
		}
		h.Encoded = h.Encoded || is(name, "content-encoding")
		return !is(name, "proxy-connection"), None
	case 17:
		if is(name, "x-forwarded-proto") {
			h.takeScheme(value, seen)
			return false, None
		}
		if is(name, "transfer-encoding") {
			return false, seen.takeCoding(value)
		}
	case 19:
		return !is(name, "proxy-authorization"), None // for the first proxy, which is us: RFC 9110 §11.7.2
	case 20:
		if is(name, "x-request-timeout-ms") {
			h.Timeout = value
		}
	}
	return true, None
}

// takeLength files a Content-Length line.
func (h *RequestHead) takeLength(value []byte, seen *requestSeen) Violation {
	n, ok := parseLength(value)
	if !ok || !once(&seen.length) {
		return BadContentLength
	}
	h.ContentLength = n
	return None
}

// takeCoding files a Transfer-Encoding line: there is one coding, and it is named once.
func (s *requestSeen) takeCoding(value []byte) Violation {
	if !once(&s.encoding) || len(value) != 7 || !is(value, "chunked") {
		return BadTransferEncoding
	}
	return None
}

// onlyOnce is why a field may not come again, if it has come before.
func onlyOnce(seen *bool, otherwise Violation) Violation {
	if once(seen) {
		return None
	}
	return otherwise
}

// takeScheme files an X-Forwarded-Proto line. There are two schemes: with anything else, an upstream would choose its
// answer by a word that no cache knows. Two lines that disagree say nothing.
func (h *RequestHead) takeScheme(value []byte, seen *requestSeen) {
	var scheme []byte
	switch {
	case len(value) == 4 && is(value, "http"):
		scheme = schemeHTTP
	case len(value) == 5 && is(value, "https"):
		scheme = schemeHTTPS
	}
	if !once(&seen.scheme) && !bytes.Equal(scheme, h.ForwardedProto) {
		scheme = nil
	}
	h.ForwardedProto = scheme
}

var schemeHTTP, schemeHTTPS = []byte("http"), []byte("https")

var upgradeName = []byte("upgrade")

// isWebSocket tells whether the value of an Upgrade field names WebSocket and nothing else. Names of protocols are
// compared without regard to case: RFC 9110 §7.8.
func isWebSocket(value []byte) bool { return len(value) == 9 && is(value, "websocket") }

func (h *RequestHead) checkFraming(seen *requestSeen) Violation {
	switch {
	case seen.encoding && seen.length:
		return LengthAndEncoding // RFC 9112 §6.1: an attack until proven otherwise
	case seen.encoding && h.Minor == 0:
		return BadTransferEncoding
	case seen.encoding:
		h.ContentLength = ChunkedBody
	}
	if (seen.host || h.Minor > 0) && (len(h.Host) == 0 || len(h.Host) > 255 || !validHost(h.Host)) {
		return BadHost
	}
	if h.authority != nil {
		h.Host = h.authority
	}
	return None
}

// validHost accepts a name or an address, IPv6 in brackets, with a port or without: RFC 9110 §7.2, RFC 3986 §3.2.
func validHost(v []byte) bool {
	port := v
	if v[0] == '[' {
		end := bytes.IndexByte(v, ']')
		if end < 3 {
			return false
		}
		for _, c := range v[1:end] {
			if !addressChar[c] {
				return false
			}
		}
		port = v[end+1:]
	} else {
		n := 0
		for n < len(v) && hostChar[v[n]] {
			n++
		}
		port = v[n:]
	}
	if len(port) == 0 {
		return true
	}
	for _, c := range port[1:] {
		if c < '0' || c > '9' {
			return false
		}
	}
	return port[0] == ':'
}

// once marks a field as seen and tells whether it was the first time.
func once(seen *bool) bool {
	first := !*seen
	*seen = true
	return first
}
