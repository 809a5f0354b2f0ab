//go:build integration

package integration

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"aigateway/gateway/testkit"
)

// keyLine is a tenant of KEYS_FILE, called by its key without "sk-".
func keyLine(key, more string) string {
	return fmt.Sprintf("  - {id: %s, sha256: [%x]%s}\n", strings.TrimPrefix(key, "sk-"), sha256.Sum256([]byte(key)), more)
}

// writeKeys puts a file of keys in the place of the one before.
func writeKeys(t *testing.T, path string, lines ...string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte("keys:\n"+strings.Join(lines, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func bearer(key string) map[string]string { return map[string]string{"Authorization": "Bearer " + key} }

func TestKeysFileAtTheStart(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "keys.yaml")
	r := gatewayRun(t, []string{"KEYS_FILE=" + missing, "PORT=1"})
	if r.code != 2 || !strings.Contains(r.stderr, "KEYS_FILE: cannot read") {
		t.Errorf("a file that is missing: %+v", r)
	}
	r = gatewayRun(t, nil, "keygen", "-id", "team-a")
	key, line, _ := strings.Cut(r.stdout, "\n")
	if r.code != 0 || len(key) != 46 {
		t.Fatalf("%+v", r)
	}
	if err := os.WriteFile(missing, []byte("keys:\n"+line), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(missing, 0o644); err != nil {
		t.Fatal(err)
	}
	if r = gatewayRun(t, []string{"KEYS_FILE=" + missing}, "-check"); r.code != 0 || !strings.Contains(r.stderr, "warning: KEYS_FILE") {
		t.Errorf("a file that everybody may read: %+v", r)
	}
	g := startGateway(t, options{args: []string{"-demo"}, env: []string{"KEYS_FILE=" + missing}})
	if a := ask(t, request{url: g.url + "/v1/models", header: bearer(key)}); a.status != 200 {
		t.Errorf("%v", a)
	}
	if a := ask(t, request{url: g.url + "/v1/models"}); a.status != 401 {
		t.Errorf("%v", a)
	}
}

// While many ask, a key that is taken out of a file of a hundred thousand stops opening within a second, and its stream ends.
func TestRevocationUnderLoad(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys.yaml")
	others := make([]string, 100_000)
	for i := range others {
		others[i] = keyLine(fmt.Sprint("sk-", i), ", models: [\"sim*\"], limits: {rps: 20, burst: 40}")
	}
	writeKeys(t, path, append(others, keyLine("sk-stays", ""), keyLine("sk-goes", ""))...)
	began := time.Now()
	g := startGateway(t, options{args: []string{"-demo"}, env: []string{"KEYS_FILE=" + path}})
	t.Logf("it listened after %v", time.Since(began))
	g.awaitReady(t)
	var ended atomic.Bool
	var failed, asked atomic.Int64
	var load sync.WaitGroup
	for range 8 {
		load.Go(func() {
			c := newClient()
			defer c.CloseIdleConnections()
			for !ended.Load() {
				a, err := request{url: g.url + "/limited", header: bearer("sk-stays")}.by(c)
				if asked.Add(1); err != nil || a.status != 200 {
					failed.Add(1)
				}
			}
		})
	}
	body := chatBody("sim-llm", strings.Repeat("a long story ", 300))
	s := openStream(t, request{url: g.url + "/v1/chat/completions", body: body, header: bearer("sk-goes")})
	if _, err := s.next(); err != nil {
		t.Fatal(err)
	}
	writeKeys(t, path, append(others, keyLine("sk-stays", ""))...)
	changed := time.Now()
	eventually(t, patience, "the key does not open any more", func() bool {
		a, err := do(request{url: g.url + "/limited", header: bearer("sk-goes")})
		return err == nil && a.status == 401
	})
	t.Logf("the key was refused %v after the file had changed", time.Since(changed))
	if _, err := s.rest(); err == nil {
		t.Error("the stream ended as if it were whole, or before the key was taken back")
	}
	ended.Store(true)
	load.Wait()
	if failed.Load() > 0 || asked.Load() < 10 {
		t.Errorf("%d of %d requests with another key failed", failed.Load(), asked.Load())
	}
}

// A leak is where something secret must not be.
type leaks struct {
	t       *testing.T
	secrets []string
}

func (l *leaks) search(where, text string) {
	l.t.Helper()
	if text == "" {
		l.t.Errorf("%s: nothing to search", where)
	}
	for _, secret := range l.secrets {
		for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret)), fmt.Sprintf("%x", secret)} {
			if at := strings.Index(text, form); at >= 0 {
				l.t.Errorf("%s holds a secret: …%.120s", where, text[max(0, at-40):])
			}
		}
	}
}

