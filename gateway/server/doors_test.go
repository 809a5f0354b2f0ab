package server

import "testing"

// /health and /ping say that the gateway lives, where nobody else has a say; the engines' paths outside of /v1 lead to them.
func TestDoors(t *testing.T) {
	up := startRecorder(t)
	bare := startGateway(t)
	for _, path := range []string{"/health", "/ping"} {
		if m := bare.get(path); m.status() != 200 || m.body != `{"ok":true}`+"\n" {
			t.Errorf("%s: %q %s", path, m.first, m.body)
		}
		if m := bare.do("POST " + path + " HTTP/1.1\r\nHost: a\r\n\r\n"); m.status() != 405 {
			t.Errorf("POST %s: %q", path, m.first)
		}
	}
	engine := []string{"/tokenize", "/detokenize", "/version", "/rerank", "/score"}
	for _, path := range engine {
		m := bare.get(path)
		wantFault(t, m, 404, "not_found", true)
	}
	g := startGateway(t, "LLM_SERVICE_URL="+up.URL)
	for _, path := range engine {
		if m := g.get(path); m.body != "GET "+path+" HTTP/1.1" {
			t.Errorf("%s: %q %s", path, m.first, m.body)
		}
	}
	for _, file := range []string{
		`routes: [{path: "/*", pool: p}]`,
		`routes: [{path: /health, pool: p}, {path: /ping, pool: p}, {path: /version, pool: p}]`,
	} {
		g := startGatewayFile(t, "pools: {p: {upstreams: [{url: \""+up.URL+"\"}]}}\n"+file)
		for _, path := range []string{"/health", "/ping", "/version"} {
			if m := g.get(path); m.body != "GET "+path+" HTTP/1.1" && m.body != "ok" { // as for a probe
				t.Errorf("%s: %s: %q %s", file, path, m.first, m.body)
			}
		}
	}
}

// Generations may be long in coming, and recordings are large: below /v1 the limits are others unless they are set.
func TestLimitsOfGenerations(t *testing.T) {
	up := startRecorder(t)
	ask := func(path string, length int) string {
		return "POST " + path + " HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: " + itoa(length) + "\r\n\r\n"
	}
	f := func(path string, length, status int, environ ...string) {
		t.Helper()
		g := startGateway(t, append(environ, "LLM_SERVICE_URL="+up.URL, "PY_SERVICE_URL="+up.URL)...)
		c := g.dial()
		c.send("%s", ask(path, length))
		if m := c.readHead(); m.status() != status {
			t.Errorf("%s with %d bytes: %q", path, length, m.first)
		}
	}
	f("/v1/audio/transcriptions", 64<<20, 100)
	f("/v1/audio/transcriptions", 64<<20+1, 413)
	f("/rerank", 64<<20, 100)
	f("/infer/python", 16<<20+1, 413)
	f("/v1/audio/transcriptions", 101, 413, "MAX_BODY_BYTES=100")
	g := startGateway(t, "LLM_SERVICE_URL="+up.URL, "PY_SERVICE_URL="+up.URL)
	if s := g.plan.Load().settings; s.Pools[0].Name != "llm" || s.Pools[0].Timeouts.Response.Minutes() != 10 || s.Pools[2].Timeouts.Response.Minutes() != 1 {
		t.Errorf("%+v", s.Pools)
	}
}
