package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"aigateway/gateway/config"
)

func TestKeygen(t *testing.T) {
	var out, fault strings.Builder
	if code := run([]string{"keygen", "-id", "team-a"}, nil, &out, &fault); code != 0 || fault.Len() > 0 {
		t.Fatalf("code %d: %s", code, &fault)
	}
	key, line, ok := strings.Cut(out.String(), "\n")
	path := filepath.Join(t.TempDir(), "keys.yaml")
	if err := os.WriteFile(path, []byte("keys:\n"+line), 0o600); err != nil {
		t.Fatal(err)
	}
	c, warnings, err := config.ReadKeys(path, nil)
	if !ok || !strings.HasPrefix(key, "sk-") || strings.Contains(line, key) || err != nil || len(warnings) > 0 || c.List[0].ID != "team-a" {
		t.Errorf("%s: %v %v", &out, err, warnings)
	}
	f := func(want string, args ...string) {
		t.Helper()
		out.Reset()
		fault.Reset()
		if code := run(append([]string{"keygen"}, args...), nil, &out, &fault); code != exitUsage || out.Len() > 0 || !strings.Contains(fault.String(), want) {
			t.Errorf("%q: code %d, %q, %q", args, code, &out, &fault)
		}
	}
	f(`unexpected argument "x"`, "x")
	f("-id: an id is of letters", "-id", "a b")
	f("flag provided but not defined", "-name", "x")
	if code := run([]string{"keygen", "-h"}, nil, &out, &fault); code != 0 {
		t.Errorf("-h: code %d", code)
	}
	if code := run([]string{"keygen"}, nil, brokenPipe{}, &fault); code != exitFailed {
		t.Errorf("a key that nobody got: code %d", code)
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

// Where keys are needed, the commands of the welcome show one.
func TestWelcomeWithKeys(t *testing.T) {
	s, _, err := config.Load(config.Input{})
	if err != nil {
		t.Fatal(err)
	}
	for _, keyed := range []bool{false, true} {
		if keyed {
			s = s.WithKeys(&config.Keys{})
		}
		said := welcome(s, s.Port, nil)
		if n := strings.Count(said, `curl -H "x-api-key: $KEY" `); keyed != (n == strings.Count(said, "curl ") && n > 3) || keyed != strings.Contains(said, "export KEY=") || keyed != strings.Contains(said, "dashboard, once ADMIN_TOKEN is set") {
			t.Errorf("keys: %v\n%s", keyed, said)
		}
	}
}
