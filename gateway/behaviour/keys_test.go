package behaviour

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"aigateway/gateway/config"
	"aigateway/gateway/server"
	"aigateway/gateway/testkit"
)

// keyFile is a file of keys: each key's id is its text without "sk-", and what more is said of it stands behind a space.
func keyFile(keys ...string) string {
	text := "keys:\n"
	for _, k := range keys {
		key, more, _ := strings.Cut(k, " ")
		text += fmt.Sprintf("  - {id: %s, sha256: [%x]%s}\n", strings.TrimPrefix(key, "sk-"), sha256.Sum256([]byte(key)), more)
	}
	if len(keys) == 0 {
		return "keys: []\n"
	}
	return text
}

// keyed are settings of a configuration file and an environment, with keys.
func keyed(t *testing.T, keys, file string, environ ...string) *config.Settings {
	t.Helper()
	k, _, err := config.ReadKeys("keys.yaml", func(string) ([]byte, error) { return []byte(keys), nil })
	if err != nil {
		t.Fatal(err)
	}
	return testkit.Settings(t, file, environ).WithKeys(k)
}

// withKey is a line that shows a key.
func withKey(key string) string { return "Authorization: Bearer " + key }

// Where there are keys every path that leads somewhere wants one, whatever is asked in whatever way, but those that say whether the
// gateway is there; and operators' pages want the operator's token. What is added to the gateway is looked at here without a word.
func TestKeysGuardEveryRoute(t *testing.T) {
	up := testkit.StartRecorder(t)
	file := `
pools: {p: {upstreams: [{url: "` + up.URL + `"}]}, llm: {upstreams: [{url: "` + up.URL + `"}]}}
routes: [{path: "/own/*", pool: p}, {path: /own, pool: p}, {path: /open/cors, pool: p, cors: {origins: ["*"]}}]
`
	const key, token = "sk-team", "the-operators"
	g := serve(t, keyed(t, keyFile(key), file, "PY_SERVICE_URL="+up.URL, "NODE_SERVICE_URL="+up.URL, "ADMIN_TOKEN="+token), server.Options{})
	free := map[string]bool{"/livez": true, "/readyz": true, "/healthz": true, "/health": true, "/ping": true}
	operators := map[string]bool{"/": true, "/metrics": true, "/cachez": true}
	asked := 0
	for _, path := range g.Parts().Paths {
		operator := operators[path] || strings.HasPrefix(path, "/dashboard") || path == "/usagez"
		path = strings.TrimSuffix(path, "*")
		if strings.HasSuffix(path, "/") && path != "/" {
			path += "x"
		}
		for _, method := range []string{"GET", "HEAD", "POST", "DELETE", "OPTIONS", "PURGE"} {
			ask := func(lines ...string) int {
				asked++
				return g.Do(method + " " + path + " HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n" + joined(lines) + "\r\n").Status()
			}
			anybody := ask()
			if anybody == 405 { // which nobody answers, whoever asks
				continue
			}
			if (anybody == 401) == free[path] {
				t.Errorf("%s %s: %d without a key", method, path, anybody)
			}
			if free[path] {
				continue
			}
			for _, lines := range [][]string{
				{withKey("sk-other")}, {"x-api-key: sk-other"}, {"Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("team:"+key))},
				{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"},
				{"Expect: 100-continue"}, {"Connection: authorization", withKey(key)},
			} {
				if status := ask(lines...); status != 401 {
					t.Errorf("%s %s: %d with %q", method, path, status, lines)
				}
			}
			preflight := ask("Origin: http://a", "Access-Control-Request-Method: GET")
			if answered := path == "/open/cors" && method == "OPTIONS"; answered != (preflight == 204) || !answered && preflight != 401 {
				t.Errorf("%s %s: %d for a preflight", method, path, preflight)
			}
			if status := ask(withKey(key)); operator != (status == 401) {
				t.Errorf("%s %s: %d with a tenant's key", method, path, status)
			}
			for _, line := range []string{withKey(token), "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("any:"+token))} {
				if status := ask(line); operator == (status == 401) {
					t.Errorf("%s %s: %d with the operator's token", method, path, status)
				}
			}
		}
	}
	if asked < 100 || len(g.Parts().Paths) < 20 {
		t.Errorf("%d requests to %q: this test looks at nothing", asked, g.Parts().Paths)
	}
	for _, m := range up.Whole() {
		if strings.Contains(m.Head, key) || strings.Contains(m.Head, token) {
			t.Errorf("the upstream saw\n%s", m.Head)
		}
	}
	if m := g.get("/nothing/here"); m.Status() != 404 {
		t.Errorf("a path that leads nowhere: %s", m.First)
	}
}

// Without ADMIN_TOKEN the operators' pages are closed on the listener of clients, and strangers are not told of the backends; the
// operators' listener has them all.
func TestOperatorsPagesWithoutToken(t *testing.T) {
	up := testkit.StartRecorder(t)
	g := serve(t, keyed(t, keyFile("sk-team"), "", "PY_SERVICE_URL="+up.URL), server.Options{})
	for _, path := range []string{"/", "/metrics", "/cachez", "/dashboard"} {
		m := g.get(path, withKey("sk-team"))
		testkit.WantFault(t, m, 401, "unauthorized", false)
		if !strings.HasPrefix(m.Field("WWW-Authenticate"), "Basic ") {
			t.Errorf("%s: %s", path, m.Head)
		}
	}
	if m := g.get("/healthz"); m.Status() != 200 || strings.Contains(m.Body, "backends") || strings.Contains(m.Body, up.URL) || !strings.Contains(m.Body, `"ok":true`) {
		t.Errorf("%s %s", m.First, m.Body)
	}
	token := serve(t, keyed(t, keyFile("sk-team"), "", "PY_SERVICE_URL="+up.URL, "ADMIN_TOKEN=t"), server.Options{})
	if m := token.get("/healthz", withKey("t")); !strings.Contains(m.Body, up.URL) {
		t.Errorf("%s %s", m.First, m.Body)
	}
	// As it was where there are no keys: the pages are open, and the token lets purges in.
	before := startGateway(t, "ADMIN_TOKEN=t", "PY_SERVICE_URL="+up.URL)
	for _, path := range []string{"/", "/metrics", "/cachez", "/dashboard", "/healthz"} {
		if m := before.get(path); m.Status() != 200 {
			t.Errorf("%s: %s", path, m.First)
		}
	}
	for line, status := range map[string]int{"X: y": 401, withKey("t"): 200, "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(":t")): 200, withKey("tt"): 401} {
		if m := before.Do("DELETE /cachez HTTP/1.1\r\nHost: a\r\n" + line + "\r\n\r\n"); m.Status() != status {
			t.Errorf("%s: %s", line, m.First)
		}
	}
}

// Where a key may stand, what is no key, and that none goes on: what reaches the upstream is the request without it, and the pool's
// own credential where there is one.
func TestPlacesOfAKey(t *testing.T) {
	up := testkit.StartRecorder(t)
	file := `
pools:
  bare: {upstreams: [{url: "` + up.URL + `"}]}
  own: {upstreams: [{url: "` + up.URL + `"}], credential: {env: PROVIDER_KEY, header: X-Provider}}
routes: [{path: "/v1/*", pool: bare}, {path: "/own/*", pool: own}, {path: "/plain/*", pool: bare}]
`
	const key = "sk-team"
	g := serve(t, keyed(t, keyFile(key, "sk-b", "sk-off , disabled: true", "sk-late , expires: 2020-01-01"), file, "PROVIDER_KEY=ours"), server.Options{})
	f := func(status int, lines ...string) {
		t.Helper()
		for _, path := range []string{"/v1/x", "/own/x"} {
			up.Reset()
			m := g.get(path, append(lines, "X-Kept: 1")...)
			if m.Status() != status {
				t.Errorf("%s %q: %s %s", path, lines, m.First, m.Body)
			}
			seen := up.Whole()
			if (status == 200) != (len(seen) == 1) {
				t.Errorf("%s %q: the upstream was asked %d times", path, lines, len(seen))
			}
			if strings.Contains(m.Head+m.Body, "sk-") {
				t.Errorf("%s %q: the answer holds a key\n%s\n%s", path, lines, m.Head, m.Body)
			}
			for _, s := range seen {
				if strings.Contains(s.Head, "sk-") || s.Field("X-Kept") != "1" || s.Field("Authorization") != "" {
					t.Errorf("%s %q: the upstream saw\n%s", path, lines, s.Head)
				}
				if got := s.Field("X-Provider"); (got == "ours") != (path == "/own/x") {
					t.Errorf("%s %q: X-Provider is %q", path, lines, got)
				}
			}
		}
	}
	f(200, "Authorization: Bearer "+key)
	f(200, "authorization: bearer   "+key)
	f(200, "X-API-Key: "+key)
	f(200, "api-key: "+key)
	f(200, "Sec-WebSocket-Protocol: realtime, openai-insecure-api-key."+key+", openai-beta.realtime-v1")
	f(200, "Sec-WebSocket-Protocol: openai-insecure-api-key."+key)
	f(200, "Authorization: Bearer "+key, "x-api-key: "+key, "Sec-WebSocket-Protocol: openai-insecure-api-key."+key)
	f(200, "Authorization: Basic c2stdGVhbTpzay10ZWFt", "x-api-key: "+key) // another scheme is no key, and goes no further either
	f(200, "Authorization: Bearer", "api-key:", "x-api-key: "+key)
	f(400, "Authorization: Bearer "+key, "x-api-key: sk-b")
	f(400, "x-api-key: "+key, "x-api-key: sk-b")
	f(400, "x-api-key: "+key, "api-key: sk-unknown")
	f(400, "x-api-key: "+key, "Sec-WebSocket-Protocol: openai-insecure-api-key.sk-b")
	f(400, "Sec-WebSocket-Protocol: openai-insecure-api-key."+key+",openai-insecure-api-key.sk-b")
	f(400, "x_api_key: "+key)
	f(400, "X-Api_Key: "+key, "x-api-key: "+key)
	f(400, "api_key: "+key)
	f(400, "Sec_WebSocket_Protocol: openai-insecure-api-key."+key)
	f(401)
	f(401, "Authorization: "+key)
	f(401, "Authorization: Bearer sk-tea")
	f(401, "Authorization: Bearer sk-teams")
	f(401, "Authorization: Bearer SK-team")
	f(401, "Authorization: Bearer sk-off")
	f(401, "Authorization: Bearer sk-late")
	f(401, fmt.Sprintf("x-api-key: %x", sha256.Sum256([]byte(key))))
	f(401, "Cookie: key="+key)
	f(401, "x-api-key: "+strings.Repeat("k", 8000))

	m := g.get("/v1/x")
	testkit.WantFault(t, m, 401, "invalid_api_key", true)
	if got := m.Field("WWW-Authenticate"); got != `Bearer realm="aigateway"` {
		t.Errorf("WWW-Authenticate: %q", got)
	}
	m = g.get("/plain/x", withKey("sk-nobody"))
	testkit.WantFault(t, m, 401, "invalid_api_key", false)
	if got := m.Field("WWW-Authenticate"); got != `Bearer realm="aigateway", error="invalid_token"` {
		t.Errorf("WWW-Authenticate: %q", got)
	}
	if m := g.Do("POST /v1/messages HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"); m.Status() != 401 || !strings.Contains(m.Body, `{"type":"error","error":{"type":"authentication_error"`) {
		t.Errorf("in Anthropic's shape: %s %s", m.First, m.Body)
	}
	testkit.WantFault(t, g.get("/plain/x", "api-key: a", "x-api-key: b"), 400, "two_keys", false)
	up.Reset()
	f(200, "Sec-WebSocket-Protocol: realtime , openai-insecure-api-key."+key+" ,openai-beta.realtime-v1", withKey(key))
	if got := up.Whole()[0].Field("Sec-WebSocket-Protocol"); got != "realtime,openai-beta.realtime-v1" {
		t.Errorf("the upstream was offered %q", got)
	}
}

// A connection goes on after a refusal, and the refusal comes before the body is asked for.
func TestKeyRefusedBeforeTheBody(t *testing.T) {
	up := testkit.StartRecorder(t)
	g := serve(t, keyed(t, keyFile("sk-a"), "", "PY_SERVICE_URL="+up.URL), server.Options{})
	c := g.Dial()
	c.Send("GET /infer/python HTTP/1.1\r\nHost: a\r\n\r\n")
	if m := c.ReadResponse(); m.Status() != 401 {
		t.Errorf("%s", m.First)
	}
	c.Send("GET /infer/python HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n", withKey("sk-a"))
	if m := c.ReadResponse(); m.Status() != 200 {
		t.Errorf("%s", m.First)
	}
	c = g.Dial()
	c.Send("POST /infer/python HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n")
	if m := c.ReadResponse(); m.Status() != 401 {
		t.Errorf("%s", m.First)
	}
	// The next request on a connection is its own: nothing of the key before it stays.
	c = g.Dial()
	for _, request := range []string{withKey("sk-a"), "X: y"} {
		c.Send("GET /infer/python HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n", request)
		if m := c.ReadResponse(); (m.Status() == 401) != (request == "X: y") {
			t.Errorf("%s: %s", request, m.First)
		}
	}
}

// A wrong key costs a token of its address and nobody else's; a right one none, whatever its address did.
func TestWrongKeysSpendFromTheirAddress(t *testing.T) {
	up := testkit.StartRecorder(t)
	g := serve(t, keyed(t, keyFile("sk-a", "sk-b"), "", "PY_SERVICE_URL="+up.URL, "RATE_LIMIT_ENABLED=true",
		"CLIENT_RPS=0", "CLIENT_BURST=3", "GLOBAL_RPS=0", "GLOBAL_BURST=6", "ADMIN_TOKEN=t"), server.Options{})
	for i, want := range []int{401, 401, 401, 429, 429} {
		if m := g.get("/infer/python", withKey(fmt.Sprint("sk-guess", i))); m.Status() != want || want == 429 && (m.Field("RateLimit-Scope") != "client" || m.Field("Retry-After") == "") {
			t.Errorf("guess %d: %s\n%s", i, m.First, m.Head)
		}
	}
	if m := g.get("/metrics", withKey("guess")); m.Status() != 429 {
		t.Errorf("a guess at the operator's token: %s", m.First)
	}
	for _, key := range []string{"sk-a", "sk-b"} { // each has its own three tokens, of the six that all have
		for i, want := range []int{200, 200, 200, 429} {
			if m := g.get("/infer/python", withKey(key)); m.Status() != want {
				t.Errorf("%s, request %d: %s %s", key, i, m.First, m.Body)
			}
		}
	}
	if n := len(up.Whole()); n != 6 {
		t.Errorf("the upstream was asked %d times", n)
	}
	m := g.get("/metrics", withKey("t"))
	for _, line := range []string{`auth_failures_total{reason="unknown"} 5`, `auth_failures_total{reason="operator"} 1`, `auth_failures_total{reason="missing"} 0`} {
		if !strings.Contains(m.Body, line) {
			t.Errorf("/metrics has no line %s", line)
		}
	}
}

// A tenant's responses are its own, in memory and in flight, though what they are kept by is no credential any more.
func TestCacheByTenant(t *testing.T) {
	o := startOrigin(t, func(r testkit.Message, n int) string {
		vary := ""
		if strings.Contains(r.First, "vary") {
			vary = "Vary: Authorization, X-Api-Key\r\n"
		}
		return with(fmt.Sprint("answer ", n), "Cache-Control: max-age=60\r\n"+vary+"X: y")
	})
	file := "pools: {p: {upstreams: [{url: \"" + o.URL + "\"}]}}\nroutes: [{path: \"/*\", pool: p}]\n"
	g := serve(t, keyed(t, keyFile("sk-a", "sk-b"), file, "CACHE_ENABLED=true"), server.Options{})
	for _, path := range []string{"/plain", "/vary"} {
		wantCached(t, g.get(path, withKey("sk-a")), "MISS", 200, "answer 0")
		wantCached(t, g.get(path, withKey("sk-a")), "HIT", 200, "answer 0")
		wantCached(t, g.get(path, "x-api-key: sk-a"), "HIT", 200, "answer 0")
		wantCached(t, g.get(path, withKey("sk-b")), "MISS", 200, "answer 1")
		wantCached(t, g.get(path, "api-key: sk-b"), "HIT", 200, "answer 1")
		wantCached(t, g.get(path, withKey("sk-a")), "HIT", 200, "answer 0")
		if m := g.get(path); m.Status() != 401 {
			t.Errorf("without a key: %s %s", m.First, m.Body)
		}
	}
}

// What an operator says is for all is for all who have a key.
func TestCacheSharedByTenants(t *testing.T) {
	o := startOrigin(t, func(r testkit.Message, n int) string {
		return with(fmt.Sprint("answer ", n), "Cache-Control: max-age=60")
	})
	file := "pools: {p: {upstreams: [{url: \"" + o.URL + "\"}]}}\nroutes: [{path: \"/*\", pool: p, cache: {scope: shared}}]\n"
	g := serve(t, keyed(t, keyFile("sk-a", "sk-b"), file, "CACHE_ENABLED=true"), server.Options{})
	wantCached(t, g.get("/x", withKey("sk-a")), "MISS", 200, "answer 0")
	wantCached(t, g.get("/x", withKey("sk-b")), "HIT", 200, "answer 0")
	if m := g.get("/x"); m.Status() != 401 {
		t.Errorf("without a key: %s %s", m.First, m.Body)
	}
}

// Who asks has a name in the access log.
func TestAccessLogNamesTheKey(t *testing.T) {
	up := testkit.StartRecorder(t)
	log := newLineLog(t)
	g := serve(t, keyed(t, keyFile("sk-a"), "", "PY_SERVICE_URL="+up.URL, "ACCESS_LOG=true"), server.Options{Lines: log.lines})
	g.get("/infer/python", withKey("sk-a"))
	g.get("/infer/python", withKey("sk-nobody"))
	keys := map[int]string{} // by status: a line comes when it comes
	for _, l := range g.accessLines(log) {
		keys[l.Status] = l.Key
	}
	if len(keys) != 2 || keys[200] != "a" || keys[401] != "" || strings.Contains(log.String(), "sk-") {
		t.Errorf("%s", log.String())
	}
}

// newKeys puts a file of keys into force.
func (g *testGateway) newKeys(s *config.Settings, keys string) {
	g.T.Helper()
	k, _, err := config.ReadKeys("keys.yaml", func(string) ([]byte, error) { return []byte(keys), nil })
	if err == nil {
		err = g.Reload(s.WithKeys(k))
	}
	if err != nil {
		g.T.Fatal(err)
	}
}

// A key that is taken back ends what goes on by it, however far that is: a stream, a tunnel, a request that waits for an answer,
// one whose body is on its way. What goes on by others goes on.
func TestRevocationEndsWhatGoesOn(t *testing.T) {
	t.Parallel()
	waiting := make(chan struct{}, 8)
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		m := c.ReadRequest()
		switch {
		case m.Field("Upgrade") != "":
			c.Send("%s", testkit.Granted(m))
		case strings.Contains(m.First, "stream"):
			c.Send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n8\r\ndata: 1\n\r\n")
		}
		waiting <- struct{}{}
		_, _ = c.Rest() // until the gateway leaves
	})
	s := keyed(t, keyFile("sk-a", "sk-b"), poolFile("/*", up.URL), "CACHE_ENABLED=true")
	g := serve(t, s, server.Options{})
	begin := func(key string) (all []*testkit.Peer) {
		for _, request := range []string{
			"GET /stream HTTP/1.1\r\nHost: a\r\n", "GET /silent HTTP/1.1\r\nHost: a\r\n",
			"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n",
		} {
			c := g.Dial()
			c.Send("%s%s\r\n\r\n", request, withKey(key))
			<-waiting
			if !strings.Contains(request, "/silent") {
				if m := c.ReadHead(); m.Status() != 200 && m.Status() != 101 {
					t.Fatalf("%s: %s", request, m.First)
				}
			}
			all = append(all, c)
		}
		c := g.Dial()
		c.Send("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n%s\r\n\r\nabc", withKey(key))
		return append(all, c)
	}
	gone, stay := begin("sk-a"), begin("sk-b")
	testkit.Eventually(t, "eight requests are under way", func() bool { return g.Parts().Open == 8 })
	g.newKeys(s, keyFile("sk-b , weight: 2", "sk-c"))
	for i, c := range gone {
		if _, err := c.Rest(); err == nil && i < 3 {
			t.Errorf("request %d: what was cut looks whole", i)
		}
	}
	testkit.Eventually(t, "four requests are left", func() bool { return g.Parts().Open == 4 })
	for i, c := range stay {
		if !c.Silent(10*time.Millisecond) && i > 0 {
			t.Errorf("request %d of another key: it is told something", i)
		}
	}
	if m := g.get("/x", withKey("sk-a")); m.Status() != 401 {
		t.Errorf("the key that was taken back: %s", m.First)
	}
	if log := g.Log.String(); !strings.Contains(log, `"added":["c"],"removed":["a"],"changed":["b"]`) || strings.Contains(log, "sk-") {
		t.Errorf("the log:\n%s", log)
	}
	g.newKeys(s, keyFile())
	for _, c := range stay {
		_, _ = c.Rest()
	}
	testkit.Eventually(t, "nothing is left", g.idle)
}

