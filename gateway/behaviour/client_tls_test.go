package behaviour

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"aigateway/gateway/testkit"
)

// A testCert is a certificate in files.
type testCert struct{ cert, key string }

func newTestCert(t *testing.T, name string) *testCert {
	t.Helper()
	dir := t.TempDir()
	c := &testCert{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	c.renew(t, name)
	return c
}

// renew writes another certificate, for that name, into the files.
func (c *testCert) renew(t *testing.T, name string) {
	t.Helper()
	testkit.WriteCertificate(t, name, c.cert, c.key)
}

// client is the configuration of a client that trusts this certificate only.
func (c *testCert) client(t *testing.T) *tls.Config {
	t.Helper()
	text, err := os.ReadFile(c.cert)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		t.Fatal("no certificate")
	}
	block, _ := pem.Decode(text)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{RootCAs: pool, ServerName: leaf.DNSNames[0]}
}

func (c *testCert) environ() []string {
	return []string{"TLS_CERT_FILE=" + c.cert, "TLS_KEY_FILE=" + c.key}
}

// What is promised of plain connections holds over TLS.
func TestTLSExchanges(t *testing.T) {
	up := testkit.StartRecorder(t)
	cert := newTestCert(t, "gateway.example")
	g := startGateway(t, append(cert.environ(), "PY_SERVICE_URL="+up.URL, "TRUSTED_PROXIES=none")...)
	for name, version := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			config := cert.client(t)
			config.MaxVersion = version
			config.NextProtos = []string{"h2", "http/1.1"}
			up.Reset()
			c := g.Dial().Over(config)
			if s := c.Conn.(*tls.Conn).ConnectionState(); s.Version != version || s.NegotiatedProtocol != "http/1.1" {
				t.Errorf("version %x, protocol %q", s.Version, s.NegotiatedProtocol)
			}
			for _, request := range []string{
				"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n",
				testkit.Ask("GET", "one"), testkit.Ask("POST", "two"), testkit.Ask("POST", strings.Repeat("x", 5000)),
				"POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n" + strings.Repeat("y", 300000),
				"POST /infer/python HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
			} {
				c.Send("%s", request)
				if m := c.ReadResponse(); m.Status() != 200 || m.Err != nil {
					t.Fatalf("%.60q: %q, %v", request, m.First, m.Err)
				}
			}
			c.Send("%s", testkit.Ask("GET", "three")+testkit.Ask("GET", "four")) // at once
			for range 2 {
				if m := c.ReadResponse(); m.Status() != 200 {
					t.Errorf("one of two: %q, %v", m.First, m.Err)
				}
			}
			for _, m := range up.Whole() {
				if m.Field("X-Forwarded-Proto") != "https" {
					t.Errorf("%s: X-Forwarded-Proto is %q", m.First, m.Field("X-Forwarded-Proto"))
				}
			}
			c.Send("GET /bad HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
			c.Refused(t, "two Hosts", 400)
		})
	}
}

