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
	if len(t.Certificates) == 0 {
		return
	}
	g.tls = wire.ServerTLS(&g.certificates)
	g.UseCertificates(t.Certificates)
	g.UseTicketKeys(t.TicketKeys)
}

// UseCertificates serves clients that connect from now on with one of these certificates. None change nothing.
func (g *Gateway) UseCertificates(list []*tls.Certificate) {
	for _, c := range g.certificates.Use(list) {
		g.log.Info("certificate in use", "names", strings.Join(c.Leaf.DNSNames, ", "),
			"key", c.Leaf.PublicKeyAlgorithm.String(), "expires", c.Leaf.NotAfter)
	}
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
