package config

import (
	"io/fs"
	"slices"
	"strings"
	"testing"
)

// What does not fit together about Redis is told at the start, and in the operator's words.
func TestRedisFaults(t *testing.T) {
	f := func(environ string, want ...string) {
		t.Helper()
		s, warnings, err := Load(Input{Environ: strings.Fields(environ), ReadFile: func(name string) ([]byte, error) {
			if name == "missing" {
				return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
			}
			return []byte("no PEM"), nil
		}})
		got := warnings
		if err != nil {
			got = strings.Split(err.Error(), "\n")
		} else if (s.Redis.TLSConfig != nil) != strings.Contains(environ, "rediss://") {
			t.Errorf("%s: TLS %v", environ, s.Redis.TLSConfig)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s:\n%q\nwant\n%q", environ, got, want)
		}
	}
	f("")
	f("REDIS_ADDR=rediss://a:1 REDIS_USERNAME=u REDIS_PASSWORD=p REDIS_PREFIX=blue-1:x_y.z")
	f("REDIS_ADDR=a:1,b:1 REDIS_MASTER=main REDIS_DB=3 REDIS_SENTINEL_USERNAME=u REDIS_SENTINEL_PASSWORD=p")
	f("REDIS_PREFIX={a}", `REDIS_PREFIX: "{a}" is not a prefix: letters, digits and any of -_.: make one, 64 at most`)
	f("REDIS_PREFIX=a*", `REDIS_PREFIX: "a*" is not a prefix: letters, digits and any of -_.: make one, 64 at most`)
	f("REDIS_ADDR=a:1,b:1 REDIS_DB=3",
		"REDIS_DB: several addresses are a cluster, and a cluster has database 0 only; 3 does not count. To keep deployments apart there is REDIS_PREFIX")
	f("REDIS_SENTINEL_PASSWORD=p REDIS_SENTINEL_USERNAME=u",
		"REDIS_SENTINEL_USERNAME: is for sentinels, but REDIS_MASTER is unset", "REDIS_SENTINEL_PASSWORD: is for sentinels, but REDIS_MASTER is unset")
	f("REDIS_CA_FILE=a REDIS_CERT_FILE=b REDIS_KEY_FILE=c",
		"REDIS_CA_FILE: is for TLS, but REDIS_ADDR has no rediss:// before it",
		"REDIS_CERT_FILE: is for TLS, but REDIS_ADDR has no rediss:// before it",
		"REDIS_KEY_FILE: is for TLS, but REDIS_ADDR has no rediss:// before it")
	f("REDIS_ADDR=rediss://a:1 REDIS_CA_FILE=missing REDIS_CERT_FILE=missing REDIS_KEY_FILE=missing",
		`REDIS_CA_FILE: cannot read "missing": file does not exist`,
		`REDIS_CERT_FILE: cannot read "missing": file does not exist`, `REDIS_KEY_FILE: cannot read "missing": file does not exist`)
	f("REDIS_ADDR=rediss://a:1 REDIS_CA_FILE=a REDIS_CERT_FILE=b", `REDIS_CA_FILE: there is no certificate in "a"`,
		"REDIS_CERT_FILE: is set and REDIS_KEY_FILE is not; Redis is shown both or none")
	f("REDIS_ADDR=rediss://a:1 REDIS_KEY_FILE=b", "REDIS_KEY_FILE: is set and REDIS_CERT_FILE is not; Redis is shown both or none")
	f("REDIS_ADDR=rediss://a:1 REDIS_CERT_FILE=b REDIS_KEY_FILE=c",
		`REDIS_CERT_FILE, REDIS_KEY_FILE: "b" and "c" are not a certificate and its key: tls: failed to find any PEM data in certificate input`)
}
