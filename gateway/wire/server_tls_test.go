package wire

import (
	"crypto/tls"
	"crypto/x509"
	"testing"

	"aigateway/gateway/testkit"
)

// By which certificate is chosen is what the client says of names and signatures, in TLS 1.3 too.
func TestCertificateChoice(t *testing.T) {
	dir := t.TempDir()
	testkit.WriteCertificate(t, "a.example", dir+"/ecdsa", dir+"/ecdsa.key")
	testkit.WriteRSACertificate(t, "a.example", dir+"/rsa", dir+"/rsa.key")
	testkit.WriteRSACertificate(t, "b.example", dir+"/b", dir+"/b.key")
	var list []*tls.Certificate
	for _, file := range []string{"ecdsa", "rsa", "b"} {
		c, err := tls.LoadX509KeyPair(dir+"/"+file, dir+"/"+file+".key")
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, &c)
	}
	var certificates Certificates
	if fresh := certificates.Use(list[:2]); len(fresh) != 2 {
		t.Errorf("%d certificates are new", len(fresh))
	}
	if fresh := certificates.Use(list); len(fresh) != 1 || fresh[0] != list[2] {
		t.Errorf("%d certificates are new", len(fresh))
	}
	if fresh := certificates.Use(nil); len(fresh) != 0 {
		t.Errorf("%d certificates are new", len(fresh))
	}
	f := func(name string, kind x509.PublicKeyAlgorithm, schemes ...tls.SignatureScheme) {
		t.Helper()
		hello := &tls.ClientHelloInfo{ServerName: name, SupportedVersions: []uint16{tls.VersionTLS13}, SignatureSchemes: schemes}
		c, err := certificates.choose(hello)
		if err != nil || c.Leaf.PublicKeyAlgorithm != kind || hello.ServerName != name {
			t.Errorf("%s, %v: %v %v, %v", name, schemes, c.Leaf.PublicKeyAlgorithm, c.Leaf.DNSNames, err)
		}
		if c.Leaf.VerifyHostname("b.example") == nil != (name == "b.example") && kind == x509.RSA {
			t.Errorf("%s, %v: the certificate is for %v", name, schemes, c.Leaf.DNSNames)
		}
	}
	for _, name := range []string{"a.example", "c.example", ""} {
		f(name, x509.ECDSA, tls.PSSWithSHA256, tls.ECDSAWithP256AndSHA256)
		f(name, x509.ECDSA, tls.ECDSAWithP256AndSHA256)
		f(name, x509.RSA, tls.PSSWithSHA256)
		f(name, x509.ECDSA, tls.Ed25519) // no certificate is for it
	}
	f("b.example", x509.RSA, tls.PSSWithSHA256, tls.ECDSAWithP256AndSHA256)
}
