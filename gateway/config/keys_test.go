package config

import (
	"strings"
	"testing"
)

// Keys may be named, tagged, or behind a question mark, as values are.
func TestKeysOfYAML(t *testing.T) {
	f := func(text string, want int) {
		t.Helper()
		if s, _, err := load(text); err != nil || s.Port != want {
			t.Errorf("%s: %v, %+v", text, err, s)
		}
	}
	f("&k port: 8081", 8081)
	f("x-k: &k port\n*k : 8081", 8081)
	f("? port\n: 8081", 8081)
	f("!!str port: 8081", 8081)
	f("x-a: &a {port: 8081}\n!!merge <<: *a", 8081)
	f("<<:\nport: 8081", 8081)
	f("port: !<tag:yaml.org,2002:int> 8081", 8081)

	bad := func(text, want string) {
		t.Helper()
		if _, _, err := load(text); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	bad("*k : 1", "gw.yaml:1: refers to k, which nothing before it is named")
	bad("!foo port: 1", `gw.yaml:1: has the tag "!foo", which nothing here knows`)
	bad("x-k: &k [a]\n*k : 1", "gw.yaml:2: has a key that is not one plain value")
	bad("x-k: &k port\nport: 1\n*k : 2", "gw.yaml:3: port: stands here a second time")
	bad("port: !<tag:yaml.org,2002:set> 1", `gw.yaml:1: port: has the tag "!!set", which nothing here knows`)
}