// A key ends at midnight, in the middle of a stream too.
func TestExpiryEndsAStream(t *testing.T) {
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		c.ReadRequest()
		c.Send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n8\r\ndata: 1\n\r\n")
		_, _ = c.Rest()
	})
	g := serve(t, keyed(t, keyFile("sk-a , expires: 2999-01-01"), poolFile("/*", up.URL)), server.Options{})
	c := g.Dial()
	c.Send("GET /x HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n", withKey("sk-a"))
	if m := c.ReadHead(); m.Status() != 200 {
		t.Fatal(m.First)
	}
	midnight := time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC)
	g.ExpireKeys(midnight.Add(-time.Second))
	if _, err := c.ReadChunk(); err != nil || !c.Silent(20*time.Millisecond) {
		t.Errorf("cut before its time: %v", err)
	}
	g.ExpireKeys(midnight)
	if _, err := c.ReadChunk(); err == nil {
		t.Error("the stream goes on")
	}
	testkit.Eventually(t, "nothing is left", g.idle)
}

// Which models a key may ask: by their resolved names, where the settings name them, where upstreams list them, and where nobody knows.
func TestModelsOfAKey(t *testing.T) {
	up := testkit.StartRecorder(t)
	listing := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for m := c.ReadRequest(); m.Err == nil; m = c.ReadRequest() {
			body := `{"object":"list","data":[{"id":"llama-1"},{"id":"other-1"}]}`
			if !strings.Contains(m.First, "/models") {
				body = m.Body
			}
			c.Send("%s", with(body, "Content-Type: application/json"))
		}
	})
	echo := testkit.StartRecorder(t)
	keys := keyFile("sk-llama , models: [llama-*]", "sk-none , models: []", "sk-all")
	table := serve(t, keyed(t, keys, `
pools: {p: {upstreams: [{url: "`+up.URL+`"}]}}
models: [{name: llama-8b, pool: p, aliases: [small]}, {name: qwen, pool: p, aliases: [llama-like]}, {name: llama-hidden, pool: p, visible: false}]
`), server.Options{})
	listed := serve(t, keyed(t, keys, "pools: {llm: {upstreams: [{url: \""+listing.URL+"\"}], discover: true}}\n"), server.Options{})
	bare := serve(t, keyed(t, keys, "pools: {llm: {upstreams: [{url: \""+up.URL+"\"}], discover: false}}\n"), server.Options{})
	ways := serve(t, keyed(t, keys, `
pools: {p: {upstreams: [{url: "`+echo.URL+`"}]}, q: {upstreams: [{url: "`+echo.URL+`"}]}}
models: [{name: llama-1, pool: p}]
routes: [{path: "/openai/*", pool: p, rewrite: "/v1/*"}, {path: "/v1/team/*", pool: p, rewrite: "/v1/*"}, {path: "/else/*", pool: q}]
`), server.Options{})
	testkit.Eventually(t, "the models are listed", func() bool {
		return strings.Contains(listed.get("/v1/models", withKey("sk-all")).Body, "other-1")
	})
	f := func(g *testGateway, key, path, body string, status int, code string) {
		t.Helper()
		m := g.Do("POST " + path + " HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n" + withKey(key) + "\r\nContent-Length: " + itoa(len(body)) + "\r\n\r\n" + body)
		if m.Status() != status || !strings.Contains(m.Body, code) {
			t.Errorf("%s %s %s: %s %s, want %d %s", key, path, body, m.First, m.Body, status, code)
		}
	}
	const chat = "/v1/chat/completions"
	model := func(name string) string { return `{"messages":[],"model":"` + name + `"}` }
	f(table, "sk-llama", chat, model("llama-8b"), 200, "")
	f(table, "sk-llama", chat, model("small"), 200, "")
	f(table, "sk-llama", chat, model("llama-like"), 403, "model_not_allowed") // which is qwen
	f(table, "sk-llama", chat, model("qwen"), 403, "model_not_allowed")
	f(table, "sk-llama", chat, model("llama-hidden"), 404, "model_not_found")
	f(table, "sk-llama", chat, model("nothing"), 404, "model_not_found")
	f(table, "sk-none", chat, model("llama-8b"), 403, "model_not_allowed")
	f(table, "sk-all", chat, model("qwen"), 200, "")
	f(listed, "sk-llama", chat, model("llama-1"), 200, "")
	f(listed, "sk-llama", chat, model("other-1"), 403, "model_not_allowed")
	f(listed, "sk-llama", chat, model("other-2"), 404, "model_not_found")
	f(listed, "sk-all", chat, model("other-1"), 200, "")
	f(bare, "sk-llama", chat, model("llama-1"), 200, "")
	f(bare, "sk-llama", chat, model("other-1"), 404, "model_not_found")
	f(bare, "sk-llama", chat, `{"messages":[]}`, 400, "model_missing")
	f(bare, "sk-llama", chat, `{"model":"llama-1","model":"other-1"}`, 400, "")
	f(bare, "sk-llama", "/v1/images/generations", model("other-1"), 404, "model_not_found")
	f(bare, "sk-llama", "/v1/images/generations", model("llama-1"), 200, "")
	f(bare, "sk-llama", "/v1/files", `{"purpose":"x"}`, 200, "")
	f(bare, "sk-all", chat, `not JSON`, 200, "")                                     // nobody looks at it
	f(bare, "sk-llama", "/v1/realtime?model=other-1", "v=0", 404, "model_not_found") // by WebRTC
	f(bare, "sk-llama", "/v1/realtime?model=llama-1", "v=0", 200, "")
	f(bare, "sk-llama", "/v1/realtime", "v=0", 400, "model_missing")
	for _, path := range []string{"/openai/chat/completions", "/v1/team/chat/completions"} { // other ways to the same engines
		f(ways, "sk-llama", path, model("llama-1"), 200, "")
		f(ways, "sk-llama", path, model("other-1"), 404, "model_not_found")
		f(ways, "sk-llama", path, `{"messages":[]}`, 400, "model_missing")
		f(ways, "sk-llama", strings.Replace(path, "chat/", "Chat%2f", 1), model("llama-1"), 400, "ambiguous_path")
		f(ways, "sk-llama", strings.Replace(path, "chat/completions", "files", 1), `{"purpose":"x"}`, 200, "")
		f(ways, "sk-all", path, model("other-1"), 200, "")
	}
	f(ways, "sk-llama", "/else/chat/completions", model("other-1"), 200, "") // no engine's
	for _, method := range []string{"PUT", "PATCH", "GET", "DELETE"} {
		body := model("other-1")
		m := bare.Do(method + " " + chat + " HTTP/1.1\r\nHost: a\r\nX-HTTP-Method-Override: POST\r\n" + withKey("sk-llama") + "\r\nContent-Length: " + itoa(len(body)) + "\r\n\r\n" + body)
		if m.Status() != 404 && m.Status() != 405 {
			t.Errorf("%s: %s", method, m.First)
		}
	}
	if m := table.get("/v1/models", withKey("sk-llama")); !strings.Contains(m.Body, `"llama-8b"`) || strings.Contains(m.Body, "qwen") {
		t.Errorf("%s", m.Body)
	}
	if m := table.get("/v1/models/qwen", withKey("sk-llama")); m.Status() != 404 {
		t.Errorf("%s", m.First)
	}
	if m := listed.get("/v1/models", withKey("sk-llama")); !strings.Contains(m.Body, `"llama-1"`) || strings.Contains(m.Body, "other-1") {
		t.Errorf("%s", m.Body)
	}
	for _, m := range up.Whole() {
		if strings.Contains(m.Body, "other-1") && !strings.Contains(m.First, "models") {
			t.Errorf("the upstream was asked %s", m.Body)
		}
	}
}

