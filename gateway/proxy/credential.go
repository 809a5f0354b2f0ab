package proxy

import (
	"strings"

	"aigateway/gateway/config"
	"aigateway/gateway/wire"
)

// A credential is what a pool shows its upstreams in place of what clients show the gateway. A nil one leaves these alone.
type credential struct {
	name string // of its field, in lower case
	line []byte // the whole field, CRLF included
}

func newCredential(c config.Credential) *credential {
	if c.Value == "" {
		return nil
	}
	value := c.Value
	if strings.EqualFold(c.Header, "Authorization") {
		value = "Bearer " + value
	}
	return &credential{name: strings.ToLower(c.Header), line: wire.AppendField(nil, c.Header+": ", value)}
}

// dress takes what clients show out of the field lines at dst[from:], where a pool has a credential of its own or the gateway is
// whom it was shown to, and appends the pool's.
func (r *Request) dress(dst []byte, from int, c *credential) []byte {
	if c == nil && !r.Anonymous {
		return dst
	}
	kept := dst[:from]
	for rest := dst[from:]; len(rest) > 0; {
		name, value, behind, ok := wire.CutField(rest)
		line := rest[:len(rest)-len(behind)]
		switch rest = behind; {
		case !ok, wire.IsCredential(name), c.stands(name):
		case r.Anonymous && wire.IsProtocol(name):
			kept = appendProtocols(kept, line, name, value)
		default:
			kept = append(kept, line...) // within dst: never behind what is still to be read
		}
	}
	if c != nil {
		kept = append(kept, c.line...)
	}
	return kept
}

// replace is dress for the gateway's own requests.
func (c *credential) replace(dst []byte, from int) []byte { return new(Request).dress(dst, from, c) }

// appendProtocols appends a line that lists protocols without those that are keys, which is never longer than it was.
func appendProtocols(dst, line, name, list []byte) []byte {
	if !holdsKey(list) {
		return append(dst, line...)
	}
	start, between := len(dst), byte(':')
	dst = append(dst, name...)
	for len(list) > 0 {
		var protocol, key []byte
		if protocol, key, list = wire.CutProtocol(list); key == nil && len(protocol) > 0 {
			dst = append(append(dst, between), protocol...)
			between = ','
		}
	}
	if between == ':' {
		return dst[:start] // there was nothing else
	}
	return append(dst, "\r\n"...)
}

func holdsKey(list []byte) bool {
	for len(list) > 0 {
		var key []byte
		if _, key, list = wire.CutProtocol(list); key != nil {
			return true
		}
	}
	return false
}

// stands tells whether the credential stands in the place of a field, also of one that is the same to CGI and its descendants,
// which take an underscore for a hyphen. Those that all pools replace are refused with underscores.
func (c *credential) stands(name []byte) bool {
	return c != nil && len(name) == len(c.name) && sameVariable(name, c.name)
}

// sameVariable tells whether a name is, but for case and underscores, that one in lower case, of the same length: RFC 3875 §4.1.18.
func sameVariable(name []byte, lower string) bool {
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if l := lower[i]; c != l && (c != '_' || l != '-') && (c != '-' || l != '_') {
			return false
		}
	}
	return true
}

// CredentialRoom is how much longer a head may be for the pool's credential, in bytes.
func (p *Pool) CredentialRoom() int {
	if p == nil || p.credential == nil {
		return 0
	}
	return len(p.credential.line)
}
