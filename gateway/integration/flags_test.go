//go:build integration

package integration

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
)

// gatewayRun runs the gateway to its end.
func gatewayRun(t *testing.T, env []string, args ...string) result {
	t.Helper()
	return command{name: "gateway", path: binary, args: args, env: env}.run(t)
}

func TestVersion(t *testing.T) {
	t.Parallel()
	r := gatewayRun(t, nil, "-version")
	if want := (result{0, "aigateway " + builtVersion + "\n", ""}); r != want {
		t.Errorf("%+v, want %+v", r, want)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	f := func(code int, said string, args ...string) {
		t.Helper()
		r := gatewayRun(t, nil, args...)
		if r.code != code || !strings.Contains(r.stderr, said) || r.stdout != "" {
			t.Errorf("%q: %+v, want code %d and %q on stderr", args, r, code, said)
		}
	}
	f(2, "-nonsense", "-nonsense")
	f(2, "-print-config", "-nonsense") // the usage follows
	f(2, "-config", "-config")         // needs its FILE
	f(2, `"start"`, "start")
	f(2, `"extra"`, "-check", "extra")
	f(0, "-demo", "-h")
}

func TestCheck(t *testing.T) {
	t.Parallel()
	good := writeFile(t, `
port: 9000
pools:
  llm: {upstreams: [{url: "http://127.0.0.1:1", weight: 2}, {url: "http://127.0.0.1:2"}], balance: round_robin, fallback: python}
routes:
  - {path: "/api/*", methods: [GET, POST], pool: llm, rewrite: "/v1/*"}
`)
	for _, args := range [][]string{{"-check"}, {"-check", "-demo"}, {"-check", "-config", good}, {"-check", "-demo", "-config", good}} {
		if r := gatewayRun(t, nil, args...); r.code != 0 || r.stdout != "the settings are fine\n" || r.stderr != "" {
			t.Errorf("%q: %+v", args, r)
		}
	}

	// All that is wrong at once, each as the operator wrote it, from the environment and from the file.
	bad := writeFile(t, `
port: eighty
pools:
  llm: {upstreams: [{url: "gopher://x"}], balance: best}
routes:
  - {path: "v1", pool: llm}
  - {path: "/x", pool: nobody}
  - {path: "/y/*", pool: python, rewrite: "/z"}
nonsense: 1
`)
	env := []string{"CONNECT_TIMEOUT=5", "MAX_BODY_BYTES=16MB", "PY_SERVICE_URL=http://u:secret@host", "LOG_LEVEL=loud", "PORT=99999"}
	for _, args := range [][]string{{"-check", "-config", bad}, {"-config", bad}, {"-print-config", "-config", bad}} {
		r := gatewayRun(t, env, args...)
		if r.code != 2 || r.stdout != "" {
			t.Errorf("%q: %+v", args, r)
		}
		for _, fault := range []string{
			`CONNECT_TIMEOUT: "5" `, `MAX_BODY_BYTES: "16MB" `, "PY_SERVICE_URL: ", `LOG_LEVEL: "loud" `, `PORT: "99999" `,
			bad + `:2: port: "eighty" `, bad + ":4: ", `"gopher://x"`, `"best"`, bad + ":6: ", `"v1"`, bad + `:7: `, `"nobody"`,
			bad + ":8: ", bad + ":9: nonsense: ",
		} {
			if !strings.Contains(r.stderr, fault) {
				t.Errorf("%q does not name the fault %q in\n%s", args, fault, r.stderr)
			}
		}
		if strings.Contains(r.stderr, "secret") {
			t.Errorf("%q shows a password:\n%s", args, r.stderr)
		}
	}
	if r := gatewayRun(t, nil, "-check", "-config", good+".not"); r.code != 2 || !strings.Contains(r.stderr, good+".not") {
		t.Errorf("no such file: %+v", r)
	}
}

// -print-config shows what is in force and where it comes from, and what it prints is a file that says the same.
func TestPrintConfig(t *testing.T) {
	t.Parallel()
	file := writeFile(t, `
response_timeout: 90s
max_body_bytes: 1000000
pools:
  images: {upstreams: [{url: "http://127.0.0.1:9"}], timeouts: {idle: 5s}}
routes:
  - {path: "/img/*", methods: [GET], pool: images, rewrite: "/static/*"}
`)
	env := []string{"PORT=9001", "MAX_BODY_BYTES=2000000", "LLM_SERVICE_URL=http://llm-a:8000,http://llm-b:8000", "IDLE_TIMEOUT="}
	r := gatewayRun(t, env, "-print-config", "-config", file)
	if r.code != 0 || r.stderr != "" {
		t.Fatalf("%+v", r)
	}
	for _, line := range []string{
		`^port: 9001 +# environment$`, `^max_body_bytes: 2000000 +# environment$`, `^response_timeout: (90s|1m30s) +# file$`,
		`^idle_timeout: 60s +# default$`, `^llm_service_url: "http://llm-a:8000,http://llm-b:8000" +# environment$`,
		`^ +idle: 5s +# file$`, `path: "/img/\*".*pool: "images".*# file$`, `path: "/infer/python".*# default$`,
	} {
		if !regexp.MustCompile("(?m)" + line).MatchString(r.stdout) {
			t.Errorf("no line %s in\n%s", line, r.stdout)
		}
	}
	sources := regexp.MustCompile(`(?m) +# (environment|file|default|demo)$`)
	again := gatewayRun(t, nil, "-print-config", "-config", writeFile(t, r.stdout))
	if again.code != 0 || again.stderr != "" {
		t.Fatalf("what it prints is not a file: %+v", again)
	}
	if got, want := sources.ReplaceAllString(again.stdout, ""), sources.ReplaceAllString(r.stdout, ""); got != want {
		t.Errorf("read again, it is\n%s\nwant\n%s", got, want)
	}
	if demo := gatewayRun(t, nil, "-print-config", "-demo"); demo.code != 0 || !regexp.MustCompile(`llm_service_url: .*http://127\.0\.0\.1:\d+.*# demo`).MatchString(demo.stdout) {
		t.Errorf("-demo: %+v", demo)
	}
}

// Routes and pools of a file lead to real backends.
func TestConfigFile(t *testing.T) {
	t.Parallel()
	py, js := python.shared(t), node.shared(t)
	g := startGateway(t, options{file: `
response_timeout: 20s
pools:
  one: {upstreams: [{url: "` + py.url + `"}]}
  two: {upstreams: [{url: "` + js.url + `"}]}
  all: {upstreams: [{url: "` + py.url + `", weight: 2}, {url: "` + js.url + `"}], balance: round_robin}
routes:
  - {path: "/openai/*", pool: one, rewrite: "/v1/*"}
  - {path: "/ask", methods: [GET], pool: two, rewrite: "/infer"}
  - {path: "/infer", pool: all}
  - {path: "/v1/*", methods: [GET, POST], pool: two}
  - {path: "/*", pool: two}
`})
	g.awaitReady(t)

	// a prefix, rewritten; what is behind it and the query stay
	same := func(path string, b *backend, direct string) {
		t.Helper()
		got, want := ask(t, request{url: g.url + path}), ask(t, request{url: b.url + direct})
		if got.status != want.status || string(got.body) != string(want.body) {
			t.Errorf("%s: got %v, want %v", path, got, want)
		}
	}
	same("/openai/models", py, "/v1/models")
	same("/openai/models/"+py.model+"?a=%2F", py, "/v1/models/"+py.model)
	same("/openai/models/nobody", py, "/v1/models/nobody")
	same("/openai/", py, "/v1/")
	s := openStream(t, request{url: g.url + "/openai/chat/completions", body: chatBody("any", "rewritten")})
	if text := content(t, s.mustRest(t)); text != "echo: rewritten" {
		t.Errorf("a stream behind a rewrite: %q", text)
	}

	// an exact path, with its methods
	if err := ask(t, request{url: g.url + "/ask?prompt=x%26y"}).echo("x&y", js.model); err != nil {
		t.Error(err)
	}
	if a := ask(t, request{url: g.url + "/ask", body: promptBody("x")}); a.status != 405 || a.header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST /ask: %v %q", a, a.header.Get("Allow"))
	}

	// in place of built-in routes
	same("/v1/models", js, "/v1/models")
	if a := ask(t, request{method: "DELETE", url: g.url + "/v1/models"}); a.status != 405 || a.header.Get("Allow") != "GET, HEAD, POST" {
		t.Errorf("DELETE /v1/models: %v %q", a, a.header.Get("Allow"))
	}
	count := map[string]int{}
	for range 9 {
		i, err := ask(t, request{url: g.url + "/infer", body: promptBody("turns")}).inference()
		if err != nil {
			t.Error(err)
		}
		count[i.Model]++
	}
	if count[py.model] != 6 || count[js.model] != 3 {
		t.Errorf("by weight 2 to 1, in turn: %v", count)
	}

	// everything else, but never the gateway's own pages
	same("/nowhere?a=b", js, "/nowhere?a=b")
	if a := ask(t, request{url: g.url + "/healthz"}); !strings.Contains(string(a.body), "api-gateway-go") {
		t.Errorf("/healthz: %v", a)
	}
	if a := ask(t, request{url: g.url + "/slow"}); !strings.Contains(string(a.body), `"path":"/slow"`) {
		t.Errorf("/slow: %v", a)
	}

	// no way out of a prefix
	for _, path := range []string{"/openai/../healthz", "/openai/%2e%2e/stats", "/openai/x/..%2f../stats"} {
		if a := ask(t, request{url: g.url + path}); a.status != 400 {
			t.Errorf("%s: %v", path, a)
		}
	}
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	g := nowhere(t)
	begin := time.Now()
	for _, args := range [][]string{nil, {"-demo"}} {
		r := gatewayRun(t, []string{fmt.Sprintf("PORT=%d", g.port)}, args...)
		if r.code != 1 || r.stdout != "" || !strings.Contains(r.stderr, fmt.Sprintf("cannot listen on port %d: ", g.port)) ||
			!strings.Contains(r.stderr, "address already in use") {
			t.Errorf("%q: %+v", args, r)
		}
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("that took %v", took)
	}
	if a := ask(t, request{url: g.url + "/livez"}); a.status != 200 {
		t.Errorf("the one that has the port: %v", a)
	}
}

