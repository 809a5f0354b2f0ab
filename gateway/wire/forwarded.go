package wire

import (
	"bytes"
	"net/netip"
	"unsafe"
)

// Proxies are the networks whose addresses may speak for clients, in X-Forwarded fields.
type Proxies []netip.Prefix

// Trusts tells whether the peer may.
func (p Proxies) Trusts(peer netip.Addr) bool {
	for _, prefix := range p {
		if prefix.Contains(peer) {
			return true
		}
	}
	return false
}

// maxHops bounds how many addresses of X-Forwarded-For are looked at.
const maxHops = 32

// Client is the address that a request counts for: the peer's, or if the peer may speak for a client, the
// right-most address in X-Forwarded-For that may not. Whatever stands left of it was said by somebody who is
// not trusted. What cannot be read ends the search at the last hop that was.
func (p Proxies) Client(peer netip.Addr, forwardedFor [][]byte) netip.Addr {
	if !p.Trusts(peer) {
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
			addr, ok := ParseHop(element)
			if !ok {
				return hop
			}
			if hop = addr; !p.Trusts(addr) {
				return hop
			}
		}
	}
	return hop
}

// ParseHop reads one element: an IPv4 or IPv6 address, perhaps with a port, brackets or a zone.
func ParseHop(b []byte) (netip.Addr, bool) {
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

// AppendClientKey appends what the limiter knows a client by: an IPv4 address, or the /64 that an IPv6 client
// has all to itself.
func AppendClientKey(dst []byte, addr netip.Addr) []byte {
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
