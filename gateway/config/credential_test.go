package config

import (
	"strings"
	"testing"
)

func TestCredential(t *testing.T) {
	const pool = "pools: {p: {upstreams: [{url: http://a}], credential: {"
	s, _, err := load(pool+"env: KEY}}}", "KEY= sk-1 ")
	if err != nil {
		t.Fatal(err)
	}
	if c := s.pool("p").Credential; c.Value != "sk-1" || c.Header != "Authorization" {
		t.Errorf("%+v", c)
	}
	if text := string(printed(s)); strings.Contains(text, "sk-1") || !strings.Contains(text, `credential: {env: "KEY", header: "Authorization"}`) {
		t.Error(text)
	}
	f := func(credential, want string, environ ...string) {
		t.Helper()
		_, _, err := load(pool+credential+"}}}", environ...)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "sk-1") {
			t.Errorf("%s: %v, want %q", credential, err, want)
		}
	}
	f("", "gw.yaml:1: pools.p.credential: needs env, the name of a variable, or file, a path: one of them")
	f("env: A, file: b", "one of them", "A=sk-1")
	f("env: KEY", "pools.p.credential: env: the variable KEY is not set")
	f("env: KEY", "holds a character that no credential has", "KEY=sk-1\nsk-1")
	f("file: gone", "pools.p.credential: file: cannot be read: no such file")
	f("env: KEY, header: x y", `"x y" is not the name of a field`, "KEY=sk-1")
	f("env: KEY, value: sk-1", "pools.p.credential.value: there is no such key here; a secret does not stand in this file: env names a variable, or file a file, that holds it", "KEY=sk-1")
}
