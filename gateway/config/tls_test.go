package config

import (
	"io/fs"
	"os"
	"path/filepath"
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
	f("TLS_CERT_FILE=c,missing TLS_KEY_FILE=k", "TLS_CERT_FILE: names 2, and TLS_KEY_FILE 1; each certificate has its key at the same place")
	f("TLS_CERT_FILE=c,,d TLS_KEY_FILE=k,", `TLS_CERT_FILE: "c,,d" names no file at one of its places`,
		`TLS_KEY_FILE: "k," names no file at one of its places`)
	f("TLS_CERT_FILE="+strings.Repeat("c,", 16)+"c TLS_KEY_FILE=k", "TLS_CERT_FILE: names 17 files; 16 are the most")
	f("TLS_CERT_FILE=c,missing TLS_KEY_FILE=k,k",
		`TLS_CERT_FILE, TLS_KEY_FILE: "c" and "k" are not a certificate and its key: tls: failed to find any PEM data in certificate input`,
		`TLS_CERT_FILE: cannot read "missing": file does not exist`)
	f("TLS_CERT_FILE=c TLS_KEY_FILE=k",
		`TLS_CERT_FILE, TLS_KEY_FILE: "c" and "k" are not a certificate and its key: tls: failed to find any PEM data in certificate input`)
}

// What is wrong with a file of ticket keys is told with its line, and nothing of a key is.
func TestTicketKeys(t *testing.T) {
	const one, two = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=", "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXphYmNkZWY="
	f := func(text string, want ...string) {
		t.Helper()
		keys, err := TLS{TicketKeysFile: "tickets"}.ReadTicketKeys(func(string) ([]byte, error) { return []byte(text), nil })
		var got []string
		if err != nil {
			got = strings.Split(err.Error(), "\n")
		}
		for _, k := range keys {
			got = append(got, string(k[:]))
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%q:\n%s\nwant\n%s", text, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	f(one, "01234567890123456789012345678901")
	f("# since Monday\r\n\r\n "+two+" \r\n"+one+"\r\n", "abcdefghijklmnopqrstuvwxyzabcdef", "01234567890123456789012345678901")
	f("", "TLS_TICKET_KEYS_FILE: \"tickets\" holds no key; `openssl rand -base64 32` makes one")
	f("# none\n", "TLS_TICKET_KEYS_FILE: \"tickets\" holds no key; `openssl rand -base64 32` makes one")
	f(one+"\nMDEyMzQ1Njc4OTAxMjM0NQ==\n"+two+"\n"+one+"\nsecret!\n"+one[:43],
		"tickets:2: is a key of 16 bytes; it takes 32: `openssl rand -base64 32`",
		"tickets:4: is the key of line 1 again",
		"tickets:5: is no key: 32 bytes in base64, as of `openssl rand -base64 32`",
		"tickets:6: is no key: 32 bytes in base64, as of `openssl rand -base64 32`")
	many := ""
	for i := range 20 {
		many += "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" + string(rune('A'+i)) + "A=\n"
	}
	f(many, "tickets:17: is one key more than the 16 that a file may have")
}

// A file of ticket keys is for HTTPS, and for nobody else's eyes.
func TestTicketKeysSetting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tickets")
	if err := os.WriteFile(path, []byte("# none yet\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, _, err := Load(Input{Environ: []string{"TLS_TICKET_KEYS_FILE=" + path}})
	want := "TLS_TICKET_KEYS_FILE: is set and TLS_CERT_FILE is not; there are tickets with HTTPS only\n" +
		"TLS_TICKET_KEYS_FILE: \"" + path + "\" holds no key; `openssl rand -base64 32` makes one"
	if err == nil || err.Error() != want {
		t.Errorf("%v\nwant\n%s", err, want)
	}
	d := &draft{settings: &Settings{TLS: TLS{CertFiles: []string{"c"}, TicketKeysFile: path}}}
	d.readTicketKeys(nil)
	if want := "TLS_TICKET_KEYS_FILE: \"" + path + "\" can be read by everybody on this machine; chmod o-r takes that away"; len(d.warnings) != 1 || d.warnings[0] != want {
		t.Errorf("%q\nwant\n%s", d.warnings, want)
	}
}
