package cache

import (
	"bytes"
	"crypto/sha256"
	"slices"

	"aigateway/gateway/wire"
)

// Fields is what an operator says about the request fields of a route. Names are in lower case. Nil: nothing.
type Fields struct {
	Key    [][]byte // part of the key whatever an answer says
	Ignore [][]byte // cannot matter, as far as the operator knows
}

// settles tells whether the operator has decided about the field.
func (f *Fields) settles(name []byte) bool {
	return f != nil && (hasName(f.Key, name) || hasName(f.Ignore, name))
}

func hasName(names [][]byte, name []byte) bool {
	return slices.ContainsFunc(names, func(n []byte) bool { return sameName(n, name) })
}

// AppendTo appends to a key's text the fields that are part of it on this route: as one hash, since their values may be
// long or secret. Nothing, if the request has none of them.
func (f *Fields) AppendTo(dst []byte, h *wire.RequestHead) []byte {
	if f == nil || len(f.Key) == 0 {
		return dst
	}
	start := len(dst)
	for _, name := range f.Key {
		at := len(dst)
		if dst = appendCombined(append(dst, name...), name, h); len(dst) == at+len(name) {
			dst = dst[:at] // absent
			continue
		}
		dst = append(dst, '\n')
	}
	if len(dst) == start {
		return dst
	}
	sum := sha256.Sum256(dst[start:])
	return append(append(dst[:start], "\n+"...), sum[:]...)
}

// Where freshness is our own idea, an answer is evidence only of what the same request gets. So every field is part
// of the key that is neither on the short list of those that cannot matter (wire does not note them) nor settled by
// the operator. Its name among those of Vary is "*", which no answer that is stored can say.
var othersName = []byte("*")

// AppendOthers appends to a key's text what [AppendVariant] appends for an answer whose freshness is our own idea and
// that does not vary otherwise.
func (r *Request) AppendOthers(dst []byte) []byte {
	return r.appendClass(append(append(dst, '\n'), othersName...))
}

// appendClass appends a hash of the fields: there may be secrets among them, and they may be long.
func (r *Request) appendClass(dst []byte) []byte {
	if len(r.others) == 0 {
		return dst
	}
	if !r.hashed {
		r.class, r.hashed = sha256.Sum256(r.others), true
	}
	return append(append(dst, ':'), r.class[:]...)
}

// other files a field that may matter to an upstream.
func (r *Request) other(name, value []byte, o Origin) {
	switch {
	case isCredential(name):
		r.Credentials = true
	case isUnkeyed(name):
		if !o.implies(name, value) {
			r.refuse(ForUnkeyedField)
		}
		return
	case isAddress(name) && o.Client != nil && o.Client.HasAddress(value):
		return // as X-Forwarded-For, by which answers are not told apart either
	case len(value) == 1 && value[0] == '*' && is(name, "accept-language"), len(value) == 3 && is(value, "*/*") && is(name, "accept"):
		return // says no more than no field: RFC 9110 §12.5.1, §12.5.4
	}
	r.tell(name, value)
}

// underscored files a field whose name has an underscore. CGI and its descendants take it for a hyphen, others do not; so
// what would speak to caches, or choose the target, with a hyphen has the request go past the cache.
func (r *Request) underscored(name, value []byte) {
	r.name = append(r.name[:0], name...)
	for i, c := range r.name {
		if c == '_' {
			r.name[i] = '-'
		}
	}
	if hasPrefix(r.name, "if-") || is(r.name, "last-event-id") || isUnkeyed(r.name) && !isCredential(r.name) {
		r.refuse(ForUnkeyedField)
	}
	r.Credentials = r.Credentials || isCredential(r.name)
	r.tell(name, value)
}

// tell adds a field to those that tell requests apart.
func (r *Request) tell(name, value []byte) {
	for _, c := range name {
		r.others = append(r.others, lower(c))
	}
	r.others = append(r.others, ':')
	if is(name, "accept-language") {
		r.others = appendLanguageList(r.others, value)
	} else {
		r.others = append(r.others, value...)
	}
	r.others = append(r.others, '\n')
}

