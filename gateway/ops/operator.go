package ops

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
)

// ShowsToken tells whether a request, whose fields these are, shows ADMIN_TOKEN: as Bearer, or as the password of Basic, which
// is what browsers and Prometheus know. Without ADMIN_TOKEN nobody does.
func (o *Ops) ShowsToken(field func(lower string) (value []byte, ok bool)) bool {
	token := o.view.Load().Token
	value, ok := field("authorization")
	if token == "" || !ok {
		return false
	}
	scheme, shown, _ := bytes.Cut(value, space)
	shown = bytes.TrimSpace(shown)
	switch {
	case bytes.EqualFold(scheme, schemeBearer):
	case bytes.EqualFold(scheme, schemeBasic):
		if shown, ok = password(shown); !ok {
			return false
		}
	default:
		return false
	}
	// Of hashes, so that the time tells nothing of the length either.
	a, b := sha256.Sum256(shown), sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

var space, schemeBearer, schemeBasic = []byte(" "), []byte("Bearer"), []byte("Basic")

// password is that of Basic's credentials, whoever it says that it is: RFC 7617 §2.
func password(credentials []byte) (_ []byte, ok bool) {
	text, err := base64.StdEncoding.AppendDecode(nil, credentials)
	if err != nil {
		return nil, false
	}
	_, password, ok := bytes.Cut(text, []byte(":"))
	return password, ok
}
