package server

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
)

// trusts tells whether the peer may speak for a client in X-Forwarded fields.
func (g *Gateway) trusts(peer netip.Addr) bool {
	for _, p := range g.settings.TrustedProxies {
		if p.Contains(peer) {
			return true
		}
	}
	return false
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
	// https://www.w3.org/TR/trace-context/: version, trace-id, parent-id, flags (not sampled: nothing here
	// records spans).
	x.trace = append(x.trace[:0], "00-"...)
	x.trace = hex.AppendEncode(x.trace, x.random[:16])
	x.trace = append(x.trace, '-')
	x.trace = hex.AppendEncode(x.trace, x.random[16:])
	x.trace = append(x.trace, "-00"...)
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
