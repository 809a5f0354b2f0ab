package behaviour

import (
	"aigateway/gateway/server"
	"aigateway/gateway/testkit"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"aigateway/gateway/config"
)

// startTLS starts an https upstream that answers with the request's query, the name that it was asked by and the body,
// and returns its URL and a file with the certificate that it can be known by. It is for 127.0.0.1 and example.com.
func startTLS(t *testing.T) (url, caFile string) {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %q %s %d", r.URL.RawQuery, r.TLS.ServerName, r.Proto, len(body))
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.EnableHTTP2 = true // which nobody asks for
	s.StartTLS()
	t.Cleanup(s.Close)
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(caFile, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return s.URL, caFile
}

func startGatewayReading(t *testing.T, file string, environ ...string) *testGateway {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gateway.yaml")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	s, _, err := config.Load(config.Input{File: path, Environ: testkit.Patient(testkit.Unlimited(
		append(environ, "PY_SERVICE_URL=http://127.0.0.1:1", "NODE_SERVICE_URL=http://127.0.0.1:1")))})
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, s, server.Options{})
}

// An https upstream is asked like any other, by its name, and only if it proves to be who it is.
func TestHTTPSUpstream(t *testing.T) {
	t.Parallel()
	url, ca := startTLS(t)
	g := startGatewayReading(t, fileOfPool(fmt.Sprintf("    tls: {ca_file: %q, server_name: example.com}", ca), url))
	c := g.Dial()
	for i := range 20 {
		name := fmt.Sprint("n", i)
		c.Send("%s", testkit.Ask([]string{"GET", "POST"}[i%2], name))
		want := fmt.Sprintf("%s %q HTTP/1.1 %d", name, "example.com", i%2*len(name))
		if r := c.ReadResponse(); r.Status() != 200 || r.Body != want {
			t.Errorf("got %q %q, %v; want %q", r.First, r.Body, r.Err, want)
		}
	}
	const size = 3 << 20
	c.Send("POST /infer/python?big HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", size)
	c.Send("%s", strings.Repeat("x", size))
	if r := c.ReadResponse(); !strings.HasSuffix(r.Body, fmt.Sprint(" ", size)) {
		t.Errorf("a body that streams: got %q %q, %v", r.First, r.Body, r.Err)
	}
	testkit.Eventually(t, "its health page is read", func() bool { return g.Parts().Proxy.Pool("p").Healthy() })
}

// An upstream that cannot prove who it is gets nothing, and the operator is told why.
func TestHTTPSUpstreamThatIsNotTrusted(t *testing.T) {
	t.Parallel()
	url, ca := startTLS(t)
	var seen atomic.Int32
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { seen.Add(1) }))
	defer plain.Close()
	for name, file := range map[string]string{
		"unknown authority": fileOfPool("", url),
		"another name":      fileOfPool(fmt.Sprintf("    tls: {ca_file: %q, server_name: other.example}", ca), url),
		"no TLS":            fileOfPool("", strings.Replace(plain.URL, "http:", "https:", 1)),
	} {
		t.Run(name, func(t *testing.T) {
			g := startGatewayReading(t, file)
			testkit.WantFault(t, g.Do(testkit.Ask("GET", "x")), 502, "upstream_tls", false)
			testkit.Eventually(t, "the reason is shown", func() bool {
				return strings.Contains(g.Do("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").Body, "upstream_tls")
			})
		})
	}
	if seen.Load() > 0 {
		t.Error("a request was sent in the clear")
	}
}
