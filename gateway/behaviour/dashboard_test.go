package behaviour

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"aigateway/gateway/ops"
	"aigateway/gateway/telemetry"
	"aigateway/gateway/testkit"
)

// The page loads nothing from anywhere else, and may not.
func TestDashboard(t *testing.T) {
	g := startGateway(t)
	elsewhere := regexp.MustCompile(`(?i)https?:|//[a-z]|@import|<style|<script>|\son[a-z]+=|style="|url\(|eval\(|innerHTML`)
	f := func(path, kind string) {
		t.Helper()
		r := g.Do("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n")
		if r.Status() != 200 || r.Field("Content-Type") != kind || !strings.HasPrefix(r.Field("Content-Security-Policy"), "default-src 'none'; script-src 'self';") {
			t.Errorf("%s: %q\n%s", path, r.First, r.Head)
		}
		if found := elsewhere.FindString(r.Body); found != "" || len(r.Body) < 500 || len(r.Body) > 20_000 {
			t.Errorf("%s: %d bytes with %q", path, len(r.Body), found)
		}
	}
	f("/dashboard", "text/html; charset=utf-8")
	for _, script := range []string{"app", "charts", "generations"} {
		f("/dashboard/"+script+".js", "text/javascript; charset=utf-8")
	}
	f("/dashboard/app.css", "text/css; charset=utf-8")
	if r := g.Do("POST /dashboard/data HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"); r.Status() != 405 {
		t.Errorf("POST: %q", r.First)
	}
}

// The figures are those of /metrics.
func TestDashboardData(t *testing.T) {
	up := mixedUpstream(t)
	g := startGateway(t, "PY_SERVICE_URL="+up.URL, "CACHE_ENABLED=true")
	for range 3 {
		g.Do("GET /infer/python?x HTTP/1.1\r\nHost: a\r\n\r\n")
	}
	g.Do("GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n")
	testkit.Eventually(t, "nothing is under way", g.idle)
	testkit.Eventually(t, "the upstream is probed", g.Parts().Proxy.Pool("python").Healthy)
	r := g.Do("GET /dashboard/data HTTP/1.1\r\nHost: a\r\n\r\n")
	var d struct {
		Now      int64 `json:"now_ms"`
		Uptime   *int64
		Inflight int64
		Requests struct {
			Total uint64
			Class []uint64
		}
		Duration, Overhead struct {
			Bounds []float64
			Counts []uint64
		}
		Cache struct {
			Tiers  []string
			Hits   []uint64
			Misses uint64
		}
		Upstreams []struct {
			Pool, URL string
			Healthy   bool
			Answers   struct{ Total uint64 }
		}
	}
	if err := json.Unmarshal([]byte(r.Body), &d); err != nil {
		t.Fatalf("%v: %s", err, r.Body)
	}
	if d.Requests.Total != 4 || d.Requests.Class[2] != 3 || d.Requests.Class[4] != 1 || d.Inflight != 0 || d.Cache.Hits[0] != 2 || d.Cache.Misses != 1 {
		t.Errorf("%+v", d)
	}
	if len(d.Upstreams) != 1 || d.Upstreams[0].URL != up.URL || !d.Upstreams[0].Healthy || d.Upstreams[0].Answers.Total != 1 {
		t.Errorf("upstreams: %+v", d.Upstreams)
	}
	if at := time.UnixMilli(d.Now); time.Since(at) > time.Minute || r.Field("Cache-Control") != "no-store" || strings.Contains(r.Head, "Set-Cookie") {
		t.Errorf("at %v, %s", at, r.Head)
	}
}

// Where there are keys it knows who asks: what they have used, by which limit they were refused, and what is left to them.
func TestDashboardTenants(t *testing.T) {
	up := startCounter(t, usageOf(100, 50))
	g := budgeted(t, up, keyFile("sk-a , limits: {tpm: 1000, concurrency: 3}", "sk-b , limits: {rpm: 1}", "sk-idle"), "")
	for _, key := range []string{"sk-a", "sk-b", "sk-b"} {
		g.Do(chatWith(key, `{"model":"m","max_tokens":60}`))
		testkit.Eventually(t, "nothing is under way", g.idle)
	}
	r := g.Do("GET /dashboard/data HTTP/1.1\r\nHost: a\r\n" + withKey("the-operators") + "\r\n\r\n")
	var d struct {
		Tenants []ops.Tenant
		Budgets map[string]uint64
	}
	if err := json.Unmarshal([]byte(r.Body), &d); err != nil || len(d.Tenants) != 3 || d.Budgets["key-rpm"] != 1 {
		t.Fatalf("%v: %s", err, r.Body)
	}
	a, b, idle := d.Tenants[0], d.Tenants[1], d.Tenants[2]
	if a.ID != "a" || a.Total != (telemetry.Used{Requests: 1, In: 100, Out: 50}) || a.Minute != a.Total || a.Refused != nil {
		t.Errorf("%+v", a)
	}
	if len(a.Left) != 2 || a.Left[0].Limit != "tpm" || a.Left[0].Of != 1000 || a.Left[0].Left < 850 || a.Left[0].Left > 1000 || a.Left[1] != (ops.Left{Limit: "concurrency", Of: 3, Left: 3}) {
		t.Errorf("%+v", a.Left)
	}
	if b.ID != "b" || b.Refused["key-rpm"] != 1 || len(b.Left) != 1 || b.Left[0].Left > 1 {
		t.Errorf("%+v", b)
	}
	if idle.ID != "idle" || idle.Total != (telemetry.Used{}) || idle.Left != nil {
		t.Errorf("%+v", idle)
	}
	if r = startGateway(t).Do("GET /dashboard/data HTTP/1.1\r\nHost: a\r\n\r\n"); strings.Contains(r.Body, "tenant") {
		t.Errorf("tenants where there are no keys: %s", r.Body)
	}
}
