package behaviour

import (
	"encoding/json"
	"strings"
	"testing"

	"aigateway/gateway/testkit"
)

// Every route of the contract that this build has.
func TestClientRoutes(t *testing.T) {
	t.Parallel()
	up := testkit.StartRecorder(t)
	g := startGateway(t, "PY_SERVICE_URL="+up.URL, "NODE_SERVICE_URL="+up.URL)
	for _, c := range []struct {
		line   string
		status int
		has    string // in the body
		allow  string
	}{
		{"GET /healthz", 200, `"service":"api-gateway-go"`, ""},
		{"GET /livez", 200, `{"ok":true}`, ""},
		{"GET /", 200, "<", ""},
		{"GET /?x", 200, "<", ""},
		{"GET /slow", 200, `{"ok":true,"path":"/slow"}`, ""},
		{"GET /limited", 200, `{"ok":true}`, ""},
		{"GET /limited?x=/y", 200, `{"ok":true}`, ""},
		{"GET /infer/python?prompt=a", 200, "GET /infer?prompt=a HTTP/1.1", ""},
		{"POST /infer/python", 200, "POST /infer HTTP/1.1", ""},
		{"GET /infer/node?prompt=a", 200, "GET /infer?prompt=a HTTP/1.1", ""},
		{"POST /infer/node", 200, "POST /infer HTTP/1.1", ""},
		{"GET /infer?prompt=a", 200, "GET /infer?prompt=a HTTP/1.1", ""},
		{"POST /infer", 200, "POST /infer HTTP/1.1", ""},
		{"GET /nowhere", 404, "", ""},
		{"GET /infer/", 404, "", ""},
		{"GET /infer/python/", 404, "", ""},
		{"GET /infer/Python", 404, "", ""},
		{"GET /infer%2Fpython", 404, "", ""},
		{"GET /infer/../infer/python", 404, "", ""},
		{"GET /healthz/", 404, "", ""},
		{"GET /Healthz", 404, "", ""},
		{"POST /healthz", 405, "", "GET, HEAD"},
		{"OPTIONS /healthz", 405, "", "GET, HEAD"},
		{"DELETE /", 405, "", "GET, HEAD"},
		{"POST /livez", 405, "", "GET, HEAD"},
		{"POST /readyz", 405, "", "GET, HEAD"},
		{"POST /slow", 405, "", "GET, HEAD"},
		{"POST /limited", 405, "", "GET, HEAD"},
		{"PUT /infer/python", 405, "", "GET, HEAD, POST"},
		{"OPTIONS /infer", 405, "", "GET, HEAD, POST"},
		{"DELETE /infer/node", 405, "", "GET, HEAD, POST"},
	} {
		m := g.Do(c.line + " HTTP/1.1\r\nHost: a\r\n\r\n")
		if m.Status() != c.status || m.Field("Allow") != c.allow || !strings.Contains(m.Body, c.has) {
			t.Errorf("%s: %q, Allow %q, body %q, want %d, %q, %q", c.line, m.First, m.Field("Allow"), m.Body, c.status, c.allow, c.has)
		}
		if c.status >= 400 {
			testkit.CheckFault(t, c.line, m, false)
		}
		if m.Field("X-Request-ID") == "" || m.Field("Date") == "" {
			t.Errorf("%s: lacks an id or a date: %q", c.line, m.Head)
		}
		if m.Field("Server") != "" {
			t.Errorf("%s: names its software: %q", c.line, m.Field("Server"))
		}
		if path, ok := strings.CutPrefix(c.line, "GET "); ok {
			head := g.Do("HEAD " + path + " HTTP/1.1\r\nHost: a\r\n\r\n")
			if head.Status() != m.Status() || head.Field("Content-Type") != m.Field("Content-Type") {
				t.Errorf("HEAD %s: %q, %q, GET has %q, %q", path, head.First, head.Head, m.First, m.Head)
			}
		}
	}
	// RFC 9112 §9.3: a HEAD has no body, so the next answer begins right behind its head.
	c := g.Dial()
	c.Send("HEAD /nowhere HTTP/1.1\r\nHost: a\r\n\r\nHEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
	for _, want := range []struct {
		status int
		toHEAD bool
	}{{404, true}, {200, true}, {200, false}} {
		if m := c.ReadResponse(want.toHEAD); m.Status() != want.status {
			t.Fatalf("%q %v", m.First, m.Err)
		}
	}
}

func TestClientUnsetLLM(t *testing.T) {
	g := startGateway(t)
	for _, line := range []string{"GET /v1/models", "POST /v1/chat/completions", "OPTIONS /v1/", "GET /v1/x?y"} {
		m := g.Do(line + " HTTP/1.1\r\nHost: a\r\n\r\n")
		if m.Status() != 404 {
			t.Errorf("%s: %q", line, m.First)
		}
		testkit.CheckFault(t, line, m, true)
	}
}

// /healthz shows every backend; /readyz is 503 until each pool that was asked for has a healthy upstream.
func TestClientHealth(t *testing.T) {
	up := testkit.StartRecorder(t)
	g := startGateway(t, "PY_SERVICE_URL="+up.URL)
	testkit.Eventually(t, "/readyz says yes", func() bool { return g.Do("GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n").Status() == 200 })
	var health struct {
		OK       bool   `json:"ok"`
		Service  string `json:"service"`
		UptimeMS *int64 `json:"uptime_ms"`
		Backends map[string]struct {
			URL     string
			Healthy bool
		} `json:"backends"`
	}
	m := g.Do("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
	if err := json.Unmarshal([]byte(m.Body), &health); err != nil {
		t.Fatal(err)
	}
	if !health.OK || health.Service != "api-gateway-go" || health.UptimeMS == nil || *health.UptimeMS < 0 {
		t.Errorf("%s", m.Body)
	}
	if b := health.Backends["python"]; b.URL != up.URL || !b.Healthy {
		t.Errorf("%s", m.Body)
	}
	if _, ok := health.Backends["node"]; ok { // nobody has named it
		t.Errorf("%s", m.Body)
	}
	if m.Field("Content-Type") != "application/json" || m.Field("Cache-Control") != "no-store" {
		t.Errorf("%q", m.Head)
	}
	sick := startGateway(t, "PY_SERVICE_URL="+up.URL, "LLM_SERVICE_URL=http://127.0.0.1:1")
	testkit.Eventually(t, "the probes are done", func() bool {
		return strings.Contains(sick.Do("GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n").Body, "pool llm")
	})
	if m := sick.Do("GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n"); m.Status() != 503 || m.Field("Retry-After") == "" && strings.Contains(m.Body, "127.0.0.1") {
		t.Errorf("%q %q", m.First, m.Body)
	}
	m = sick.Do("GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n")
	if m.Status() < 502 {
		t.Errorf("%q", m.First)
	}
	testkit.CheckFault(t, "a dead upstream", m, true)
}

// Routes of the file: the longest path wins, methods are kept, a rewrite replaces the path or the prefix,
// and "/*" leaves the gateway's own pages alone.
func TestClientFileRoutes(t *testing.T) {
	up, other := testkit.StartRecorder(t), testkit.StartRecorder(t)
	g := startGatewayFile(t, `
pools:
  p: {upstreams: [{url: "`+up.URL+`"}]}
  q: {upstreams: [{url: "`+other.URL+`"}]}
routes:
  - {path: "/*", pool: p}
  - {path: "/img/*", pool: q, methods: [GET], rewrite: "/static/*"}
  - {path: "/img/big/*", pool: p, rewrite: "/large/*"}
  - {path: "/img/one", pool: p, rewrite: "/two"}
  - {path: "/infer/python", pool: q, methods: [POST]}
  - {path: "/slow", pool: p}
`)
	for line, want := range map[string]string{
		"GET /anything?x=1":                  "p GET /anything?x=1 HTTP/1.1",
		"DELETE /a/b/":                       "p DELETE /a/b/ HTTP/1.1",
		"GET /img":                           "p GET /img HTTP/1.1",
		"GET /img/":                          "q GET /static/ HTTP/1.1",
		"GET /img/a?b":                       "q GET /static/a?b HTTP/1.1",
		"POST /img/a":                        "405 GET, HEAD",
		"POST /img/big/a":                    "p POST /large/a HTTP/1.1",
		"GET /img/big":                       "q GET /static/big HTTP/1.1",
		"GET /img/one?x":                     "p GET /two?x HTTP/1.1",
		"GET /img/one/":                      "q GET /static/one/ HTTP/1.1",
		"POST /infer/python?a":               "q POST /infer/python?a HTTP/1.1",
		"GET /infer/python":                  "405 POST",
		"GET /slow":                          "p GET /slow HTTP/1.1",
		"GET /limited":                       "200 ",
		"GET /healthz":                       "200 ",
		"GET /readyz/":                       "p GET /readyz/ HTTP/1.1",
		"POST /livez":                        "405 GET, HEAD",
		"GET /v1/models":                     "404 ",
		"GET /img%2Fa":                       "400 ", // which is /img/a to whoever decodes it
		"GET /other%2Fa":                     "p GET /other%2Fa HTTP/1.1",
		"GET /" + strings.Repeat("x/", 4000): "p GET /" + strings.Repeat("x/", 4000) + " HTTP/1.1",
	} {
		up.Reset()
		other.Reset()
		m := g.Do(line + " HTTP/1.1\r\nHost: a\r\n\r\n")
		got := itoa(m.Status()) + " " + m.Field("Allow")
		if seen := up.Whole(); len(seen) > 0 {
			got = "p " + seen[0].First
		} else if seen := other.Whole(); len(seen) > 0 {
			got = "q " + seen[0].First
		}
		if got != want {
			t.Errorf("%.60s leads to %.80q, want %.80q", line, got, want)
		}
	}
}
