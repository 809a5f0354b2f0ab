package wire

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"testing"
	"time"
)

// Between two requests, a session ticket that is still to be read says nothing; whatever else comes does, also
// when it was read together with the answer before it.
func TestStaleUnderTLS(t *testing.T) {
	f := func(name string, stale bool, do func(c *tls.Conn)) {
		t.Run(name, func(t *testing.T) {
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				did, end := make(chan struct{}), make(chan struct{})
				c := connectTLS(t, version, func(s *tls.Conn) {
					defer func() { <-end }()
					defer close(did)
					io.ReadFull(s, make([]byte, 3))
					s.Write([]byte("answer"))
					io.ReadFull(s, make([]byte, 3))
					do(s)
				})
				if c.Stale() {
					t.Error("a new connection is stale")
				}
				got := make([]byte, 6)
				if _, err := c.Send([]byte("ask"), time.Second); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(c, got); err != nil || string(got) != "answer" {
					t.Fatalf("got %q, %v", got, err)
				}
				if c.Stale() {
					t.Error("stale after a whole answer")
				}
				if _, err := c.Send([]byte("ask"), time.Second); err != nil {
					t.Fatal(err)
				}
				<-did
				late := time.Now().Add(5 * time.Second)
				for c.Stale() != stale && time.Now().Before(late) { // loopback is not at once
					time.Sleep(time.Millisecond)
				}
				if got := c.Stale(); got != stale {
					t.Errorf("stale is %v", got)
				}
				close(end)
			}
		})
	}
	f("nothing", false, func(*tls.Conn) {})
	f("bytes", true, func(c *tls.Conn) { c.Write([]byte("late")) })
	f("close_notify", true, func(c *tls.Conn) { c.CloseWrite() })
	f("fin", true, func(c *tls.Conn) { c.NetConn().(*net.TCPConn).CloseWrite() })
	f("rst", true, func(c *tls.Conn) { c.NetConn().(*net.TCPConn).SetLinger(0); c.NetConn().Close() })
	f("garbage", true, func(c *tls.Conn) { c.NetConn().Write([]byte("garbage, not a record")) })
}

// A ticket that nobody has read yet, and a second answer in the same read as the first.
func TestStaleUnderTLSBelowTheSurface(t *testing.T) {
	end := make(chan struct{})
	defer close(end)
	asked := make(chan struct{})
	c := connectTLS(t, tls.VersionTLS13, func(s *tls.Conn) { io.ReadFull(s, make([]byte, 3)); close(asked); <-end })
	c.Send([]byte("ask"), time.Second)
	<-asked // its ticket was sent before
	if c.Stale() {
		t.Error("a session ticket is taken for bytes that belong to nobody")
	}
	wrote := make(chan struct{})
	c = connectTLS(t, tls.VersionTLS13, func(s *tls.Conn) {
		io.ReadFull(s, make([]byte, 3))
		s.Write([]byte("answer"))
		s.Write([]byte("second"))
		close(wrote)
		<-end
	})
	c.Send([]byte("ask"), time.Second)
	<-wrote
	if _, err := io.ReadFull(c, make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	late := time.Now().Add(5 * time.Second)
	for !c.Stale() && time.Now().Before(late) {
		time.Sleep(time.Millisecond)
	}
	if !c.Stale() {
		t.Error("a second answer goes unnoticed")
	}
}

// A write that an upstream does not take ends after the idle time, once: TLS cannot go on after it.
func TestSendUnderTLSTimesOut(t *testing.T) {
	end := make(chan struct{})
	defer close(end)
	c := connectTLS(t, tls.VersionTLS13, func(*tls.Conn) { <-end })
	began := time.Now()
	_, err := c.Send(make([]byte, 64<<20), 200*time.Millisecond)
	if took := time.Since(began); err == nil || took > 10*time.Second {
		t.Errorf("%v after %v", err, took)
	}
}

// connectTLS connects to a server that does what serve does after the handshake.
func connectTLS(t *testing.T, version uint16, serve func(*tls.Conn)) *UpstreamConn {
	t.Helper()
	certificate, roots := certify(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		s := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{certificate}})
		if s.Handshake() == nil {
			serve(s)
		}
	}()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := NewUpstreamTLS(conn, &tls.Config{RootCAs: roots, ServerName: "up.example", MaxVersion: version})
	t.Cleanup(func() { c.Close(); ln.Close() })
	if err := c.TLS().Handshake(); err != nil {
		t.Fatal(err)
	}
	return c
}

// certify makes a certificate for up.example that signs itself.
func certify(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"up.example"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, form, form, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}
