package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// TLS is how clients are served over HTTPS; the zero TLS is not at all.
type TLS struct {
	CertFile, KeyFile string
	Certificate       *tls.Certificate // what is in the files; nil: none
}

// ReadCertificate reads the files again. Its errors are one for each fault, joined.
func (t TLS) ReadCertificate(read func(name string) ([]byte, error)) (*tls.Certificate, error) {
	cert, err := readPEM("TLS_CERT_FILE", t.CertFile, read)
	key, keyErr := readPEM("TLS_KEY_FILE", t.KeyFile, read)
	if err := errors.Join(err, keyErr); err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("TLS_CERT_FILE, TLS_KEY_FILE: %q and %q are not a certificate and its key: %w", t.CertFile, t.KeyFile, err)
	}
	return &pair, nil
}

func readPEM(name, path string, read func(string) ([]byte, error)) ([]byte, error) {
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

// checkTLS reads the certificate, if one is named.
func (d *draft) checkTLS(read func(string) ([]byte, error)) {
	t := &d.settings.TLS
	switch {
	case t.CertFile == "" && t.KeyFile == "":
		return
	case t.CertFile == "":
		d.fault("TLS_KEY_FILE", "is set and TLS_CERT_FILE is not; HTTPS needs both")
		return
	case t.KeyFile == "":
		d.fault("TLS_CERT_FILE", "is set and TLS_KEY_FILE is not; HTTPS needs both")
		return
	}
	cert, err := t.ReadCertificate(read)
	t.Certificate = cert
	if err == nil {
		return
	}
	list := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		list = joined.Unwrap()
	}
	for _, one := range list {
		d.faults = append(d.faults, one.Error())
	}
}
