package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"aigateway/gateway/config"
	"aigateway/gateway/process"
	"aigateway/gateway/server"
	"aigateway/gateway/testkit"
)

// certificateFiles writes a certificate of the name a and its key.
func certificateFiles(t *testing.T) (cert, key string) {
	t.Helper()
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"a"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, of, of, &secret.PublicKey, secret)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// TLS_TICKET_KEYS_FILE is watched. With faults it is reported and the keys in force stay; a fault elsewhere keeps no key alive.
func TestReloadTicketKeys(t *testing.T) {
	cert, key := certificateFiles(t)
	tickets, gateway := filepath.Join(t.TempDir(), "tickets"), filepath.Join(t.TempDir(), "gateway.yaml")
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
	s, _, err := config.Load(in)
	if err != nil {
		t.Fatal(err)
	}
	log := &testkit.Log{}
	g, err := server.New(s, server.Options{Log: log.Logger()})
	if err != nil {
		t.Fatal(err)
	}
	running := testkit.Serve(t, g, log)
	r := &reloader{in: in, gateway: g, log: log.Logger(), level: new(slog.LevelVar), notify: process.NewNotifier(nil)}
	r.settings.Store(s)
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
