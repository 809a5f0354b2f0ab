package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"aigateway/gateway/config"
	"aigateway/gateway/testkit"
)

// Certificates of several kinds and names stand beside each other, those of RSA last; one that nobody would be shown is a fault.
func TestCertificates(t *testing.T) {
	dir := t.TempDir()
	write := func(kind func(t testing.TB, name, certFile, keyFile string), file, name string) {
		kind(t, name, filepath.Join(dir, file), filepath.Join(dir, file+".key"))
	}
	write(testkit.WriteCertificate, "ec", "a.example")
	write(testkit.WriteCertificate, "again", "a.example")
	write(testkit.WriteCertificate, "other", "b.example")
	write(testkit.WriteCertificate, "any", "*.example")
	write(testkit.WriteRSACertificate, "rsa", "a.example")
	read := func(name string) ([]byte, error) { return os.ReadFile(filepath.Join(dir, name)) }
	f := func(certs, keys string, want ...string) {
		t.Helper()
		s, _, err := config.Load(config.Input{ReadFile: read, Environ: []string{"TLS_CERT_FILE=" + certs, "TLS_KEY_FILE=" + keys}})
		var got []string
		if err != nil {
			got = strings.Split(err.Error(), "\n")
		} else {
			for _, c := range s.TLS.Certificates {
				got = append(got, c.Leaf.PublicKeyAlgorithm.String()+" "+c.Leaf.DNSNames[0])
			}
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s, %s:\n%s\nwant\n%s", certs, keys, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	f("ec", "ec.key", "ECDSA a.example")
	f("ec, rsa", "ec.key, rsa.key", "ECDSA a.example", "RSA a.example")
	f("rsa,ec", "rsa.key,ec.key", "ECDSA a.example", "RSA a.example")
	f("rsa,ec,any", "rsa.key,ec.key,any.key", "ECDSA a.example", "ECDSA *.example", "RSA a.example")

	const mismatch = ` are not a certificate and its key: tls: private key`
	f("rsa,ec", "ec.key,rsa.key",
		`TLS_CERT_FILE, TLS_KEY_FILE: "rsa" and "ec.key"`+mismatch+` type does not match public key type`,
		`TLS_CERT_FILE, TLS_KEY_FILE: "ec" and "rsa.key"`+mismatch+` type does not match public key type`)
	f("ec,rsa", "other.key,rsa.key", `TLS_CERT_FILE, TLS_KEY_FILE: "ec" and "other.key"`+mismatch+` does not match public key`)
	f("ec,rsa,again", "ec.key,rsa.key,again.key", `TLS_CERT_FILE: "again" is never shown: "ec" is of ECDSA too, and for the same names`)
	f("any,other", "any.key,other.key", `TLS_CERT_FILE: "other" is never shown: "any" is of ECDSA too, and for the same names`)
	f("ec,ec,gone", "ec.key,ec.key,gone.key", `TLS_CERT_FILE: "ec" is never shown: "ec" is of ECDSA too, and for the same names`,
		`TLS_CERT_FILE: cannot read "gone": no such file or directory`, `TLS_KEY_FILE: cannot read "gone.key": no such file or directory`)
}

// The file may have a list.
func TestCertificatesInTheFile(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	testkit.WriteCertificate(t, "a.example", cert, key)
	rsaCert, rsaKey := filepath.Join(dir, "rsa"), filepath.Join(dir, "rsa.key")
	testkit.WriteRSACertificate(t, "a.example", rsaCert, rsaKey)
	file := filepath.Join(dir, "gateway.yaml")
	text := "tls_cert_file: [" + cert + ", " + rsaCert + "]\ntls_key_file: [" + key + ", " + rsaKey + "]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, _, err := config.Load(config.Input{File: file})
	if err != nil || len(s.TLS.Certificates) != 2 {
		t.Fatalf("%v", err)
	}
	var printed strings.Builder
	s.Print(&printed)
	if want := "tls_cert_file: " + cert + "," + rsaCert; !strings.Contains(strings.ReplaceAll(printed.String(), `"`, ""), want) {
		t.Errorf("%q is not in\n%s", want, &printed)
	}
}
