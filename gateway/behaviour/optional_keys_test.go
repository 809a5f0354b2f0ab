package behaviour

import (
	"strings"
	"testing"

	"aigateway/gateway/server"
	"aigateway/gateway/testkit"
)

// Where keys are optional, as in the demo, everything is open as without keys, and who shows one is known by it.
func TestOptionalKeys(t *testing.T) {
	up := startCounter(t, usageOf(10, 5))
	s := keyed(t, keyFile("sk-a , limits: {rpm: 1}"), "", "LLM_SERVICE_URL="+up.URL, "PY_SERVICE_URL="+up.URL, "RATE_LIMIT_ENABLED=false")
	s.Keys.Optional = true
	g := serve(t, s, server.Options{})
	testkit.Eventually(t, "the upstream is probed", g.Parts().Proxy.Pool("llm").Healthy)
	f := func(path, key string, want int) (body string) {
		t.Helper()
		r := g.get(path, withKey(key))
		if key == "" {
			r = g.get(path)
		}
		if r.Status() != want {
			t.Errorf("%s with %q: %d, want %d", path, key, r.Status(), want)
		}
		return r.Body
	}
	for _, path := range []string{"/infer/python?x", "/v1/x", "/metrics", "/dashboard", "/cachez", "/usagez", "/"} {
		f(path, "", 200)
		f(path, "sk-of-nobody", 200)
	}
	if body := f("/healthz", "", 200); !strings.Contains(body, `"backends"`) {
		t.Errorf("nothing of the backends in %s", body)
	}
	f("/v1/x", "sk-a", 200)
	f("/v1/x", "sk-a", 429)
	f("/v1/x", "", 200)
	if head := up.head.Load().(string); strings.Contains(head, "sk-a") {
		t.Errorf("the key goes upstream: %s", head)
	}
	if body := f("/dashboard/data", "", 200); !strings.Contains(body, `"tenants":[{"tenant":"a"`) || !strings.Contains(body, `"refused":{"key-rpm":1}`) {
		t.Errorf("%s", body)
	}
}
