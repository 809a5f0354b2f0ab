package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
)

// TLS is how clients are served over HTTPS; the zero TLS is not at all.
type TLS struct {
	CertFiles, KeyFiles []string           // as many of both, in the same order
	Certificates        []*tls.Certificate // what is in the files, those of RSA last; none: no HTTPS
	TicketKeysFile      string
	TicketKeys          [][ticketKeySize]byte // what is in it, the one for new tickets first; nil: the process makes its own
}

// maxCertificates is how many are looked through at a handshake.
const maxCertificates = 16

// ReadCertificates reads the files again. Its errors are one for each fault, joined.
func (t TLS) ReadCertificates(read func(name string) ([]byte, error)) ([]*tls.Certificate, error) {
	var list []*tls.Certificate
	var files []string // of those in the list
	var faults []error
	for i, file := range t.CertFiles {
		c, err := keyPair{"TLS", file, t.KeyFiles[i]}.read(read)
		if err != nil {
			faults = append(faults, flat(err)...)
			continue
		}
		if first := slices.IndexFunc(list, func(first *tls.Certificate) bool { return hides(first.Leaf, c.Leaf) }); first >= 0 {
			faults = append(faults, fmt.Errorf("TLS_CERT_FILE: %q is never shown: %q is of %v too, and for the same names",
				file, files[first], c.Leaf.PublicKeyAlgorithm))
		}
		list, files = append(list, c), append(files, file)
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	// A client that takes several kinds gets the one that is signed with in a quarter of the time.
	slices.SortStableFunc(list, func(a, b *tls.Certificate) int { return isRSA(a) - isRSA(b) })
	return list, nil
}

// hides tells whether whoever may be shown the second certificate is shown the first.
func hides(first, second *x509.Certificate) bool {
	other := func(name string) bool {
		return !slices.Contains(first.DNSNames, name) && first.VerifyHostname(name) != nil
	}
	return first.PublicKeyAlgorithm == second.PublicKeyAlgorithm && !slices.ContainsFunc(second.DNSNames, other)
}

func isRSA(c *tls.Certificate) int {
	if c.Leaf.PublicKeyAlgorithm == x509.RSA {
		return 1
	}
	return 0
}

// A keyPair is the files of a certificate and its key, and what the names of their settings begin with.
type keyPair struct{ prefix, cert, key string }

func (p keyPair) read(read func(name string) ([]byte, error)) (*tls.Certificate, error) {
	certName, keyName := p.prefix+"_CERT_FILE", p.prefix+"_KEY_FILE"
	cert, err := readFile(certName, p.cert, read)
	key, keyErr := readFile(keyName, p.key, read)
	if err := errors.Join(err, keyErr); err != nil {
		return nil, err
	}
	c, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%s, %s: %q and %q are not a certificate and its key: %w", certName, keyName, p.cert, p.key, err)
	}
	return &c, nil
}

func readFile(name, path string, read func(string) ([]byte, error)) ([]byte, error) {
	if read == nil {
		read = os.ReadFile
	}
	text, err := read(path)
	if why := (*fs.PathError)(nil); errors.As(err, &why) {
		err = why.Err // without the path a second time
	}
	if err != nil {
		return nil, fmt.Errorf("%s: cannot read %q: %w", name, path, err)
	}
	return text, nil
}

// checkTLS reads the certificate and the keys of tickets, if they are named.
func (d *draft) checkTLS(read func(string) ([]byte, error)) {
	t := &d.settings.TLS
	if t.TicketKeysFile != "" {
		d.readTicketKeys(read)
	}
	unset := func(name string) bool { return d.settings.given.values[name].text == "" }
	switch certs, keys := len(t.CertFiles), len(t.KeyFiles); {
	case certs == 0 && keys == 0:
		return
	case unset("TLS_CERT_FILE"):
		d.fault("TLS_KEY_FILE", "is set and TLS_CERT_FILE is not; HTTPS needs both")
		return
	case unset("TLS_KEY_FILE"):
		d.fault("TLS_CERT_FILE", "is set and TLS_KEY_FILE is not; HTTPS needs both")
		return
	case certs == 0 || keys == 0:
		return // the names of files have a fault of their own
	case certs != keys:
		d.fault("TLS_CERT_FILE", fmt.Sprintf("names %d, and TLS_KEY_FILE %d; each certificate has its key at the same place", certs, keys))
		return
	}
	var err error
	t.Certificates, err = t.ReadCertificates(read)
	d.joined(err)
}

func (d *draft) readTicketKeys(read func(string) ([]byte, error)) {
	t := &d.settings.TLS
	if len(t.CertFiles) == 0 {
		d.fault("TLS_TICKET_KEYS_FILE", "is set and TLS_CERT_FILE is not; there are tickets with HTTPS only")
	}
	if read == nil {
		d.warnOpen("TLS_TICKET_KEYS_FILE", t.TicketKeysFile)
	}
	var err error
	t.TicketKeys, err = t.ReadTicketKeys(read)
	d.joined(err)
}

// joined notes each of the faults that are joined in err.
func (d *draft) joined(err error) {
	for _, one := range flat(err) {
		d.faults = append(d.faults, one.Error())
	}
}

// flat is each of the errors that are joined in err.
func flat(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	if err == nil {
		return nil
	}
	return []error{err}
}