// isCredential tells whether the field says who asks, apart from Authorization: cookies, API keys, and the
// identity that an authenticating proxy has found out. The names of the many kinds of keys have in common how
// they begin or end.
func isCredential(name []byte) bool {
	switch len(name) {
	case 6:
		return is(name, "cookie") || is(name, "apikey")
	case 8:
		if is(name, "x-apikey") {
			return true
		}
	}
	return hasSuffix(name, "-key") || hasSuffix(name, "-token") || hasPrefix(name, "x-auth") ||
		hasPrefix(name, "x-amzn-oidc-") || is(name, "x-forwarded-user") || is(name, "x-forwarded-email") ||
		is(name, "x-forwarded-groups") || is(name, "x-forwarded-preferred-username")
}

// isAddress tells whether the field is one in which proxies say whose request it is, by address.
func isAddress(name []byte) bool {
	switch len(name) {
	case 9:
		return is(name, "x-real-ip")
	case 11:
		return is(name, "x-client-ip")
	case 14:
		return is(name, "true-client-ip")
	case 16:
		return is(name, "cf-connecting-ip") || is(name, "fastly-client-ip")
	case 18:
		return is(name, "cf-connecting-ipv6")
	case 19:
		return is(name, "x-cluster-client-ip")
	case 25:
		return is(name, "x-envoy-external-address")
	}
	return false
}

// isUnkeyed tells whether some upstreams choose or write their answer by the field, as if it were the target, the
// scheme or the Host: RFC 9111 §7.1. X-Forwarded-Proto, -Host and -For never get here: wire keeps them.
func isUnkeyed(name []byte) bool {
	switch lower(name[0]) {
	case 'c':
		return is(name, "cf-visitor") || is(name, "cloudfront-forwarded-proto")
	case 'f':
		return is(name, "forwarded") || is(name, "front-end-https") || is(name, "fastly-ssl")
	case 'x':
		return isUnkeyedX(name)
	}
	return is(name, "base-url") || is(name, "request-uri") || is(name, "proxy-host") || is(name, "script-name") || is(name, "path-info")
}

func isUnkeyedX(name []byte) bool {
	if hasPrefix(name, "x-forwarded-") || hasPrefix(name, "x-original-") || hasPrefix(name, "x-rewrite-") ||
		hasPrefix(name, "x-http-") || hasPrefix(name, "x-method-") || hasPrefix(name, "x-url-") {
		return true
	}
	for _, n := range [...]string{"x-host", "x-scheme", "x-proto", "x-https", "x-ssl", "x-port", "x-server-name", "x-script-name", "x-prefix", "x-path-info", "x-base-url",
		"x-request-uri", "x-backend-host", "x-real-host", "x-host-override", "x-accel-redirect", "x-proxy-url", "x-proxy-host", "x-envoy-original-path"} {
		if is(name, n) {
			return true
		}
	}
	return false
}

func hasPrefix(name []byte, lower string) bool {
	return len(name) >= len(lower) && is(name[:len(lower)], lower)
}

func hasSuffix(name []byte, lower string) bool {
	return len(name) >= len(lower) && is(name[len(name)-len(lower):], lower)
}

// implies tells whether a field says only what scheme and host say already. Load balancers add such fields to
// every request.
func (o Origin) implies(name, value []byte) bool {
	switch {
	case is(name, "x-forwarded-port"), is(name, "x-port"):
		return o.hasPort(value)
	case is(name, "x-forwarded-scheme"), is(name, "x-scheme"), is(name, "x-url-scheme"), is(name, "x-forwarded-protocol"),
		is(name, "x-url-protocol"), is(name, "x-proto"), is(name, "cloudfront-forwarded-proto"):
		return is(value, o.scheme())
	case is(name, "x-forwarded-ssl"), is(name, "front-end-https"), is(name, "x-https"), is(name, "x-ssl"):
		return o.Secure && is(value, "on") || !o.Secure && is(value, "off")
	case is(name, "fastly-ssl"):
		return o.Secure && string(value) == "1"
	case is(name, "cf-visitor"):
		return o.Secure && string(value) == `{"scheme":"https"}` || !o.Secure && string(value) == `{"scheme":"http"}`
	}
	return false
}

func (o Origin) hasPort(port []byte) bool {
	if i := bytes.LastIndexByte(o.Host, ':'); i >= 0 && bytes.IndexByte(o.Host[i:], ']') < 0 {
		return bytes.Equal(o.Host[i+1:], port)
	}
	return string(port) == o.defaultPort()
}

func (o Origin) scheme() string {
	if o.Secure {
		return "https"
	}
	return "http"
}

func (o Origin) defaultPort() string {
	if o.Secure {
		return "443"
	}
	return "80"
}
