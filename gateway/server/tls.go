package server

import (
	"crypto/tls"
	"slices"
	"strings"

	"aigateway/gateway/config"
	"aigateway/gateway/wire"
)

// secure has clients served over TLS, if the settings name a certificate. HTTP/2 is not offered: see gateway/README.md.
func (g *Gateway) secure(t config.TLS) {
	if t.Certificate == nil {
		return
	}
	g.tls = wire.ServerTLS(func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return g.certificate.Load(), nil })
	g.UseCertificate(t.Certificate)
	g.UseTicketKeys(t.TicketKeys)
}

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

// UseTicketKeys gives clients that connect from now on tickets of the first key, and resumes sessions of tickets of any. None
// changes nothing.
func (g *Gateway) UseTicketKeys(keys [][32]byte) {
	if g.tls == nil || len(keys) == 0 {
		return
	}
	g.tls.SetSessionTicketKeys(keys)
	if old := g.ticketKeys.Swap(&keys); old == nil || !slices.Equal(*old, keys) {
		g.log.Info("ticket keys in use", "keys", len(keys))
	}
}