// With everything on, no secret is anywhere where somebody looks: logs, metrics, pages, spans, Redis, errors, the printed settings,
// what upstreams see.
func TestNothingSecretAnywhere(t *testing.T) {
	t.Parallel()
	l := &leaks{t: t, secrets: []string{"sk-tenant-5f9a", "sk-guessed-7c21", "operators-81d0", "provider-66e3"}}
	tenant, guessed, operator, provider := l.secrets[0], l.secrets[1], l.secrets[2], l.secrets[3]
	var mu sync.Mutex
	var spans, seen strings.Builder
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		spans.Write(body)
	}))
	defer collector.Close()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		fmt.Fprintln(&seen, r.Method, r.URL, strings.ReplaceAll(fmt.Sprint(r.Header), provider, "THE POOL'S"))
		mu.Unlock()
		w.Header().Set("Vary", "Authorization, X-Api-Key")
		w.Header().Set("Cache-Control", "max-age=60")
		fmt.Fprint(w, `{"object":"chat.completion","usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}`)
	}))
	defer upstream.Close()
	redis := testkit.StartRedis(t)
	keys := filepath.Join(t.TempDir(), "keys.yaml")
	writeKeys(t, keys, keyLine(tenant, ", models: [sim*], limits: {rps: 1000, burst: 1000, rpm: 60000, tpm: 1000000, concurrency: 64}"), keyLine("sk-off", ", disabled: true"))
	o := options{
		file: "pools: {llm: {upstreams: [{url: \"" + upstream.URL + "\"}], discover: false, credential: {env: PROVIDER_KEY}}}\n" +
			"routes: [{path: \"/v1/*\", pool: llm, cache: {post: true, when: always, key_fields: [x-api-key]}}]\n",
		env: []string{"KEYS_FILE=" + keys, "ADMIN_TOKEN=" + operator, "PROVIDER_KEY=" + provider, "REDIS_ADDR=" + redis.Addr,
			"CACHE_ENABLED=true", "CACHE_BACKEND=redis", "RATE_LIMIT_ENABLED=true", "RL_BACKEND=redis", "CLIENT_RPS=1000", "CLIENT_BURST=1000", "GLOBAL_RPS=1000", "GLOBAL_BURST=1000",
			"ACCESS_LOG=true", "LOG_LEVEL=debug", "SERVER_TIMING=true", "OTEL_EXPORTER_OTLP_ENDPOINT=" + collector.URL},
	}
	g := startGateway(t, o)
	g.awaitReady(t)
	for _, header := range []map[string]string{
		bearer(tenant), {"X-Api-Key": tenant}, {"Api-Key": tenant}, {"Sec-WebSocket-Protocol": "realtime, openai-insecure-api-key." + tenant},
		bearer(guessed), {"X-Api-Key": guessed}, {"X_Api_Key": tenant}, {"X-Api-Key": tenant, "Api-Key": guessed}, bearer(operator), nil,
	} {
		for _, r := range []request{
			{url: g.url + "/v1/things?a=b", header: header}, {url: g.url + "/v1/chat/completions", header: header, body: `{"model":"sim","messages":[]}`},
			{url: g.url + "/v1/chat/completions", header: header, body: `{"model":"other","messages":[]}`}, {url: g.url + "/nothing", header: header},
			{url: g.url + "/metrics", header: header}, {url: g.url + "/usagez", header: header}, {url: g.url + "/cachez", header: header, method: "DELETE"},
		} {
			a, err := do(r)
			if err != nil {
				t.Errorf("%v: %v", r, err)
			}
			l.search("an answer", fmt.Sprint(a, a.header))
		}
	}
	// The operator has purged what there was.
	ask(t, request{url: g.url + "/v1/things?a=b", header: bearer(tenant)})
	ask(t, request{url: g.url + "/v1/chat/completions", header: map[string]string{"X-Api-Key": tenant}, body: `{"model":"sim","messages":[]}`})
	eventually(t, patience, "something is in Redis", func() bool { return strings.Contains(dump(redis), "chat.completion") })
	for _, page := range []string{"/", "/metrics", "/cachez", "/usagez", "/dashboard", "/dashboard/data", "/healthz"} {
		a := ask(t, request{url: g.url + page, header: bearer(operator)})
		l.search(page, fmt.Sprint(a))
	}
	l.search("Redis", dump(redis))
	eventually(t, patience, "spans have come", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return spans.Len() > 1000
	})
	printed := gatewayRun(t, o.env, "-print-config", "-config", writeFile(t, o.file))
	l.search("-print-config", printed.stdout+printed.stderr)
	g.end(t)
	said, _ := g.all.read()
	if !strings.Contains(said, `"key":"tenant-5f9a"`) {
		t.Errorf("the log does not name the tenant")
	}
	l.search("the log", said)
	mu.Lock()
	defer mu.Unlock()
	l.search("the spans", spans.String())
	if !strings.Contains(spans.String(), `"tenant-5f9a"`) {
		t.Errorf("the spans do not name the tenant")
	}
	if l.search("the upstream", seen.String()); !strings.Contains(seen.String(), "THE POOL'S") {
		t.Errorf("the upstream saw no credential\n%s", &seen)
	}
}

// dump is all that Redis holds.
func dump(r *testkit.Redis) (all string) {
	const script = `local all = {} for _, k in ipairs(redis.call('KEYS', '*')) do all[#all+1] = k
local kind = redis.call('TYPE', k).ok
if kind == 'string' then all[#all+1] = redis.call('GET', k)
elseif kind == 'hash' then for _, v in ipairs(redis.call('HGETALL', k)) do all[#all+1] = v end
elseif kind == 'zset' then for _, v in ipairs(redis.call('ZRANGE', k, 0, -1)) do all[#all+1] = v end
elseif kind == 'set' then for _, v in ipairs(redis.call('SMEMBERS', k)) do all[#all+1] = v end
elseif kind == 'list' then for _, v in ipairs(redis.call('LRANGE', k, 0, -1)) do all[#all+1] = v end end end
return table.concat(all, '\n')`
	return r.Do("EVAL", script, "0")
}
