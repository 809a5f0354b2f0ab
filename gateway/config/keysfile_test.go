package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

const (
	sumA = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	sumB = "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752"
)

func readKeys(text string) (*Keys, []string, error) {
	return ReadKeys("keys.yaml", func(string) ([]byte, error) { return []byte(text), nil })
}

func TestKeys(t *testing.T) {
	k, warnings, err := readKeys(`
keys:
  - {id: team-a, sha256: [` + sumA + `, "` + strings.ToUpper(sumB) + `"], models: ["llama-*", qwen], limits: {rps: 20, burst: 40, rpm: 600, tpm: 200000, tpm_burst: 300000, tpd: 5000000, concurrency: 32}, priority: interactive, weight: 2, expires: 2027-01-01, disabled: true}
  - id: b.1_2
    sha256: 1234567890123456789012345678901234567890123456789012345678901234
    models: []
    limits: {rps: 0.5, tpm: 100}
jwt: {issuer: "https://idp.example", audience: gateway, jwks_url: "https://idp.example/keys", models_claim: models, limits: {tpm: 20000}}
`)
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	a, b := k.List[0], k.List[1]
	want := Key{ID: "team-a", Sums: a.Sums, Models: []string{"llama-*", "qwen"}, Priority: Interactive, Weight: 2, Disabled: true,
		Expires: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC),
		Limits:  KeyLimits{RPS: 20, Burst: 40, RPM: 600, TPM: 200000, TPMBurst: 300000, TPD: 5000000, Concurrency: 32}}
	if !reflect.DeepEqual(a, want) || len(a.Sums) != 2 || a.Sums[0][0] != 0x9f || a.Sums[1][0] != 0x60 {
		t.Errorf("%+v", a)
	}
	want = Key{ID: "b.1_2", Sums: b.Sums, Models: []string{}, Weight: 1, Limits: KeyLimits{RPS: 0.5, Burst: 1, TPM: 100, TPMBurst: 100}}
	if !reflect.DeepEqual(b, want) || len(b.Sums) != 1 || b.Sums[0][0] != 0x12 {
		t.Errorf("%+v", b)
	}
	j := k.JWT
	if j.JWKSURL.String() != "https://idp.example/keys" {
		t.Error(j.JWKSURL)
	}
	if j.JWKSURL = nil; *j != (JWT{Issuer: "https://idp.example", Audience: "gateway", TenantClaim: "sub", ModelsClaim: "models", Limits: KeyLimits{TPM: 20000, TPMBurst: 20000}}) {
		t.Errorf("%+v", j)
	}
	if k, _, err = readKeys("keys: []"); err != nil || k == nil || len(k.List) != 0 {
		t.Errorf("an empty list: %v %v", k, err)
	}
	if k, _, err = readKeys("x: &m [a]\nkeys:"); err == nil {
		t.Errorf("%v", k)
	}
}

