package config

import (
	"io/fs"
	"strings"
	"testing"
)

// What is wrong with a certificate is told with everything else, and in the operator's words.
func TestTLSFaults(t *testing.T) {
	f := func(environ string, want ...string) {
		t.Helper()
		_, _, err := Load(Input{Environ: strings.Fields(environ), ReadFile: func(name string) ([]byte, error) {
			if name == "missing" {
				return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
			}
			return []byte("no PEM"), nil
		}})
		var got string
		if err != nil {
			got = err.Error()
		}
		if got != strings.Join(want, "\n") {
			t.Errorf("%s:\n%s\nwant\n%s", environ, got, strings.Join(want, "\n"))
		}
	}
	f("")
	f("TLS_CERT_FILE=c", "TLS_CERT_FILE: is set and TLS_KEY_FILE is not; HTTPS needs both")
	f("TLS_KEY_FILE=k PORT=0", `PORT: "0" is not a port number between 1 and 65535`, "TLS_KEY_FILE: is set and TLS_CERT_FILE is not; HTTPS needs both")
	f("TLS_CERT_FILE=missing TLS_KEY_FILE=missing",
		`TLS_CERT_FILE: cannot read "missing": file does not exist`, `TLS_KEY_FILE: cannot read "missing": file does not exist`)
	f("TLS_CERT_FILE=c TLS_KEY_FILE=k",
		`TLS_CERT_FILE, TLS_KEY_FILE: "c" and "k" are not a certificate and its key: tls: failed to find any PEM data in certificate input`)
}
