package behaviour

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"aigateway/gateway/config"
	"aigateway/gateway/server"
	"aigateway/gateway/testkit"
)

// What a pool shows its upstreams stands in the place of what clients show the gateway, with a body and without, also to the
// fallback, which has one of its own or none.
func TestCredential(t *testing.T) {
	up := testkit.StartRecorder(t)
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("from-a-file-"+strings.Repeat("x", 3000)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := `
pools:
  bearer: {upstreams: [{url: "` + up.URL + `"}], credential: {env: PROVIDER_KEY}}
  named: {upstreams: [{url: "` + up.URL + `"}], credential: {file: "` + key + `", header: X-Api-Key}}
  none: {upstreams: [{url: "` + up.URL + `"}]}
routes: [{path: "/bearer/*", pool: bearer}, {path: "/named/*", pool: named}, {path: "/none/*", pool: none}, {path: "/late/*", pool: named, fallback: bearer}]
`
	load := func() *config.Settings {
		t.Helper()
		s, _, err := config.Load(config.Input{
			File: "gw.yaml", Environ: []string{"PROVIDER_KEY=sk-secret", "RATE_LIMIT_ENABLED=false", "CACHE_ENABLED=true"},
			ReadFile: func(name string) ([]byte, error) {
				if name == "gw.yaml" {
					return []byte(file), nil
				}
				return os.ReadFile(name)
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		var printed strings.Builder
		if s.Print(&printed); strings.Contains(printed.String(), "secret") || strings.Contains(printed.String(), "from-a-file") {
			t.Errorf("printed:\n%s", printed.String())
		}
		return s
	}
	g := serve(t, load(), server.Options{})
	const shown = "Authorization: Bearer mine\r\nX-API-Key: mine\r\napi-key: mine\r\nX-Other: kept\r\n"
	f := func(path, name, value string) {
		t.Helper()
		for _, request := range []string{
			"GET " + path + " HTTP/1.1\r\nHost: a\r\n" + shown + "\r\n",
			"POST " + path + " HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n" + shown + "\r\nabc",
			"POST " + path + " HTTP/1.1\r\nHost: a\r\nContent-Length: 40000\r\n" + shown + "\r\n" + strings.Repeat("b", 40000),
		} {
			up.Reset()
			if m := g.Do(request); m.Status() != 200 {
				t.Fatalf("%s: %q %v", path, m.First, m.Err)
			}
			seen := up.Whole()[0]
			if strings.Contains(seen.Head, "mine") || seen.Field("X-Other") != "kept" {
				t.Errorf("%s: the upstream saw\n%s", path, seen.Head)
			}
			if got := seen.Fields(name); len(got) != 1 || got[0] != value {
				t.Errorf("%s: %s is %.40q", path, name, got)
			}
		}
	}
	f("/bearer/x", "Authorization", "Bearer sk-secret")
	f("/named/x", "X-Api-Key", "from-a-file-"+strings.Repeat("x", 3000))
	up.Reset()
	g.Do("GET /none/x HTTP/1.1\r\nHost: a\r\n" + shown + "\r\n")
	if seen := up.Whole()[0]; seen.Field("Authorization") != "Bearer mine" || seen.Field("X-API-Key") != "mine" {
		t.Errorf("without a credential the upstream saw\n%s", seen.Head)
	}

	// The file is read again with the settings; the upstream stays who it is.
	if err := os.WriteFile(key, []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := g.Reload(load()); err != nil {
		t.Fatal(err)
	}
	f("/named/y", "X-Api-Key", "another")
	if strings.Contains(g.Log.String(), "secret") || strings.Contains(g.Log.String(), "from-a-file") {
		t.Errorf("the log:\n%s", g.Log)
	}
}

// To CGI and its descendants X_Provider_Auth is X-Provider-Auth: who reads the pool's credential there must not find a client's.
func TestCredentialByNameWithUnderscore(t *testing.T) {
	t.Parallel()
	up := testkit.StartRecorder(t)
	file := "pools: {p: {upstreams: [{url: \"" + up.URL + "\"}], credential: {env: PROVIDER_KEY, header: X-Provider-Auth}}}\nroutes: [{path: \"/*\", pool: p}]"
	g := startGatewayFile(t, file, "PROVIDER_KEY=ours")
	for _, name := range []string{"X_Provider_Auth", "x-provider_auth", "X_PROVIDER-AUTH"} {
		up.Reset()
		if m := g.get("/x", name+": mine", "X_Other: kept"); m.Status() != 200 {
			t.Fatalf("%s: %s %s", name, m.First, m.Body)
		}
		if seen := up.Whole()[0]; strings.Contains(seen.Head, "mine") || seen.Field("X_Other") != "kept" || seen.Field("X-Provider-Auth") != "ours" {
			t.Errorf("%s: the upstream saw\n%s", name, seen.Head)
		}
	}
}
