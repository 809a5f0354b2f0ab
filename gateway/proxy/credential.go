package proxy

import (
	"bytes"
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

// clientCredentials are the fields by which clients say who they are: they are for the gateway, and go no further where a pool
// has a credential of its own.
var clientCredentials = [...]string{"authorization", "x-api-key", "api-key"}

// replace takes what clients show out of the field lines at dst[from:], and appends the credential.
func (c *credential) replace(dst []byte, from int) []byte {
	if c == nil {
		return dst
	}
	kept := dst[:from]
	for rest := dst[from:]; len(rest) > 0; {
		name, _, behind, ok := wire.CutField(rest)
		if line := rest[:len(rest)-len(behind)]; ok && !c.stands(name) {
			kept = append(kept, line...) // within dst: never behind what is still to be read
		}
		rest = behind
	}
	return append(kept, c.line...)
}

// stands tells whether the credential stands in the place of a field, also of one that is the same to CGI and its descendants,
// which take an underscore for a hyphen. The others are refused with underscores.
func (c *credential) stands(name []byte) bool {
	if len(name) == len(c.name) && sameVariable(name, c.name) {
		return true
	}
	for _, known := range clientCredentials {
		if len(name) == len(known) && bytes.EqualFold(name, []byte(known)) {
			return true
		}
	}
	return false
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
