//go:build integration

package integration

import (
	"aigateway/gateway/testkit"
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// nowhere is a gateway of which no backend is there.
func nowhere(t *testing.T) *gateway {
	t.Helper()
	gone := fmt.Sprintf("http://127.0.0.1:%d", testkit.FreePort(t))
	return startGateway(t, options{env: []string{"PY_SERVICE_URL=" + gone, "NODE_SERVICE_URL=" + gone}})
}

func TestHealthz(t *testing.T) {
	t.Parallel()
	b := python.shared(t)
	g := inFrontOf(t, []*backend{b}) // nobody names node, so it is not shown
	eventually(t, patience, "python is healthy", func() bool {
		return health(t, g).Backends["python"] == backendHealth{b.url, true}
	})
	h := health(t, g)
	if !h.OK || h.Service != "api-gateway-go" || len(h.Backends) != 1 {
		t.Errorf("%+v", h)
	}
	if later := health(t, g); h.UptimeMS == nil || *later.UptimeMS < *h.UptimeMS {
		t.Errorf("uptime_ms: %v, then %v", h.UptimeMS, later.UptimeMS)
	}
}

type backendHealth struct {
	URL     string
	Healthy bool
}

type healthPage struct {
	OK       bool
	Service  string
	UptimeMS *int64 `json:"uptime_ms"`
	Backends map[string]backendHealth
}

func health(t *testing.T, g *gateway) healthPage {
	t.Helper()
	a := ask(t, request{url: g.url + "/healthz"})
	var h healthPage
	if err := json.Unmarshal(a.body, &h); err != nil || a.status != 200 {
		t.Fatalf("/healthz: %v: %v", a, err)
	}
	return h
}

// What the gateway answers itself, it answers without any backend.
func TestPages(t *testing.T) {
	t.Parallel()
	g := nowhere(t)
	f := func(path, contentType, body string) {
		t.Helper()
		got := ask(t, request{url: g.url + path})
		if got.status != 200 || !strings.Contains(string(got.body), body) || got.header.Get("Content-Type") != contentType {
			t.Errorf("GET %s: %v %v", path, got, got.header)
		}
		if got.header.Get("X-Request-ID") == "" {
			t.Errorf("GET %s has no X-Request-ID", path)
		}
		head := ask(t, request{method: "HEAD", url: g.url + path})
		if head.status != 200 || len(head.body) > 0 || head.header.Get("Content-Type") != contentType {
			t.Errorf("HEAD %s: %v %v", path, head, head.header)
		}
		no := ask(t, request{url: g.url + path, body: "x"})
		if no.failure(t); no.status != 405 || no.header.Get("Allow") != "GET, HEAD" {
			t.Errorf("POST %s: %v, Allow %q", path, no, no.header.Get("Allow"))
		}
	}
	const asJSON = "application/json"
	f("/healthz", asJSON, `"service":"api-gateway-go"`)
	f("/livez", asJSON, `{"ok":true}`)
	f("/limited", asJSON, `{"ok":true}`)
	f("/", "text/html; charset=utf-8", "/infer/python")
	begin := time.Now()
	f("/slow", asJSON, `{"ok":true,"path":"/slow"}`)
	if took := time.Since(begin); took < 2*120*time.Millisecond {
		t.Errorf("/slow twice took %v, want 120 ms each", took)
	}
}

func TestNotThere(t *testing.T) {
	t.Parallel()
	g := nowhere(t)
	for _, path := range []string{"/nothing", "/infer/", "/infer/ruby", "/healthz/", "/v2/models", "/v1", "/Infer", "//infer"} {
		a := ask(t, request{url: g.url + path})
		if path == "//infer" && a.status == 400 {
			continue // refused as a target
		}
		f := a.failure(t)
		if a.status != 404 || f.Error.Code != "not_found" || f.RequestID != a.header.Get("X-Request-ID") || f.RequestID == "" {
			t.Errorf("%s: %v %v", path, a, a.header)
		}
	}
	for _, path := range []string{"/infer", "/infer/python", "/infer/node"} {
		for _, method := range []string{"PUT", "DELETE", "PATCH", "OPTIONS"} {
			a := ask(t, request{method: method, url: g.url + path})
			if f := a.failure(t); a.status != 405 || a.header.Get("Allow") != "GET, HEAD, POST" || f.Error.Code != "method_not_allowed" {
				t.Errorf("%s %s: %v, Allow %q", method, path, a, a.header.Get("Allow"))
			}
		}
	}
}

// Without LLM_SERVICE_URL, /v1 says so as OpenAI would.
func TestNoLLM(t *testing.T) {
	t.Parallel()
	g := nowhere(t)
	for _, r := range []request{{url: "/v1/models"}, {url: "/v1/chat/completions", body: chatBody("m", "hi")}, {method: "PUT", url: "/v1/x"}} {
		r.url = g.url + r.url
		a := ask(t, r)
		f := a.failure(t)
		if a.status != 404 || f.Error.Type != "invalid_request_error" || string(f.Error.Param) != "null" || f.RequestID != "" {
			t.Errorf("%s: %v", r.url, a)
		}
	}
}

// probeOften is how often the tests have a pool probed that must be found sick or well soon.
const probeOften = `health: {interval: 100ms}`

func TestReadyz(t *testing.T) {
	t.Parallel()
	port := testkit.FreePort(t)
	g := startGateway(t, options{
		file: "pools: {python: {" + probeOften + "}}",
		env:  []string{fmt.Sprintf("PY_SERVICE_URL=http://127.0.0.1:%d", port)},
	})
	before := ask(t, request{url: g.url + "/readyz"})
	if before.status != 503 || !strings.Contains(string(before.body), `"ok":false`) || !strings.Contains(string(before.body), "python") {
		t.Errorf("before the backend is there: %v", before)
	}
	if live := ask(t, request{url: g.url + "/livez"}); live.status != 200 {
		t.Errorf("/livez: %v", live)
	}
	b := python.start(t, port)
	g.awaitReady(t)
	b.kill()
	eventually(t, patience, "/readyz is 503", func() bool { return g.ready() == 503 })
	if h := health(t, g); !h.OK || h.Backends["python"].Healthy {
		t.Errorf("/healthz with a killed backend: %+v", h)
	}
}

// A pool that has a healthy fallback is not missed.
func TestReadyzWithFallback(t *testing.T) {
	t.Parallel()
	b, standIn := python.start(t, 0), node.shared(t)
	g := startGateway(t, options{file: `
pools:
  main: {upstreams: [{url: "` + b.url + `"}], fallback: second, ` + probeOften + `}
  second: {upstreams: [{url: "` + standIn.url + `"}], ` + probeOften + `}
routes:
  - {path: "/ask", pool: main, rewrite: "/infer"}
`})
	g.awaitReady(t)
	b.signal(t, syscall.SIGKILL)
	b.exit(t, patience)
	eventually(t, patience, "main is unhealthy", func() bool { return !health(t, g).Backends["main"].Healthy })
	if got := g.ready(); got != 200 {
		t.Errorf("/readyz is %d", got)
	}
	if err := ask(t, request{url: g.url + "/ask", body: promptBody("x")}).echo("x", node.model); err != nil {
		t.Error(err)
	}
}
