package server

import (
	"crypto/tls"
	"errors"
	"strings"

	"aigateway/gateway/wire"
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
	return wire.ServerTLS(func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		if c := g.certificate.Load(); c != nil {
			return c, nil
		}
		return nil, errors.New("no certificate") // not reached: it is replaced, never taken away
	})
}
