package proxy

import (
	"net/url"
	"testing"

	"aigateway/gateway/config"
)

// The zone of an IPv6 address is for whoever connects, and for nobody else.
func TestZoneStaysHere(t *testing.T) {
	f := func(raw, host, hostport, serverName string) {
		t.Helper()
		at, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		u := newUpstream(config.Upstream{URL: at}, &Pool{}, config.Pool{})
		if u.host != host || u.resolver.hostport != hostport {
			t.Errorf("%s: Host %q, connects to %q", raw, u.host, u.resolver.hostport)
		}
		if u.tls != nil && u.tls.ServerName != serverName {
			t.Errorf("%s: expects a certificate for %q", raw, u.tls.ServerName)
		}
	}
	f("http://[fe80::1%25eth0]:8000", "[fe80::1]:8000", "[fe80::1%eth0]:8000", "")
	f("http://[fe80::1%25eth0]:80", "[fe80::1]", "[fe80::1%eth0]:80", "")
	f("https://[fe80::1%25eth0]:443", "[fe80::1]", "[fe80::1%eth0]:443", "fe80::1")
	f("http://[::1]:8000", "[::1]:8000", "[::1]:8000", "")
	f("http://name:8000", "name:8000", "name:8000", "")
}
