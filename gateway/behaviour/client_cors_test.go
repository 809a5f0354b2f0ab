package behaviour

import (
	"aigateway/gateway/testkit"
	"strings"
	"testing"
)

// Pages of other origins: preflights are answered by the gateway, before limits and methods, and replies say what the page may do
// with them, whoever made them.
func TestCORS(t *testing.T) {
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for {
			m := c.ReadRequest()
			if m.Err != nil {
				return
			}
			c.Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nAccess-Control-Allow-Origin: http://upstream\r\naccess-control-allow-credentials: true\r\n" +
				"Cache-Control: max-age=60\r\nX-Kept: 1\r\n\r\nok")
		}
	})
	g := startGatewayFile(t, `
pools: {p: {upstreams: [{url: "`+up.URL+`"}]}}
cors: {origins: ["https://app.example", "http://localhost:3000"], headers: [authorization, content-type], max_age: 5m, credentials: true}
routes:
  - {path: "/v1/*", pool: p, methods: [GET, POST], limit: {client_rps: 1, client_burst: 1}}
  - {path: "/open/*", pool: p, cors: {origins: ["*"]}}
  - {path: "/files/*", pool: p}
`, "RATE_LIMIT_ENABLED=true", "CACHE_ENABLED=true")
	ask := func(method, path string, lines ...string) testkit.Message {
		return g.Do(method + " " + path + " HTTP/1.1\r\nHost: a\r\n" + strings.Join(append(lines, ""), "\r\n") + "\r\n")
	}
	const page, other = "Origin: https://app.example", "Origin: https://evil.example"
	has := func(what string, m testkit.Message, name, want string) {
		t.Helper()
		if got := strings.Join(m.Fields(name), "|"); got != want {
			t.Errorf("%s: %s is %q, want %q", what, name, got, want)
		}
	}

	for range 3 { // no limit counts them
		m := ask("OPTIONS", "/v1/chat/completions", page, "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: x-whatever")
		if m.Status() != 204 || m.Body != "" || m.Field("Content-Length") != "" || m.Field("Content-Type") != "" {
			t.Fatalf("preflight: %q\n%s", m.First, m.Head)
		}
		has("preflight", m, "Access-Control-Allow-Origin", "https://app.example")
		has("preflight", m, "Access-Control-Allow-Methods", "GET, POST")
		has("preflight", m, "Access-Control-Allow-Headers", "authorization, content-type")
		has("preflight", m, "Access-Control-Allow-Credentials", "true")
		has("preflight", m, "Access-Control-Max-Age", "300")
		has("preflight", m, "Vary", "Access-Control-Request-Method, Access-Control-Request-Headers|Origin")
	}
	m := ask("OPTIONS", "/v1/x", other, "Access-Control-Request-Method: POST")
	has("preflight of another", m, "Access-Control-Allow-Origin", "")
	has("preflight of another", m, "Access-Control-Allow-Methods", "")
	if m := ask("OPTIONS", "/v1/x", page); m.Status() != 405 { // no preflight
		t.Errorf("OPTIONS: %q", m.First)
	}

	// Replies: of an upstream, of the cache, of the gateway's own.
	reply := func(what string, m testkit.Message, status int, origin string) {
		t.Helper()
		if m.Status() != status {
			t.Errorf("%s: %q", what, m.First)
		}
		has(what, m, "Access-Control-Allow-Origin", origin)
		if credentials := m.Field("Access-Control-Allow-Credentials"); (credentials == "true") != (origin != "") {
			t.Errorf("%s: Access-Control-Allow-Credentials is %q", what, credentials)
		}
		if exposed := m.Field("Access-Control-Expose-Headers"); strings.Contains(exposed, "RateLimit") != (origin != "") {
			t.Errorf("%s: exposed is %q", what, exposed)
		}
		has(what, m, "Vary", "Origin")
	}
	reply("miss", ask("GET", "/files/a", page), 200, "https://app.example")
	reply("hit", ask("GET", "/files/a", page), 200, "https://app.example")
	reply("hit of another page", ask("GET", "/files/a", "Origin: http://localhost:3000"), 200, "http://localhost:3000")
	reply("hit of a page that may not", ask("GET", "/files/a", other), 200, "")
	reply("hit without a page", ask("GET", "/files/a"), 200, "")
	if n := up.Connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
	reply("passed on", ask("POST", "/v1/x", page, "Content-Length: 0"), 200, "https://app.example")
	reply("refused by the limit", ask("POST", "/v1/x", page, "Content-Length: 0"), 429, "https://app.example")
	reply("wrong method", ask("DELETE", "/v1/x", page), 405, "https://app.example")

	m = ask("GET", "/open/x", other)
	has("open", m, "Access-Control-Allow-Origin", "*")
	has("open", m, "Access-Control-Allow-Credentials", "")
	has("open", m, "Vary", "")
	has("open", m, "X-Kept", "1")
	m = ask("OPTIONS", "/open/x", other, "Access-Control-Request-Method: PATCH", "Access-Control-Request-Headers: x-stainless-os, authorization")
	const usual = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
	has("open preflight", m, "Access-Control-Allow-Methods", usual)
	has("open preflight", m, "Access-Control-Allow-Headers", "x-stainless-os, authorization")
	has("open preflight", m, "Access-Control-Max-Age", "600")
	for method, allowed := range map[string]string{
		"GET": usual, "QUERY": usual + ", QUERY", "PURGE": usual + ", PURGE", "purge": usual + ", purge",
		"patch": usual, "CONNECT": usual, "Trace": usual, "TRACK": usual, "GET, PURGE": usual, "": usual, "*": usual + ", *", "\"": usual, strings.Repeat("A", 65): usual,
	} {
		m := ask("OPTIONS", "/open/x", other, "Access-Control-Request-Method: "+method)
		has("open preflight of "+method, m, "Access-Control-Allow-Methods", allowed)
	}
}

// Without cors the upstream decides, and its preflights are its own.
func TestCORSOfTheUpstream(t *testing.T) {
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for c.ReadRequest().Err == nil {
			c.Send("HTTP/1.1 204 No Content\r\nAccess-Control-Allow-Origin: http://page\r\n\r\n")
		}
	})
	g := startGateway(t, "LLM_SERVICE_URL="+up.URL)
	m := g.Do("OPTIONS /v1/x HTTP/1.1\r\nHost: a\r\nOrigin: http://page\r\nAccess-Control-Request-Method: POST\r\n\r\n")
	if m.Status() != 204 || m.Field("Access-Control-Allow-Origin") != "http://page" || m.Field("Vary") != "" {
		t.Errorf("%q\n%s", m.First, m.Head)
	}
}
