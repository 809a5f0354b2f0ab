package server

import (
	"crypto/tls"
	"errors"
	"strings"
)

// UseCertificate serves clients that connect from now on with this certificate. A nil one changes nothing.
func (g *Gateway) UseCertificate(c *tls.Certificate) {
	if c == nil {
		return
	}
	if old := g.certificate.Swap(c); old != nil && old.Leaf.Equal(c.Leaf) {
		return
	}
	g.log.Info("certificate in use", "names", strings.Join(c.Leaf.DNSNames, ", "), "expires", c.Leaf.NotAfter)
}

// clientTLS is how clients are served over TLS, and nil without a certificate. HTTP/2 is not offered: see
// gateway/README.md.
func (g *Gateway) clientTLS() *tls.Config {
	if g.certificate.Load() == nil {
		return nil
	}
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
		NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if c := g.certificate.Load(); c != nil {
				return c, nil
			}
			return nil, errors.New("no certificate") // not reached: it is replaced, never taken away
		},
		// A small answer is one record and one write; with small records a large one would be a dozen of each.
		DynamicRecordSizingDisabled: true,
	}
}
