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
	TicketKeysFile    string
	TicketKeys        [][ticketKeySize]byte // what is in it, the one for new tickets first; nil: the process makes its own
}

// ReadCertificate reads the files again. Its errors are one for each fault, joined.
func (t TLS) ReadCertificate(read func(name string) ([]byte, error)) (*tls.Certificate, error) {
	cert, err := readFile("TLS_CERT_FILE", t.CertFile, read)
	key, keyErr := readFile("TLS_KEY_FILE", t.KeyFile, read)
	if err := errors.Join(err, keyErr); err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("TLS_CERT_FILE, TLS_KEY_FILE: %q and %q are not a certificate and its key: %w", t.CertFile, t.KeyFile, err)
	}
	return &pair, nil
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
	var err error
	t.Certificate, err = t.ReadCertificate(read)
	d.joined(err)
}

func (d *draft) readTicketKeys(read func(string) ([]byte, error)) {
	t := &d.settings.TLS
	if t.CertFile == "" {
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
	list := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		list = joined.Unwrap()
	}
	for _, one := range list {
		if one != nil {
			d.faults = append(d.faults, one.Error())
		}
	}
}