// Whatever is wrong is said at once, with its line, and without a word of what may be a key.
func TestKeysFaults(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		_, _, err := readKeys(text)
		faults := (*Faults)(nil)
		if !errors.As(err, &faults) {
			t.Errorf("%s: %v", text, err)
			return
		}
		if got := faults.Error(); got != strings.Join(want, "\n") || strings.Contains(got, "secret") {
			t.Errorf("%s:\n%s\nwant\n%s", text, got, strings.Join(want, "\n"))
		}
	}
	f("", "keys.yaml:1: needs keys: a list, or [] if nobody has one")
	f("keys:", "keys.yaml:1: needs keys: a list, or [] if nobody has one")
	f("keys: secret", "keys.yaml:1: keys: is not a list, such as [{id: team-a, sha256: […]}]; gateway keygen prints a line of it")
	f("keys: []\nkey: sk-secret", "keys.yaml:2: key: there is no such key here; did you mean keys? There are jwt, keys")
	f("keys:\n  - {}\n  - {id: a}\n  - {sha256: "+sumA+"}",
		"keys.yaml:2: keys[0]: needs an id", "keys.yaml:3: keys[1]: needs sha256, the hash of its key; gateway keygen makes both", "keys.yaml:4: keys[2]: needs an id")
	f("keys:\n  - {id: sk-secret, sha256: ["+sumA+"]}", "keys.yaml:2: keys[0].id: looks like a key; the id is in logs and metrics")
	f("keys:\n  - {id: 'a b', sha256: ["+sumA+"]}", `keys.yaml:2: keys[0].id: an id is of letters, digits, ".", "_" and "-", 64 at most`)
	f("keys:\n  - {id: other, sha256: ["+sumA+"]}", `keys.yaml:2: keys[0].id: "other" is what metrics call all those without a series of their own`)
	f("keys:\n  - {id: a, sha256: [sk-secret, *secret, 9f86, "+sumA+"x]}",
		"keys.yaml:2: keys[0].sha256[0]: is a key itself; only its hash belongs here, and who may read this file knows the key now",
		"keys.yaml:2: keys[0].sha256[1]: refers to a name, which nothing before it is named",
		"keys.yaml:2: keys[0].sha256[1]: needs a hash",
		"keys.yaml:2: keys[0].sha256[2]: is not a SHA-256 hash, which is 64 hexadecimal digits; gateway keygen prints one",
		"keys.yaml:2: keys[0].sha256[3]: is not a SHA-256 hash, which is 64 hexadecimal digits; gateway keygen prints one")
	f("keys:\n  - {id: a, sha256: ["+sumA+"]}\n  - {id: a, sha256: ["+sumB+"]}\n  - {id: b, sha256: ["+sumA+"]}",
		"keys.yaml:3: keys[1]: has the id that keys[0] in line 2 has already", "keys.yaml:4: keys[2]: has a hash that keys[0] in line 2 has already")
	f("keys:\n  - {id: a, sha256: ["+sumA+"], limits: {burst: 1, tpm_burst: 1}, weight: 0, expires: tomorrow, models: ['', \"a\\nb\"]}",
		"keys.yaml:2: keys[0].limits: burst is what rps may save up, and there is no rps",
		`keys.yaml:2: keys[0].weight: "0" is not a weight between 1 and 1000`,
		"keys.yaml:2: keys[0].expires: is not a date, such as 2027-01-01; it is meant in UTC",
		"keys.yaml:2: keys[0].models[0]: needs a pattern of models' names",
		"keys.yaml:2: keys[0].models[1]: is not a pattern of models' names: at most 256 printable bytes, * for any")
	f("jwt: {audience: a}", "keys.yaml:1: jwt: needs issuer, as tokens name it in iss")
	f("jwt: {issuer: i, jwks_url: 'https://i'}", "keys.yaml:1: jwt: needs audience: a token that was made for somebody else is none here")
	f("jwt: {issuer: i, audience: a}", "keys.yaml:1: jwt: needs jwks_url, where the issuer's keys are")
	f("jwt: {issuer: i, audience: a, jwks_url: 'file:///secret'}", "keys.yaml:1: jwt.jwks_url: is not a URL such as https://idp.example/keys, without a user")
	f("keys: [\n", "keys.yaml:1: is not YAML: sequence end token ']' not found")
	f("keys: []\n---\nkeys: []", "keys.yaml:3: a second document begins here; the file has one")
}

func TestKeysOfSettings(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.yaml")
	load := func() (*Settings, []string, error) {
		return Load(Input{Environ: []string{"KEYS_FILE=" + path, "PORT=x"}[:1]})
	}
	if _, _, err := load(); err == nil || err.Error() != `KEYS_FILE: cannot read "`+path+`": no such file or directory` {
		t.Error(err)
	}
	text := []byte("keys: [{id: a, sha256: " + sumA + "}]\njwt: {issuer: i, audience: a, jwks_url: 'http://idp'}\n")
	if err := os.WriteFile(path, text, 0o604); err != nil {
		t.Fatal(err)
	}
	_ = os.Chmod(path, 0o604)
	s, warnings, err := load()
	if err != nil || len(s.Keys.List) != 1 || len(warnings) != 3 || !strings.Contains(warnings[0], "can be read by everybody") || !strings.Contains(warnings[1], "is not https") ||
		!strings.Contains(warnings[2], "ADMIN_TOKEN or ADMIN_ADDR opens them") {
		t.Fatal(err, warnings)
	}
	if text := string(printed(s)); strings.Contains(text, sumA) || !strings.Contains(text, "keys_file: ") {
		t.Error(text)
	}
	_ = os.Chmod(path, 0o640)
	if _, warnings, _ = load(); len(warnings) != 2 {
		t.Error(warnings)
	}
	if s.Keys == nil || s.WithKeys(nil).Keys != nil || s.Keys == nil {
		t.Error("other keys change the settings they come from")
	}
	// A fault of the keys is told with all the others.
	if err := os.WriteFile(path, []byte("keys: 1"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err = Load(Input{Environ: []string{"KEYS_FILE=" + path, "PORT=x"}})
	if faults := (*Faults)(nil); !errors.As(err, &faults) || len(faults.List) != 2 {
		t.Error(err)
	}
}
