package behaviour

import (
	"strings"
	"testing"
	"time"

	"aigateway/gateway/server"
	"aigateway/gateway/testkit"
)

// /health and /ping say that the gateway lives, where nobody else has a say; the engines' paths outside of /v1 lead to them.
func TestDoors(t *testing.T) {
	up := testkit.StartRecorder(t)
	bare := startGateway(t)
	for _, path := range []string{"/health", "/ping"} {
		if m := bare.get(path); m.Status() != 200 || m.Body != `{"ok":true}`+"\n" {
			t.Errorf("%s: %q %s", path, m.First, m.Body)
		}
		if m := bare.Do("POST " + path + " HTTP/1.1\r\nHost: a\r\n\r\n"); m.Status() != 405 {
			t.Errorf("POST %s: %q", path, m.First)
		}
	}
	engine := []string{"/tokenize", "/detokenize", "/version", "/rerank", "/score"}
	for _, path := range engine {
		m := bare.get(path)
		testkit.WantFault(t, m, 404, "not_found", true)
	}
	g := startGateway(t, "LLM_SERVICE_URL="+up.URL)
	for _, path := range engine {
		if m := g.get(path); m.Body != "GET "+path+" HTTP/1.1" {
			t.Errorf("%s: %q %s", path, m.First, m.Body)
		}
	}
	for _, file := range []string{
		`routes: [{path: "/*", pool: p}]`,
		`routes: [{path: /health, pool: p}, {path: /ping, pool: p}, {path: /version, pool: p}]`,
	} {
		g := startGatewayFile(t, "pools: {p: {upstreams: [{url: \""+up.URL+"\"}]}}\n"+file)
		for _, path := range []string{"/health", "/ping", "/version"} {
			if m := g.get(path); m.Body != "GET "+path+" HTTP/1.1" && m.Body != "ok" { // as for a probe
				t.Errorf("%s: %s: %q %s", file, path, m.First, m.Body)
			}
		}
	}
}

// Generations may be long in coming, and recordings are large: below /v1 the limits are others unless they are set.
func TestLimitsOfGenerations(t *testing.T) {
	t.Parallel()
	up := testkit.StartRecorder(t)
	ask := func(path string, length int) string {
		return "POST " + path + " HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: " + itoa(length) + "\r\n\r\n"
	}
	f := func(path string, length, status int, environ ...string) {
		t.Helper()
		g := startGateway(t, append(environ, "LLM_SERVICE_URL="+up.URL, "PY_SERVICE_URL="+up.URL)...)
		c := g.Dial()
		c.Send("%s", ask(path, length))
		if m := c.ReadHead(); m.Status() != status {
			t.Errorf("%s with %d bytes: %q", path, length, m.First)
		}
	}
	f("/v1/audio/transcriptions", 64<<20, 100)
	f("/v1/audio/transcriptions", 64<<20+1, 413)
	f("/rerank", 64<<20, 100)
	f("/infer/python", 16<<20+1, 413)
	f("/v1/audio/transcriptions", 101, 413, "MAX_BODY_BYTES=100")
	if s := testkit.Settings(t, "", []string{"LLM_SERVICE_URL=" + up.URL, "PY_SERVICE_URL=" + up.URL}); s.Pools[0].Name != "llm" || s.Pools[0].Timeouts.Response.Minutes() != 10 || s.Pools[2].Timeouts.Response.Minutes() != 1 {
		t.Errorf("%+v", s.Pools)
	}
}

// Beside a "/*" of the file the engines' paths lead to llm where there is one, as every built-in route does, and else to the "/*".
func TestDoorsOfEnginesBesideEverything(t *testing.T) {
	t.Parallel()
	engine, other := testkit.StartRecorder(t), testkit.StartRecorder(t)
	file := "pools: {p: {upstreams: [{url: \"" + other.URL + "\"}]}}\nroutes: [{path: \"/*\", pool: p}]"
	g := startGatewayFile(t, file, "LLM_SERVICE_URL="+engine.URL)
	for _, path := range []string{"/tokenize", "/detokenize", "/version", "/rerank", "/score", "/v1/models", "/x"} {
		engine.Reset()
		other.Reset()
		g.get(path)
		if to, not := len(engine.Whole()), len(other.Whole()); (to == 1) != (path != "/x") || to+not != 1 {
			t.Errorf("%s: %d times to the engine, %d times to the others", path, to, not)
		}
	}
}

// How long a head may take is the route's: a pool has the time of a generation below /v1, and its own elsewhere.
func TestTimeOfGenerationsInAnyPool(t *testing.T) {
	t.Parallel()
	asked, late := make(chan string, 4), make(chan struct{})
	slow := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for {
			r := c.ReadRequest()
			if r.Err != nil {
				return
			}
			asked <- r.First
			<-late
			c.Send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")
		}
	})
	s := testkit.Settings(t, "routes: [{path: /v1/*, pool: python}]", testkit.Unlimited([]string{"PY_SERVICE_URL=" + slow.URL}))
	for i := range s.Pools {
		if p := &s.Pools[i]; p.Name == "python" {
			if p.Timeouts.Response != time.Minute || p.Timeouts.Generation != 10*time.Minute {
				t.Errorf("%+v", p.Timeouts)
			}
			p.Timeouts.Response = 20 * time.Millisecond
		}
	}
	g := serve(t, s, server.Options{})
	c := g.Dial()
	c.Send("GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n")
	<-asked
	if m := g.get("/infer/python"); m.Status() != 504 {
		t.Errorf("%s %s", m.First, m.Body)
	}
	close(late)
	if m := c.ReadResponse(); m.Body != "late" {
		t.Errorf("%s %s", m.First, m.Body)
	}
}

// The limit of a route holds for a body that does not say how long it is, in both directions.
func TestLimitsOfChunkedGenerations(t *testing.T) {
	t.Parallel()
	up := testkit.StartRecorder(t)
	piece := "100000\r\n" + strings.Repeat("x", 1<<20) + "\r\n"
	f := func(path string, pieces, status int, environ ...string) {
		t.Helper()
		g := startGateway(t, append(environ, "LLM_SERVICE_URL="+up.URL, "PY_SERVICE_URL="+up.URL)...)
		c := g.Dial()
		c.Send("%s", "POST "+path+" HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
		for range pieces {
			if !c.More(piece) {
				break
			}
		}
		c.More("0\r\n\r\n")
		if m := c.ReadResponse(); m.Status() != status {
			t.Errorf("%s with %d MiB: %q %s", path, pieces, m.First, m.Body)
		}
	}
	f("/v1/audio/transcriptions", 18, 200)
	f("/score", 18, 200)
	f("/infer/python", 18, 413)
	f("/v1/audio/transcriptions", 18, 413, "MAX_BODY_BYTES=16777216")
}
