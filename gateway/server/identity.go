package server

import (
	"aigateway/gateway/cache"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
	"unsafe"
)

// maxHops bounds how many addresses of X-Forwarded-For are looked at.
const maxHops = 32

// client is the address that a request counts for: the peer's, or if the peer may speak for a client, the
// right-most address in X-Forwarded-For that may not. Whatever stands left of it was said by somebody who is
// not trusted. What cannot be read ends the search at the last hop that was.
func (p *plan) client(peer netip.Addr, forwardedFor [][]byte) netip.Addr {
	if !p.trusts(peer) {
		return peer
	}
	hop, hops := peer, 0
	for i := len(forwardedFor) - 1; i >= 0; i-- {
		for list := forwardedFor[i]; len(list) > 0; {
			at := bytes.LastIndexByte(list, ',')
			element := bytes.Trim(list[at+1:], " \t")
			list = list[:max(at, 0)]
			if hops++; hops > maxHops {
				return hop
			}
			if len(element) == 0 {
				continue // RFC 9110 §5.6.1.2: empty elements are ignored
			}
			addr, ok := parseHop(element)
			if !ok {
				return hop
			}
			if hop = addr; !p.trusts(addr) {
				return hop
			}
		}
	}
	return hop
}

// parseHop reads one element: an IPv4 or IPv6 address, perhaps with a port, brackets or a zone.
func parseHop(b []byte) (netip.Addr, bool) {
	port := -1
	switch end := bytes.IndexByte(b, ']'); {
	case b[0] == '[' && end > 0:
		if end+1 < len(b) {
			port = end + 1
		}
		if port > 0 && !isPort(b[port:]) {
			return netip.Addr{}, false
		}
		b = b[1:end]
	case bytes.Count(b, colon) == 1:
		port = bytes.IndexByte(b, ':')
		if !isPort(b[port:]) {
			return netip.Addr{}, false
		}
		b = b[:port]
	}
	if zone := bytes.IndexByte(b, '%'); zone >= 0 {
		b = b[:zone]
	}
	if len(b) == 0 || len(b) > len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255") {
		return netip.Addr{}, false
	}
	// The address holds no reference to the text, which lives only until the next request: a zone would, and is
	// cut off.
	addr, err := netip.ParseAddr(unsafe.String(&b[0], len(b)))
	if err != nil {
		return netip.Addr{}, false
	}
	return addr.Unmap(), true
}

var colon = []byte(":")

// isPort tells whether b is a colon and a number.
func isPort(b []byte) bool {
	if len(b) < 2 || len(b) > 6 || b[0] != ':' {
		return false
	}
	for _, c := range b[1:] {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// appendClientKey appends what the limiter knows a client by: an IPv4 address, or the /64 that an IPv6 client
// has all to itself.
func appendClientKey(dst []byte, addr netip.Addr) []byte {
	switch {
	case addr.Is4():
		a := addr.As4()
		return append(dst, a[:]...)
	case addr.Is6():
		a := addr.As16()
		return append(dst, a[:8]...)
	}
	return dst // a connection without an address
}

// trusts tells whether the peer may speak for a client in X-Forwarded fields.
func (p *plan) trusts(peer netip.Addr) bool {
	for _, prefix := range p.settings.TrustedProxies {
		if prefix.Contains(peer) {
			return true
		}
	}
	return false
}

// origin is whom the client meant to ask, as the upstream will be told.
func (x *exchange) origin() cache.Origin {
	o := cache.Origin{Secure: x.conn.Secure(), Host: x.head.Host, Client: x, Keyed: x.tenant.Key != nil}
	if !x.route.caching.Shared {
		o.Tenant = x.tenant.ID
	}
	if len(x.head.ForwardedProto) == 0 && len(x.head.ForwardedHost) == 0 || !x.plan.trusts(x.conn.Peer()) {
		return o
	}
	if len(x.head.ForwardedProto) > 0 {
		o.Secure = string(x.head.ForwardedProto) == "https"
	}
	if len(x.head.ForwardedHost) > 0 {
		o.Host = x.head.ForwardedHost
	}
	return o
}

// HasAddress implements [cache.Client].
func (x *exchange) HasAddress(text []byte) bool {
	if len(text) == 0 {
		return false
	}
	addr, ok := parseHop(text)
	return ok && addr == x.plan.client(x.conn.Peer(), x.head.ForwardedFor)
}

const maxRequestID = 128

// identify gives the request its id and its place in a trace. What the client brings is continued if it is
// well-formed; otherwise both are begun anew, with one random number for the two, so that logs and traces
// meet.
func (x *exchange) identify() {
	binary.BigEndian.PutUint64(x.random[:8], rand.Uint64())
	binary.BigEndian.PutUint64(x.random[8:16], rand.Uint64()|1) // never all zero
	binary.BigEndian.PutUint64(x.random[16:], rand.Uint64()|1)
	if id := x.head.RequestID; validID(id) {
		x.id = append(x.id[:0], id...)
	} else {
		x.id = hex.AppendEncode(x.id[:0], x.random[:16])
	}
	if validTraceParent(x.head.TraceParent) {
		x.trace = append(x.trace[:0], x.head.TraceParent...)
		x.traceStates = x.head.TraceStates
		return
	}
	// https://www.w3.org/TR/trace-context/: version, trace-id, parent-id, flags. Nothing here records spans; the
	// flag says sampled, because common samplers take "not sampled" for an order to record nothing behind us.
	x.trace = append(x.trace[:0], "00-"...)
	x.trace = hex.AppendEncode(x.trace, x.random[:16])
	x.trace = append(x.trace, '-')
	x.trace = hex.AppendEncode(x.trace, x.random[16:])
	x.trace = append(x.trace, "-01"...)
	x.traceStates = nil
}

// validID accepts what can stand in a header, a log line and a JSON string as it is.
func validID(id []byte) bool {
	if len(id) == 0 || len(id) > maxRequestID {
		return false
	}
	for _, c := range id {
		switch {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		case c == '-' || c == '_' || c == '.' || c == ':' || c == '/' || c == '+' || c == '=' || c == '@':
		default:
			return false
		}
	}
	return true
}

// validTraceParent checks the form of the W3C recommendation: two digits of version, 32 of trace id, 16 of
// parent id, two of flags, in lower case; ids are not zero, the version is not ff, and only a later version
// than 00 may go on after a hyphen.
func validTraceParent(t []byte) bool {
	if len(t) < 55 || t[2] != '-' || t[35] != '-' || t[52] != '-' {
		return false
	}
	if string(t[:2]) == "ff" || string(t[:2]) == "00" && len(t) != 55 || len(t) > 55 && t[55] != '-' {
		return false
	}
	return lowerHex(t[:2]) && lowerHex(t[3:35]) && lowerHex(t[36:52]) && lowerHex(t[53:55]) &&
		!zeros(t[3:35]) && !zeros(t[36:52])
}

func lowerHex(b []byte) bool {
	for _, c := range b {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func zeros(b []byte) bool {
	for _, c := range b {
		if c != '0' {
			return false
		}
	}
	return true
}