// What describes the settings is there without a gateway.
func TestDescribe(t *testing.T) {
	t.Parallel()
	if r := gatewayRun(t, nil, "-schema"); r.code != 0 || !strings.Contains(r.stdout, `"$schema": "https://json-schema.org/draft/2020-12/schema"`) || r.stderr != "" {
		t.Errorf("-schema: %d %.200s %s", r.code, r.stdout, r.stderr)
	}
	if r := gatewayRun(t, []string{"CLIENT_RPS=7"}, "-explain", "client_rps"); r.code != 0 || !strings.Contains(r.stdout, "now:         7 (environment)") {
		t.Errorf("-explain: %+v", r)
	}
	if r := gatewayRun(t, nil, "-explain", "CLIENT_RSP"); r.code != 2 || r.stdout != "" || r.stderr != "there is no setting CLIENT_RSP; did you mean CLIENT_RPS?\n" {
		t.Errorf("-explain of what is not there: %+v", r)
	}
	if r := gatewayRun(t, []string{"PY_SERVICE_URL=http://127.0.0.1:1"}, "-check", "-probe"); r.code != 1 || !strings.Contains(r.stdout, "pool python, http://127.0.0.1:1: cannot be reached") {
		t.Errorf("-check -probe: %+v", r)
	}
}
