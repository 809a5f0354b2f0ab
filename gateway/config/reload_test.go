package config

import (
	"slices"
	"testing"
)

func TestNeedRestart(t *testing.T) {
	f := func(before, after string, want ...string) {
		t.Helper()
		load := func(file string) *Settings {
			s, _, err := Load(Input{File: "g.yaml", ReadFile: func(string) ([]byte, error) { return []byte(file), nil }})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		if got := load(before).NeedRestart(load(after)); !slices.Equal(got, want) {
			t.Errorf("%q to %q: %q, want %q", before, after, got, want)
		}
	}
	f("", "")
	f("port: 8080", "") // the default
	f("port: 8080", "port: 8081", "PORT")
	f("", "{port: 1, max_header_bytes: 2048, max_body_bytes: 9, client_rps: 7}", "PORT", "MAX_HEADER_BYTES")
	f("", "pools: {p: {upstreams: [{url: 'http://a'}]}}")
}
