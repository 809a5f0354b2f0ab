package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"net/url"
	"strings"

	"aigateway/gateway/config"
)

// tlsSessions is how many sessions are kept for an upstream, to be resumed by its next connections.
const tlsSessions = 32

// clientTLS is how to speak to an https upstream, nil for any other. Its certificate is always verified.
func clientTLS(u *url.URL, c config.UpstreamTLS) *tls.Config {
	if u.Scheme != "https" {
		return nil
	}
	t := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         u.Hostname(),
		NextProtos:         []string{"http/1.1"}, // and nothing else: RFC 7301
		ClientSessionCache: tls.NewLRUClientSessionCache(tlsSessions),
	}
	if c.Authorities != "" { // else the system's
		t.RootCAs = x509.NewCertPool()
		t.RootCAs.AppendCertsFromPEM([]byte(c.Authorities)) // which the settings have tried
	}
	if domain, ok := serviceOf(t.ServerName); ok {
		t.ServerName = domain
	}
	t.ServerName, _, _ = strings.Cut(t.ServerName, "%") // the zone of an address is in no certificate
	if c.ServerName != "" {
		t.ServerName = c.ServerName
	}
	return t
}
