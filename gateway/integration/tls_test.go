//go:build integration

package integration

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"aigateway/gateway/testkit"
)

// A certificate that is swapped as Kubernetes swaps a secret, by a symbolic link, is in use soon after, though the
// settings have a fault by then.
func TestCertificateSwap(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"old", "new"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		testkit.WriteCertificate(t, name+".example", filepath.Join(dir, name, "tls.crt"), filepath.Join(dir, name, "tls.key"))
	}
	point := func(to string) {
		t.Helper()
		next := filepath.Join(dir, "next")
		if err := os.Symlink(to, next); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, filepath.Join(dir, "now")); err != nil {
			t.Fatal(err)
		}
	}
	point("old")
	file := filepath.Join(dir, "gateway.yaml")
	text := fmt.Sprintf("tls_cert_file: %q\ntls_key_file: %q\n", filepath.Join(dir, "now", "tls.crt"), filepath.Join(dir, "now", "tls.key"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	g := startOn(t, testkit.FreePort(t), command{args: []string{"-demo", "-config", file}})
	name := func() string {
		conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", g.port), &tls.Config{InsecureSkipVerify: true}) // it is its own issuer
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].DNSNames[0]
	}
	if got := name(); got != "old.example" {
		t.Errorf("the certificate is for %s", got)
	}
	if err := os.WriteFile(file, []byte(text+"port: none\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	point("new")
	eventually(t, patience, "the new certificate is in use", func() bool { return name() == "new.example" })
}
