package main

import (
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"aigateway/gateway/config"
)

// The answer of -healthcheck to what listens on the gateway's port: exit code, and at most one line that says why.
func TestHealthcheck(t *testing.T) {
	page := func(status int) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/livez" {
				status = http.StatusNotFound
			}
			w.WriteHeader(status)
		})
	}
	f := func(what string, port string, code int, said string, more ...string) {
		t.Helper()
		var stderr strings.Builder
		got := run([]string{"-healthcheck"}, append(more, "PORT="+port), nil, &stderr)
		line := stderr.String()
		if got != code || !strings.Contains(line, said) || strings.Count(line, "\n") != code {
			t.Errorf("%s: exit code %d, stderr %q; want %d and %q", what, got, line, code, said)
		}
	}
	secure := httptest.NewTLSServer(page(200))
	https := certificateOf(t, secure)
	f("alive", portOf(t, httptest.NewServer(page(200))), 0, "")
	f("alive, by TLS", portOf(t, secure), 0, "", https...)
	f("an error", portOf(t, httptest.NewServer(page(503))), 1, "503")
	f("an error, by TLS", portOf(t, httptest.NewTLSServer(page(503))), 1, "503", https...)
	f("plain, not TLS", portOf(t, httptest.NewServer(page(200))), 1, "unhealthy", https...)

	// what became faulty since it started
	gone := []string{"TLS_CERT_FILE=gone.pem", "TLS_KEY_FILE=gone.pem"}
	f("alive, its certificate gone", portOf(t, httptest.NewTLSServer(page(200))), 0, "", gone...)
	f("alive, a wrong setting", portOf(t, httptest.NewServer(page(200))), 0, "", "GLOBAL_RPS=many")
	f("an error, a wrong setting", portOf(t, httptest.NewServer(page(503))), 1, "503", "GLOBAL_RPS=many")
	f("a redirect", portOf(t, httptest.NewServer(http.RedirectHandler("/", http.StatusFound))), 1, "302")
	f("a wrong port", "none", 1, "PORT")

	free := httptest.NewServer(page(200))
	port := portOf(t, free)
	free.Close()
	f("nobody", port, 1, "refused")
}

// The port may be set in the file, which is given to the check as to the gateway.
func TestHealthcheckReadsTheFile(t *testing.T) {
	port := portOf(t, httptest.NewServer(http.NotFoundHandler()))
	var stderr strings.Builder
	in := config.Input{File: "gateway.yaml", ReadFile: func(string) ([]byte, error) { return []byte("port: " + port + "\n"), nil }}
	if code := healthcheck(in, &stderr); code != 1 || !strings.Contains(stderr.String(), "127.0.0.1:"+port) {
		t.Errorf("exit code %d, stderr %q; want 1 and the port of the file", code, stderr.String())
	}
}

func portOf(t *testing.T, s *httptest.Server) string {
	t.Cleanup(s.Close)
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// certificateOf writes the server's certificate and key where settings can name them.
func certificateOf(t *testing.T, s *httptest.Server) []string {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(s.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	return []string{
		"TLS_CERT_FILE=" + write("cert.pem", "CERTIFICATE", s.TLS.Certificates[0].Certificate[0]),
		"TLS_KEY_FILE=" + write("key.pem", "PRIVATE KEY", key),
	}
}