// startIssuer starts an issuer, and tells where it is and how it signs claims.
func startIssuer(t *testing.T) (url string, token func(claims string) string) {
	_, private, _ := ed25519.GenerateKey(nil)
	issuer := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for m := c.ReadRequest(); m.Err == nil; m = c.ReadRequest() {
			key := base64.RawURLEncoding.EncodeToString(private.Public().(ed25519.PublicKey))
			c.Send("%s", with(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","x":"`+key+`"}]}`))
		}
	})
	return issuer.URL, func(claims string) string {
		b64 := base64.RawURLEncoding.EncodeToString
		signed := b64([]byte(`{"alg":"EdDSA","kid":"k"}`)) + "." + b64([]byte(claims))
		return signed + "." + b64(ed25519.Sign(private, []byte(signed)))
	}
}

// A token ends in the middle of a stream too: that of another token goes on.
func TestExpiryOfATokenEndsItsStream(t *testing.T) {
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		c.ReadRequest()
		c.Send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n8\r\ndata: 1\n\r\n")
		_, _ = c.Rest()
	})
	issuer, token := startIssuer(t)
	g := serve(t, keyed(t, "jwt: {issuer: i, audience: g, jwks_url: \""+issuer+"/keys\"}\n", poolFile("/*", up.URL)), server.Options{})
	ends := time.Now().Add(time.Hour)
	stream := func(seconds int64) (c *testkit.Peer) {
		shown := token(`{"iss":"i","aud":"g","sub":"a","exp":` + itoa(int(ends.Unix()+seconds)) + `}`)
		testkit.Eventually(t, "the stream begins", func() bool {
			c = g.Dial()
			c.Send("GET /x HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n", withKey(shown))
			return c.ReadHead().Status() == 200 // the issuer's keys may not be there yet
		})
		if _, err := c.ReadChunk(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	first, second := stream(0), stream(1)
	g.ExpireKeys(ends.Add(-time.Second))
	if !first.Silent(20 * time.Millisecond) {
		t.Error("cut before its time")
	}
	g.ExpireKeys(ends)
	if _, err := first.ReadChunk(); err == nil {
		t.Error("the stream goes on")
	}
	if !second.Silent(300 * time.Millisecond) {
		t.Error("the stream by another token is cut")
	}
	g.ExpireKeys(ends.Add(time.Second))
	if _, err := second.ReadChunk(); err == nil {
		t.Error("the second stream goes on")
	}
	testkit.Eventually(t, "nothing is left", g.idle)
}

// A token of the issuer's opens as a key does; one that was not seen yet costs a token of its address only if it is bad.
func TestTokens(t *testing.T) {
	up := testkit.StartRecorder(t)
	issuer, token := startIssuer(t)
	of := func(tenant string) string {
		return token(`{"iss":"i","aud":"g","exp":4000000000,"sub":"` + tenant + `","m":["llama-*"]}`)
	}
	keys := keyFile("sk-dots.of.two") + "jwt: {issuer: i, audience: g, jwks_url: \"" + issuer + "/keys\", models_claim: m}\n"
	log := newLineLog(t)
	g := serve(t, keyed(t, keys, "pools: {llm: {upstreams: [{url: \""+up.URL+"\"}], discover: false}}\n", "RATE_LIMIT_ENABLED=true", "CLIENT_RPS=0", "CLIENT_BURST=3",
		"ACCESS_LOG=true", "ADMIN_TOKEN=t"), server.Options{Lines: log.lines})
	testkit.Eventually(t, "the issuer's keys are there", func() bool { return g.get("/v1/x", withKey(of("probe"))).Status() == 200 })
	for _, tenant := range []string{"alice", "bob"} {
		for i, want := range []int{200, 200, 200, 429} { // three each, though all come from one address
			if m := g.get("/v1/x", withKey(of(tenant))); m.Status() != want {
				t.Errorf("%s, request %d: %s %s", tenant, i, m.First, m.Body)
			}
		}
	}
	for i, want := range []int{200, 200, 200, 429} {
		if m := g.get("/v1/x", withKey("sk-dots.of.two")); m.Status() != want {
			t.Errorf("a key that looks like a token, request %d: %s", i, m.First)
		}
	}
	body := `{"model":"qwen","messages":[]}`
	if m := g.Do("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n" + withKey(of("carol")) + "\r\nContent-Length: " + itoa(len(body)) + "\r\n\r\n" + body); m.Status() != 404 {
		t.Errorf("a model that the token does not name: %s %s", m.First, m.Body)
	}
	forged := of("eve")
	for _, bad := range []string{forged[:len(forged)-8] + "AAAAAAAA", token(`{"iss":"i","aud":"g","exp":1,"sub":"a"}`)} {
		if m := g.get("/v1/x", withKey(bad)); m.Status() != 401 || m.Field("WWW-Authenticate") == "" {
			t.Errorf("%s", m.First)
		}
	}
	for _, m := range up.Whole() {
		if strings.Contains(m.Head, "eyJ") {
			t.Errorf("the upstream saw\n%s", m.Head)
		}
	}
	m := g.get("/metrics", withKey("t"))
	for _, line := range []string{`auth_failures_total{reason="token_signature"} 1`, `auth_failures_total{reason="token_expired"} 1`} {
		if !strings.Contains(m.Body, line) {
			t.Errorf("/metrics has no line %s", line)
		}
	}
	keysOf := map[string]int{}
	for _, l := range g.accessLines(log) {
		keysOf[l.Key]++
	}
	if keysOf["jwt:alice"] != 4 || keysOf["jwt:bob"] != 4 || keysOf["jwt:carol"] != 1 || strings.Contains(log.String(), "eyJ") {
		t.Errorf("%v\n%s", keysOf, log.String())
	}
}

// A limit of requests that a tenant has stands in the place of that of clients, smaller or larger, and is there without one too. The
// limit of all is for all.
func TestLimitsOfAKey(t *testing.T) {
	up := testkit.StartRecorder(t)
	keys := keyFile("sk-few , limits: {rps: 1.0e-6, burst: 2}", "sk-many , limits: {rpm: 5}", "sk-plain")
	f := func(what string, want map[string]int, environ ...string) {
		t.Helper()
		g := serve(t, keyed(t, keys, "", append(environ, "PY_SERVICE_URL="+up.URL)...), server.Options{})
		for _, key := range []string{"few", "many", "plain"} {
			admitted := 0
			for range 8 {
				switch m := g.get("/infer/python", withKey("sk-"+key)); {
				case m.Status() == 200:
					admitted++
				case m.Status() != 429 || m.Field("Retry-After") == "" || m.Field("RateLimit-Scope") == "":
					t.Errorf("%s, %s: %s\n%s", what, key, m.First, m.Head)
				}
			}
			if admitted != want[key] {
				t.Errorf("%s, %s: %d admitted, want %d", what, key, admitted, want[key])
			}
		}
	}
	f("without the limits of clients", map[string]int{"few": 2, "many": 5, "plain": 8}, "RATE_LIMIT_ENABLED=false")
	f("beside those", map[string]int{"few": 2, "many": 5, "plain": 3}, "RATE_LIMIT_ENABLED=true", "CLIENT_RPS=0", "CLIENT_BURST=3")
	f("beside that of all", map[string]int{"few": 2, "many": 2, "plain": 0}, "RATE_LIMIT_ENABLED=true", "CLIENT_RPS=0", "CLIENT_BURST=3", "GLOBAL_RPS=0", "GLOBAL_BURST=4")
}
