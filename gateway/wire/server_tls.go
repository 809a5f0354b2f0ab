package wire

import (
	"crypto/tls"
	"slices"
	"sync/atomic"
)

// Certificates are those that clients may be shown. They can be exchanged at any time.
type Certificates struct {
	list atomic.Pointer[[]*tls.Certificate]
}

// Use has clients that connect from now on shown one of the list, of which the first comes first if a client takes several. It returns
// those that are new. An empty list changes nothing.
func (c *Certificates) Use(list []*tls.Certificate) (fresh []*tls.Certificate) {
	if len(list) == 0 {
		return nil
	}
	var before []*tls.Certificate
	if old := c.list.Swap(&list); old != nil {
		before = *old
	}
	for _, one := range list {
		if !slices.ContainsFunc(before, func(old *tls.Certificate) bool { return old.Leaf.Equal(one.Leaf) }) {
			fresh = append(fresh, one)
		}
	}
	return fresh
}

// choose returns the first certificate that is for the name that the client asks for and of a kind of key that it takes. If none is for
// the name, it decides by the key: whether the name will do is for the client to say.
func (c *Certificates) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	list := *c.list.Load()
	if len(list) == 1 {
		return list[0], nil
	}
	i := supported(hello, list)
	if i < 0 && hello.ServerName != "" {
		nameless := *hello
		nameless.ServerName = ""
		i = supported(&nameless, list)
	}
	return list[max(i, 0)], nil // with a kind that the client does not take it is told so
}

func supported(hello *tls.ClientHelloInfo, list []*tls.Certificate) int {
	return slices.IndexFunc(list, func(one *tls.Certificate) bool { return hello.SupportsCertificate(one) == nil })
}

// ServerTLS is how clients are served over TLS, with the certificates that there are when one connects. HTTP/2 is not offered: see
// gateway/README.md.
func ServerTLS(certificates *Certificates) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		// For TLS 1.2: forward secrecy and authenticated encryption, as in RFC 9325 §4.2. Those of TLS 1.3 all have both.
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
			tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		NextProtos:     []string{"http/1.1"},
		GetCertificate: certificates.choose,
		// A small answer is one record and one write; with small records a large one would be a dozen of each.
		DynamicRecordSizingDisabled: true,
	}
}
