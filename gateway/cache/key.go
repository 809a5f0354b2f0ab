package cache

import (
	"bytes"
	"crypto/sha256"
	"strconv"
)

// AppendKey appends the text of a request's primary key (RFC 9111 §2): method class, scheme, host and the target
// exactly as it is forwarded. GET and HEAD are one class, since a HEAD is answered from a stored GET.
//
// The host is what the upstream is told in X-Forwarded-Host, in lower case and without the scheme's default port:
// these are the same host to everybody (RFC 9110 §4.2.3), and to a cache they must be, or a client could fill it
// with spellings. Nothing of the target is normalised: two spellings of a path are the same to some upstreams and
// not to others, and only who answers may decide. Lengths go before the parts, so that no two requests have the
// same text. The tenant comes last, where responses are not for all.
func AppendKey(dst []byte, o Origin, target []byte) []byte {
	dst = appendOrigin(append(dst, keyGet...), o, target)
	if len(o.Tenant) > 0 {
		dst = append(appendSized(dst, len(o.Tenant)), o.Tenant...)
	}
	return dst
}

const keyGet = "GET "

// appendOrigin appends what all keys have behind the class of the method.
func appendOrigin(dst []byte, o Origin, target []byte) []byte {
	dst = append(dst, o.scheme()...)
	host := o.bareHost()
	dst = appendSized(dst, len(host))
	for _, c := range host {
		dst = append(dst, lower(c))
	}
	dst = appendSized(dst, len(target))
	return append(dst, target...)
}

// appendSized appends a separator and a length.
func appendSized(dst []byte, n int) []byte {
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, int64(n), 10)
	return append(dst, ':')
}

// bareHost is the host without an empty port or the default one.
func (o Origin) bareHost() []byte {
	i := bytes.LastIndexByte(o.Host, ':')
	if i < 0 {
		return o.Host
	}
	if port := o.Host[i+1:]; len(port) == 0 || string(port) == o.defaultPort() {
		return o.Host[:i]
	}
	return o.Host
}

// sameHost tells whether two hosts are one, spelled differently perhaps.
func (o Origin) sameHost(host []byte) bool {
	return sameName(o.bareHost(), Origin{Secure: o.Secure, Host: host}.bareHost())
}

// SplitKey takes a key's text apart, as a purge by path needs it. rest is the tenant and what [AppendVariant] added, or what [SplitPost]
// takes apart; the class is POST then. Everything is borrowed. ok is false for a text that AppendKey did not write.
func SplitKey(text []byte) (o Origin, target, rest []byte, ok bool) {
	text, post := bytes.CutPrefix(text, methodPost)
	if text, ok = bytes.CutPrefix(text, methodGet); post == ok {
		return Origin{}, nil, nil, false
	}
	text, ok = bytes.CutPrefix(text, schemeHTTPS)
	if o.Secure = ok; !ok {
		if text, ok = bytes.CutPrefix(text, schemeHTTP); !ok {
			return Origin{}, nil, nil, false
		}
	}
	if o.Host, text, ok = cutSized(text); !ok {
		return Origin{}, nil, nil, false
	}
	if target, rest, ok = cutSized(text); !ok {
		return Origin{}, nil, nil, false
	}
	if post {
		_, ok = SplitPost(rest)
	}
	return o, target, rest, ok
}

// TenantOf is whose response the key is of, of which rest is what stands behind the target; nil: it is not one tenant's.
func TenantOf(rest []byte) []byte {
	if p, ok := SplitPost(rest); ok {
		return p.Tenant
	}
	if len(rest) == 0 || rest[0] != space[0] {
		return nil
	}
	tenant, _, _ := cutSized(rest)
	return tenant
}

var methodGet, methodPost, schemeHTTP, schemeHTTPS = []byte(keyGet), []byte(keyPost), []byte("http "), []byte("https ")

// cutSized reads what appendSized and the bytes after it wrote; the separator before it may be gone.
func cutSized(b []byte) (part, rest []byte, ok bool) {
	b = bytes.TrimPrefix(b, space)
	digits, b, ok := bytes.Cut(b, colon)
	if n, valid := parseSeconds(digits); ok && valid && len(digits) < 10 && n <= int64(len(b)) {
		return b[:n], b[n:], true
	}
	return nil, nil, false
}

var colon, space = []byte(":"), []byte(" ")

// Hash turns a key's text into the name of its record.
func Hash(text []byte) Key { return sha256.Sum256(text) }
