package main

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"aigateway/gateway/config"
	"aigateway/gateway/testkit"
)

// TLS_TICKET_KEYS_FILE is watched. With faults it is reported and the keys in force stay; a fault elsewhere keeps no key alive.
func TestReloadTicketKeys(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	testkit.WriteCertificate(t, "a", cert, key)
	tickets, gateway := filepath.Join(dir, "tickets"), filepath.Join(dir, "gateway.yaml")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(tickets, strings.Repeat("A", 43)+"=\n")
	write(gateway, "")
	in := config.Input{File: gateway, Environ: []string{"TLS_CERT_FILE=" + cert, "TLS_KEY_FILE=" + key, "TLS_TICKET_KEYS_FILE=" + tickets,
		"RATE_LIMIT_ENABLED=false", "CACHE_ENABLED=false", "PY_SERVICE_URL=http://127.0.0.1:1", "NODE_SERVICE_URL=http://127.0.0.1:1"}}
	r, running, log := startReloading(t, in)
	if !slices.Contains(r.files(), tickets) {
		t.Errorf("%s is not among %q", tickets, r.files())
	}
	client := &tls.Config{InsecureSkipVerify: true, ServerName: "a", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	resumes := func(what string, want bool) {
		t.Helper()
		c := running.Dial().Over(client)
		c.Send("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
		if m := c.ReadResponse(); m.Status() != 200 {
			t.Fatalf("%s: %q, %v", what, m.First, m.Err)
		}
		if got := c.Conn.(*tls.Conn).ConnectionState().DidResume; got != want {
			t.Errorf("%s: resumes: %v", what, got)
		}
	}
	resumes("the first time", false)
	write(tickets, "QUFB\n")
	r.reload()
	if said := fmt.Sprintf("%s:1: is a key of 3 bytes", tickets); !strings.Contains(log.String(), said) {
		t.Errorf("%q is not in %s", said, log)
	}
	resumes("after a file with a fault", true)
	write(gateway, "nonsense: 1")
	write(tickets, strings.Repeat("B", 42)+"A=\n")
	r.reload()
	resumes("with other keys, and a fault elsewhere", false)
	resumes("with those", true)
	if strings.Contains(log.String(), "QUFB") || strings.Contains(log.String(), "BBBB") {
		t.Errorf("a key is in %s", log)
	}
}