// Of two certificates for a name, a client gets the one of a kind that it takes, ECDSA before RSA, whatever the order of the settings and
// also if it asks for another name; of two names, the one it asks for. Each may be renewed alone.
func TestTLSCertificates(t *testing.T) {
	t.Parallel()
	ecdsa, other, rsa := newTestCert(t, "gateway.example"), newTestCert(t, "other.example"), newTestCert(t, "rsa.example")
	testkit.WriteRSACertificate(t, "gateway.example", rsa.cert, rsa.key)
	environ := []string{"TLS_CERT_FILE=" + strings.Join([]string{rsa.cert, ecdsa.cert, other.cert}, ","),
		"TLS_KEY_FILE=" + strings.Join([]string{rsa.key, ecdsa.key, other.key}, ",")}
	g := startGateway(t, environ...)
	all, onlyRSA, onlyECDSA := rsa.client(t), rsa.client(t), ecdsa.client(t)
	for _, c := range []*testCert{ecdsa, other} {
		text, err := os.ReadFile(c.cert)
		if err != nil || !all.RootCAs.AppendCertsFromPEM(text) {
			t.Fatal(err)
		}
	}
	onlyRSA.MaxVersion, onlyRSA.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
	onlyECDSA.MaxVersion, onlyECDSA.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
	f := func(what string, client *tls.Config, want string) {
		t.Helper()
		c := g.Dial().Over(client)
		c.Send("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
		if m := c.ReadResponse(); m.Status() != 200 {
			t.Errorf("%s: %q, %v", what, m.First, m.Err)
		}
		leaf := c.Conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
		if got := leaf.PublicKeyAlgorithm.String() + " " + leaf.DNSNames[0]; got != want {
			t.Errorf("%s: is shown %s, not %s", what, got, want)
		}
	}
	named := func(client *tls.Config, name string) *tls.Config {
		client = client.Clone()
		client.ServerName, client.InsecureSkipVerify = name, true
		return client
	}
	f("takes both", all, "ECDSA gateway.example")
	f("takes RSA", onlyRSA, "RSA gateway.example")
	f("takes ECDSA", onlyECDSA, "ECDSA gateway.example")
	f("asks for the other name", named(all, "other.example"), "ECDSA other.example")
	f("takes RSA, and asks for the other name", named(onlyRSA, "other.example"), "RSA gateway.example")
	f("asks for a third name", named(all, "third.example"), "ECDSA gateway.example")
	f("takes RSA, and asks for a third name", named(onlyRSA, "third.example"), "RSA gateway.example")
	f("asks for no name", named(all, ""), "ECDSA gateway.example")

	before := g.Log.String()
	testkit.WriteRSACertificate(t, "gateway.example", rsa.cert, rsa.key)
	g.reload("", environ...)
	if n := strings.Count(strings.TrimPrefix(g.Log.String(), before), "certificate in use"); n != 1 {
		t.Errorf("%d certificates came into use, not the one that has changed", n)
	}
	f("takes RSA, and trusts the new one", func() *tls.Config {
		client := rsa.client(t)
		client.MaxVersion, client.CipherSuites = onlyRSA.MaxVersion, onlyRSA.CipherSuites
		return client
	}(), "RSA gateway.example")
	f("takes both, of which one is new", all, "ECDSA gateway.example")
}

// Old versions, other protocols and clients that do not speak TLS get no further; others do not notice.
func TestTLSRefusals(t *testing.T) {
	t.Parallel()
	cert := newTestCert(t, "gateway.example")
	g := startGateway(t, cert.environ()...)
	f := func(name string, change func(c *tls.Config)) {
		t.Helper()
		config := cert.client(t)
		change(config)
		c := g.Dial()
		if err := tls.Client(c.Conn, config).Handshake(); err == nil {
			t.Errorf("%s: the handshake succeeds", name)
		}
	}
	f("TLS 1.1", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 })
	f("HTTP/2 only", func(c *tls.Config) { c.NextProtos = []string{"h2"} })
	f("CBC", func(c *tls.Config) {
		c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
	})
	plain := g.Dial()
	plain.Send("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
	if all, _ := plain.Rest(); strings.Contains(all, "200 OK") {
		t.Errorf("a client without TLS gets %q", all)
	}
	c := g.Dial().Over(cert.client(t))
	c.Send("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
	if m := c.ReadResponse(); m.Status() != 200 {
		t.Errorf("%q, %v", m.First, m.Err)
	}
}

// recordsOf counts the TLS records of application data in what came over a connection.
type recordsOf struct {
	net.Conn
	mu    sync.Mutex
	bytes []byte
}

func (r *recordsOf) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	r.mu.Lock()
	r.bytes = append(r.bytes, p[:n]...)
	r.mu.Unlock()
	return n, err
}

func (r *recordsOf) count() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for b := r.bytes; len(b) >= 5; b = b[5+int(b[3])<<8+int(b[4]):] {
		n++
	}
	r.bytes = nil
	return n
}

// Head and body of a short answer are one record.
func TestTLSRecords(t *testing.T) {
	up := testkit.StartRecorder(t)
	cert := newTestCert(t, "gateway.example")
	g := startGateway(t, append(cert.environ(), "PY_SERVICE_URL="+up.URL)...)
	c := g.Dial()
	seen := &recordsOf{Conn: c.Conn}
	c.Conn = seen
	config := cert.client(t)
	config.MaxVersion = tls.VersionTLS12 // which sends no tickets behind the handshake
	c = c.Over(config)
	seen.count()
	for _, request := range []string{testkit.Ask("GET", "one"), testkit.Ask("POST", strings.Repeat("x", 9000)), "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"} {
		c.Send("%s", request)
		if m := c.ReadResponse(); m.Status() != 200 {
			t.Fatalf("%q, %v", m.First, m.Err)
		}
		if n := seen.count(); n != 1 {
			t.Errorf("%.40q: the answer came in %d records", request, n)
		}
	}
}

// A client that leaves is noticed below TLS.
func TestTLSClientLeaves(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(*testkit.Peer){
		"close": func(c *testkit.Peer) { c.Close() },
		"abort": func(c *testkit.Peer) {
			testkit.Linger0(&testkit.Peer{Conn: c.Conn.(*tls.Conn).NetConn()})
			c.Conn.(*tls.Conn).NetConn().Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			up := startStepper(t, chunkedHead)
			cert := newTestCert(t, "gateway.example")
			g := startGateway(t, append(cert.environ(), "PY_SERVICE_URL="+up.URL)...)
			c := g.Dial().Over(cert.client(t))
			c.Send("%s", testkit.Ask("GET", "x"))
			c.ReadHead()
			upstream := <-up.begun
			leave(c)
			if !upstream.Closed() {
				t.Error("the upstream's connection stays open")
			}
		})
	}
}

