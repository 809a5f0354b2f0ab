package main

import (
	"bufio"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"aigateway/bench/internal/process"
)

// A secondPair is another certificate and its key.
type secondPair struct{ Cert, Key, Pem string }

// certifyAll makes the certificates of a variant.
func (s *site) certifyAll(kind string) error {
	if kind != "both" {
		return s.certify(kind)
	}
	if err := s.certify("rsa"); err != nil {
		return err
	}
	s.Second = &secondPair{s.Cert, s.CertKey, s.Pem}
	return s.certify("ecdsa")
}

// certify makes a certificate of a kind of key, "ecdsa" (P-256) or "rsa" (2,048 bits), signed by itself.
func (s *site) certify(kind string) error {
	var key crypto.Signer
	var err error
	if kind == "rsa" {
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		return err
	}
	now := time.Now()
	of := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, of, of, key.Public(), key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	at := s.Dir + "/" + kind
	s.Cert, s.CertKey, s.Pem = at+".pem", at+".key", at+".both"
	return errors.Join(os.WriteFile(s.Cert, public, 0o600), os.WriteFile(s.CertKey, private, 0o600),
		os.WriteFile(s.Pem, append(public, private...), 0o600))
}

// measureTLS takes requests over connections that are kept, and connections with a request each: handshakes with each
// kind of key, with both and clients that take both, and resumed ones.
func measureTLS(b *bench, r *running, f *figure) error {
	of := r.peer
	for _, kind := range []string{"ecdsa", "rsa", "both"} {
		r, err := b.start(of, variant{tls: kind})
		var lacks errLacks
		if kind == "both" && errors.As(err, &lacks) {
			continue
		}
		if err != nil {
			return err
		}
		err = b.measureCertificate(r, f, kind)
		b.stop(r)
		if err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
	}
	return nil
}

func (b *bench) measureCertificate(r *running, f *figure, kind string) error {
	c := &tlsClients{addr: r.addr, request: r.chat(chat{size: 1 << 10}, "/v1"), conns: 8, config: tlsConfig(nil)}
	if err := b.secure(r, f, kind, c); err != nil {
		return err
	}
	if kind != "ecdsa" {
		return nil
	}
	c.config, c.wantResumed = tlsConfig(tls.NewLRUClientSessionCache(64)), true
	if err := b.secure(r, f, "resumed", c); err != nil {
		return err
	}
	c.config, c.wantResumed, c.kept, c.conns = tlsConfig(nil), false, true, 32
	return b.secure(r, f, "kept", c)
}

// tlsConfig has the one group that all peers have: with a newer one some would do more than others.
func tlsConfig(sessions tls.ClientSessionCache) *tls.Config {
	return &tls.Config{ServerName: host, InsecureSkipVerify: true, MinVersion: tls.VersionTLS13,
		CurvePreferences: []tls.CurveID{tls.X25519}, ClientSessionCache: sessions}
}

// secure measures TLS clients, after a while that does not count, under a name.
func (b *bench) secure(r *running, f *figure, name string, c *tlsClients) error {
	if _, err := c.run(b.warm); err != nil {
		return err
	}
	cpu, began := process.CPU(r.process.PID), time.Now()
	n, err := c.run(b.time)
	if err != nil {
		return err
	}
	f.Values[name] = µs(process.CPU(r.process.PID)-cpu) / float64(max(n, 1))
	f.Values[name+"_rate"] = float64(n) / time.Since(began).Seconds()
	return nil
}

// tlsClients is a closed loop of clients: each opens a connection for every request, or keeps one.
type tlsClients struct {
	addr        string
	request     []byte
	conns       int
	config      *tls.Config
	kept        bool
	wantResumed bool
}

// run returns how many requests were answered with 200 in the time. A failed one ends all.
func (c *tlsClients) run(most time.Duration) (int64, error) {
	var n atomic.Int64
	var all sync.WaitGroup
	failed := make(chan error, c.conns)
	end := time.Now().Add(most)
	for range c.conns {
		all.Add(1)
		go func() {
			defer all.Done()
			for i := 0; time.Now().Before(end); i++ {
				done, err := c.connection(end, i > 0)
				n.Add(done)
				if err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	all.Wait()
	select {
	case err := <-failed:
		return 0, err
	default:
		return n.Load(), nil
	}
}

// connection is one connection of a client: a request, or as many as there is time for. Another one was before it, whose
// session there may be to resume.
func (c *tlsClients) connection(end time.Time, another bool) (n int64, err error) {
	raw, err := net.DialTimeout("tcp", c.addr, patience)
	if err != nil {
		return 0, err
	}
	// A reset at the end: the ports of closed connections would be used up within seconds.
	_ = raw.(*net.TCPConn).SetLinger(0)
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(patience + time.Until(end)))
	conn := tls.Client(raw, c.config)
	if err := conn.Handshake(); err != nil {
		return 0, err
	}
	if c.wantResumed && another && !conn.ConnectionState().DidResume {
		return 0, errors.New("a session was not resumed")
	}
	in := bufio.NewReaderSize(conn, 16<<10)
	for {
		if _, err := conn.Write(c.request); err != nil {
			return n, err
		}
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			return n, err
		}
		if _, err = io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != 200 {
			return n, fmt.Errorf("it answers %d, %w", res.StatusCode, err)
		}
		n++
		if !c.kept || !time.Now().Before(end) {
			return n, nil
		}
	}
}