// A client that reads slowly, but reads, gets everything: a write that waits for it must not be TLS's last.
func TestTLSSlowReader(t *testing.T) {
	t.Parallel()
	const size = 3 << 20
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		c.ReadRequest()
		c.Send("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat("z", size))
		c.Closed()
	})
	cert := newTestCert(t, "gateway.example")
	const idle = 2 * time.Second
	g := startGateway(t, append(cert.environ(), "PY_SERVICE_URL="+up.URL, "IDLE_TIMEOUT="+idle.String())...)
	c := g.DialNarrow(8 << 10).Over(cert.client(t))
	c.Send("%s", testkit.Ask("GET", "x"))
	if m := c.ReadHead(); m.Status() != 200 {
		t.Fatalf("%q, %v", m.First, m.Err)
	}
	for range 4 {
		time.Sleep(idle * 3 / 8) // longer than the slices in which a write waits
		if _, err := io.CopyN(io.Discard, c.R, 256<<10); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := io.CopyN(io.Discard, c.R, size-4*256<<10); err != nil {
		t.Errorf("cut after another %d bytes: %v", n, err)
	}
}

// An answer that is cut is not ended as TLS ends what is whole.
func TestTLSCut(t *testing.T) {
	for _, head := range []string{chunkedHead, "HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\none"} {
		up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
			c.ReadRequest()
			c.Send("%s", head)
		})
		cert := newTestCert(t, "gateway.example")
		g := startGateway(t, append(cert.environ(), "PY_SERVICE_URL="+up.URL)...)
		for _, request := range []string{testkit.Ask("GET", "x"), "GET /infer/python HTTP/1.0\r\nHost: a\r\n\r\n"} {
			c := g.Dial().Over(cert.client(t))
			c.Send("%s", request)
			c.ReadHead()
			if _, err := io.Copy(io.Discard, c.R); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%.40q for %.30q: the end is %v", head, request, err)
			}
		}
	}
}

// Another certificate in the files is used for who connects from then on.
func TestTLSRenewal(t *testing.T) {
	t.Parallel()
	cert := newTestCert(t, "old.example")
	g := startGateway(t, cert.environ()...)
	before := g.Dial().Over(cert.client(t))
	cert.renew(t, "new.example")
	g.reload("", cert.environ()...)
	c := g.Dial().Over(cert.client(t))
	for _, p := range []*testkit.Peer{before, c} {
		p.Send("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
		if m := p.ReadResponse(); m.Status() != 200 {
			t.Errorf("%q, %v", m.First, m.Err)
		}
	}
	g.reload("") // HTTPS or not is for good
	g.Dial().Over(cert.client(t))
}

// Connections on which nothing is under way do not delay the end, and end as TLS has it.
func TestTLSShutdown(t *testing.T) {
	cert := newTestCert(t, "gateway.example")
	g := startGateway(t, cert.environ()...)
	g.Dial() // that never says a word
	idle := g.Dial().Over(cert.client(t))
	idle.Send("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
	idle.ReadResponse()
	if cut := ended(t, g.shutdownNow(testkit.Patience), 20*time.Second); cut != 0 {
		t.Errorf("%d connections were cut", cut)
	}
	if b, err := io.ReadAll(idle.R); err != nil || !bytes.Equal(b, nil) {
		t.Errorf("%q, %v", b, err)
	}
}

// resumes tells whether a client whose sessions these are resumes one. It asks for something, since a ticket comes behind the handshake.
func resumes(g *testGateway, config *tls.Config) bool {
	g.T.Helper()
	c := g.Dial().Over(config)
	c.Send("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
	if m := c.ReadResponse(); m.Status() != 200 {
		g.T.Fatalf("%q, %v", m.First, m.Err)
	}
	return c.Conn.(*tls.Conn).ConnectionState().DidResume
}

// Gateways with the same file of ticket keys resume each other's sessions, by any of its keys; without a key, the handshake is a whole one.
func TestTLSTicketKeys(t *testing.T) {
	t.Parallel()
	cert := newTestCert(t, "gateway.example")
	path := filepath.Join(t.TempDir(), "tickets")
	key := func(n byte) string { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{n}, 32)) }
	keys := func(list ...string) {
		t.Helper()
		if err := os.WriteFile(path, []byte("# keys\n"+strings.Join(list, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	keys(key(1))
	environ := append(cert.environ(), "TLS_TICKET_KEYS_FILE="+path)
	a, b, alone := startGateway(t, environ...), startGateway(t, environ...), startGateway(t, cert.environ()...)
	for name, version := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		keys(key(1))
		a.reload("", environ...)
		b.reload("", environ...)
		config := cert.client(t)
		config.MaxVersion, config.ClientSessionCache = version, tls.NewLRUClientSessionCache(1)
		f := func(what string, g *testGateway, want bool) {
			t.Helper()
			if got := resumes(g, config); got != want {
				t.Errorf("TLS %s, %s: resumes: %v", name, what, got)
			}
		}
		f("the first time", a, false)
		f("at a replica", b, true)
		f("at one with keys of its own", alone, false)
		f("with a ticket of those", a, false)
		keys(key(2), key(1))
		b.reload("", environ...)
		f("with an old key", b, true)
		f("with a new key at who does not know it yet", a, false)
		keys(key(3), key(2))
		b.reload("", environ...)
		f("with a key that is taken out", b, false)
		f("with the key of today", b, true)
	}
}
