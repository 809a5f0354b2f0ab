package config

import (
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// load reads a file (none if empty), named gw.yaml, and an environment.
func load(file string, environ ...string) (*Settings, []string, error) {
	in := Input{Environ: environ}
	if file != "" {
		in.File = "gw.yaml"
		in.ReadFile = func(name string) ([]byte, error) {
			if name != in.File {
				return nil, errors.New("no such file")
			}
			return []byte(file), nil
		}
	}
	return Load(in)
}

func mustLoad(t *testing.T, file string, environ ...string) *Settings {
	t.Helper()
	s, _, err := load(file, environ...)
	if err != nil {
		t.Fatalf("file %q, environment %q: %v", file, environ, err)
	}
	return s
}

func TestDefaults(t *testing.T) {
	s, warnings, err := Load(Input{})
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	want := Settings{
		Port: 8080, MaxBodyBytes: 16 << 20, MaxHeaderBytes: 16 << 10,
		BodyBuffer: 1 << 20, BodyBufferTotal: 256 << 20, BodyMinRate: 1 << 10,
		ConnectTimeout: time.Second, ResponseTimeout: time.Minute, IdleTimeout: time.Minute, KeepAlive: 75 * time.Second,
		ShutdownGrace: 30 * time.Second, LogLevel: slog.LevelInfo,
		AccessLog: AccessLog{Sample: 1}, Tracing: Tracing{Service: "aigateway", Ratio: 1},
		Tokens: Tokens{1, 1, 1},
		RateLimit: RateLimit{
			Enabled: true, GlobalRPS: 200, GlobalBurst: 100, ClientRPS: 20, ClientBurst: 40,
			CleanupMinutes: 10, MaxClients: 1_000_000, Backend: "memory",
		},
		Cache: Cache{
			Enabled: true, Backend: "memory", TTL: 5 * time.Minute, MaxEntries: 10_000,
			MemoryBytes: 256 << 20, MaxBodyBytes: 1 << 20,
		},
		Redis: Redis{Addrs: []string{"redis:6379"}, Prefix: "gw"},
	}
	got := *s
	got.given, got.TrustedProxies, got.Pools, got.Routes = given{}, nil, nil, nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if n := names(s); n != "node python" {
		t.Errorf("pools %q", n)
	}
	for _, p := range s.Pools {
		if p.Explicit {
			t.Errorf("pool %s is explicit without anybody asking", p.Name)
		}
	}
	node := s.pool("node")
	node.Upstreams = nil
	if want := (Pool{
		Name: "node", Balance: "p2c", Health: Health{Path: "/healthz", Interval: 5 * time.Second},
		Timeouts: Timeouts{Connect: time.Second, Response: time.Minute, Idle: time.Minute, Generation: 10 * time.Minute},
		Queue:    Queue{64, time.Second}, MaxInflight: 16384, Discover: "off", Engine: "none", Refusals: []int{429, 503},
	}); !reflect.DeepEqual(*node, want) {
		t.Errorf("got %+v, want %+v", *node, want)
	}
}

func names(s *Settings) string {
	var list []string
	for _, p := range s.Pools {
		list = append(list, p.Name)
	}
	return strings.Join(list, " ")
}

// upstreamsOf writes a pool's upstreams as url*weight.
func upstreamsOf(s *Settings, pool string) string {
	var list []string
	for _, u := range s.pool(pool).Upstreams {
		list = append(list, u.URL.String()+"*"+string(rune('0'+u.Weight)))
	}
	return strings.Join(list, " ")
}

func TestBuiltinRoutesAreSorted(t *testing.T) {
	var got []string
	for _, r := range mustLoad(t, "").Routes {
		if !r.Builtin {
			t.Errorf("%s is not marked as built in", r.Path)
		}
		got = append(got, r.Path)
	}
	want := []string{"/infer/python", "/detokenize", "/infer/node", "/tokenize", "/limited", "/version", "/rerank", "/infer", "/score", "/slow", "/v1/*"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestValues(t *testing.T) {
	f := func(entry string, got func(*Settings) any, want any) {
		t.Helper()
		if v := got(mustLoad(t, "", entry)); v != want {
			t.Errorf("%s: got %v, want %v", entry, v, want)
		}
		name, text, _ := strings.Cut(entry, "=")
		file := strings.ToLower(name) + ": '" + text + "'"
		if v := got(mustLoad(t, file)); v != want {
			t.Errorf("file %s: got %v, want %v", file, v, want)
		}
	}
	port := func(s *Settings) any { return s.Port }
	f("PORT=1", port, 1)
	f("PORT=65535", port, 65535)
	f("PORT= 80 ", port, 80)
	f("PORT=", port, 8080)
	f("PORT=  ", port, 8080)
	f("MAX_BODY_BYTES=1", func(s *Settings) any { return s.MaxBodyBytes }, int64(1))
	f("MAX_HEADER_BYTES=1024", func(s *Settings) any { return s.MaxHeaderBytes }, 1024)
	f("MAX_HEADER_BYTES=1048576", func(s *Settings) any { return s.MaxHeaderBytes }, 1<<20)
	f("CONNECT_TIMEOUT=1ms", func(s *Settings) any { return s.ConnectTimeout }, time.Millisecond)
	f("RESPONSE_TIMEOUT=24h", func(s *Settings) any { return s.ResponseTimeout }, 24*time.Hour)
	f("KEEPALIVE_TIMEOUT=620s", func(s *Settings) any { return s.KeepAlive }, 620*time.Second)
	f("MAX_CONNS_PER_CLIENT=64", func(s *Settings) any { return s.ClientConns }, 64)
	f("IDLE_TIMEOUT=1m30s", func(s *Settings) any { return s.IdleTimeout }, 90*time.Second)
	f("SHUTDOWN_GRACE=1.5s", func(s *Settings) any { return s.ShutdownGrace }, 1500*time.Millisecond)
	f("LOG_LEVEL=DEBUG", func(s *Settings) any { return s.LogLevel }, slog.LevelDebug)
	f("LOG_LEVEL=info", func(s *Settings) any { return s.LogLevel }, slog.LevelInfo)
	f("LOG_LEVEL=Warn", func(s *Settings) any { return s.LogLevel }, slog.LevelWarn)
	f("LOG_LEVEL=error", func(s *Settings) any { return s.LogLevel }, slog.LevelError)
}

// Unless it is stated, the time for a head is that of a generation where nothing but OpenAI's API leads to a pool, and for
// requests of that API at any other.
func TestTimeoutsOfGenerations(t *testing.T) {
	f := func(file string, response, generation time.Duration, environ ...string) {
		t.Helper()
		p := mustLoad(t, "pools: {p: {upstreams: [{url: http://a}]}, q: {timeouts: {response: 9s}, upstreams: [{url: http://b}]}}\n"+file, environ...).pool("p")
		if p.Timeouts.Response != response || p.Timeouts.Generation != generation {
			t.Errorf("%s %q: %+v", file, environ, p.Timeouts)
		}
	}
	f("routes: [{path: /a, pool: p}]", time.Minute, 10*time.Minute)
	f("routes: [{path: /v1/*, pool: p}]", 10*time.Minute, 10*time.Minute)
	f("routes: [{path: /v1/*, pool: q, fallback: p}]", 10*time.Minute, 10*time.Minute)
	f("routes: [{path: /v1/*, pool: p}, {path: /a, pool: p}]", time.Minute, 10*time.Minute)
	f("routes: [{path: /v1/*, pool: p}]", time.Minute, time.Minute, "RESPONSE_TIMEOUT=60s")
	f("response_timeout: 60s\nroutes: [{path: /v1/*, pool: p}]", time.Minute, time.Minute)
	if q := mustLoad(t, "pools: {q: {timeouts: {response: 9s}, upstreams: [{url: http://b}]}}\nroutes: [{path: /v1/*, pool: q}]").pool("q"); q.Timeouts.Response != 9*time.Second || q.Timeouts.Generation != 9*time.Second {
		t.Errorf("%+v", q.Timeouts)
	}
	if p := mustLoad(t, "routes: [{path: /v1/*, pool: python}]").pool("python"); p.Timeouts.Response != time.Minute || p.Timeouts.Generation != 10*time.Minute {
		t.Errorf("%+v", p.Timeouts) // /infer leads there too
	}
}

func TestPoolTimeoutsFollowTheGlobalOnes(t *testing.T) {
	s := mustLoad(t, "pools: {python: {timeouts: {response: 9s}}}", "RESPONSE_TIMEOUT=7s", "IDLE_TIMEOUT=3s")
	if got, want := s.pool("python").Timeouts, (Timeouts{Connect: time.Second, Response: 9 * time.Second, Idle: 3 * time.Second, Generation: 9 * time.Second}); got != want {
		t.Errorf("python: got %v, want %v", got, want)
	}
	if got, want := s.pool("node").Timeouts, (Timeouts{Connect: time.Second, Response: 7 * time.Second, Idle: 3 * time.Second, Generation: 7 * time.Second}); got != want {
		t.Errorf("node: got %v, want %v", got, want)
	}
}

func TestTrustedProxies(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		var got []string
		for _, p := range mustLoad(t, "", "TRUSTED_PROXIES="+text).TrustedProxies {
			got = append(got, p.String())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	f("none", "")
	f("loopback", "127.0.0.0/8 ::1/128")
	f("private", "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 169.254.0.0/16 fc00::/7 fe80::/10")
	f("192.0.2.7, 2001:db8::/32", "192.0.2.7/32 2001:db8::/32")
	f("10.1.2.3/8", "10.0.0.0/8")
	f("loopback,127.0.0.0/8", "127.0.0.0/8 ::1/128")
	f("::ffff:192.0.2.1", "192.0.2.1/32")
	f("::ffff:10.0.0.0/104", "10.0.0.0/8")

	s := mustLoad(t, "trusted_proxies: [192.0.2.7, 10.0.0.0/8]")
	want := []netip.Prefix{netip.MustParsePrefix("192.0.2.7/32"), netip.MustParsePrefix("10.0.0.0/8")}
	if !slices.Equal(s.TrustedProxies, want) {
		t.Errorf("got %v, want %v", s.TrustedProxies, want)
	}
}

func TestUpstreamURL(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if got := upstreamsOf(mustLoad(t, "", "PY_SERVICE_URL="+text), "python"); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	f("http://a:8001", "http://a:8001*1")
	f("http://a", "http://a:80*1")
	f("http://a/", "http://a:80*1")
	f("HTTP://My_Service.local:0080", "http://my_service.local:80*1")
	f("http://127.0.0.1:1, http://127.0.0.1:2", "http://127.0.0.1:1*1 http://127.0.0.1:2*1")
	f("http://[::1]:8000", "http://[::1]:8000*1")
	f("http://[2001:DB8:0::1]", "http://[2001:db8::1]:80*1")
	f("http://[fe80::1%25eth0]:8000", "http://[fe80::1%25eth0]:8000*1")
}

func TestPrecedence(t *testing.T) {
	f := func(demo, file, environ string, want int) {
		t.Helper()
		in := Input{Demo: map[string]string{"PORT": demo}, File: "gw.yaml", Environ: []string{"PORT=" + environ}}
		in.ReadFile = func(string) ([]byte, error) { return []byte("port: " + file), nil }
		s, _, err := Load(in)
		if err != nil {
			t.Fatal(err)
		}
		if s.Port != want {
			t.Errorf("demo %q, file %q, environment %q: got %d, want %d", demo, file, environ, s.Port, want)
		}
	}
	f("", "", "", 8080)
	f("1", "", "", 1)
	f("1", "2", "", 2)
	f("1", "2", "3", 3)
	f("", "null", "3", 3)
	f("1", "~", "", 1)
	f("1", "''", "", 1)
}

func TestFirstOfTwoEnvironmentEntriesCounts(t *testing.T) {
	if s := mustLoad(t, "", "PORT=1", "PORT=2", "=C:", "odd"); s.Port != 1 {
		t.Errorf("got %d", s.Port)
	}
}

func TestPoolOfFileAndVariable(t *testing.T) {
	const file = "pools: {python: {balance: round_robin, upstreams: [{url: 'http://f:1', weight: 2}]}}"
	f := func(file, environ, want string) {
		t.Helper()
		s := mustLoad(t, file, environ)
		p := s.pool("python")
		if got := upstreamsOf(s, "python") + " " + string(p.Balance); got != want || !p.Explicit {
			t.Errorf("file %q, environment %q: got %q (explicit %t), want %q", file, environ, got, p.Explicit, want)
		}
	}
	f(file, "", "http://f:1*2 round_robin")
	f(file, "PY_SERVICE_URL=http://e:1", "http://e:1*1 round_robin")
	f("", "PY_SERVICE_URL=http://e:1", "http://e:1*1 p2c")
	f("py_service_url: http://v:1", "", "http://v:1*1 p2c")
	f("py_service_url: [http://v:1, http://v:2]", "", "http://v:1*1 http://v:2*1 p2c")
	f("pools: {python: {balance: round_robin}}", "", "http://service-python:8001*1 round_robin")
	f("{py_service_url: http://v:1, pools: {python: {balance: round_robin}}}", "", "http://v:1*1 round_robin")
}

func TestPoolLLM(t *testing.T) {
	f := func(file, environ, want string) {
		t.Helper()
		if got := names(mustLoad(t, file, environ)); got != want {
			t.Errorf("file %q, environment %q: pools %q, want %q", file, environ, got, want)
		}
	}
	f("", "", "node python")
	f("", "LLM_SERVICE_URL=http://l", "llm node python")
	f("llm_service_url: http://l", "", "llm node python")
	f("pools: {llm: {upstreams: [{url: http://l}]}}", "", "llm node python")
	f("pools: {llm: {balance: p2c}}", "LLM_SERVICE_URL=http://l", "llm node python")
}

func TestFileRouteReplacesTheBuiltinOne(t *testing.T) {
	s := mustLoad(t, "routes: [{path: /slow, pool: node}, {path: '/*', pool: python}, {path: /v1/, pool: node}]")
	var got []string
	for _, r := range s.Routes {
		got = append(got, r.Path)
		if r.Path == "/slow" && (r.Builtin || r.Local != "" || r.Methods != nil || r.Pool != "node") {
			t.Errorf("got %+v", r)
		}
	}
	want := []string{"/infer/python", "/infer/node", "/limited", "/infer", "/slow", "/v1/", "/v1/*", "/*"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFileForms(t *testing.T) {
	f := func(file string, wantPort int) {
		t.Helper()
		if got := mustLoad(t, file).Port; got != wantPort {
			t.Errorf("%q: got %d, want %d", file, got, wantPort)
		}
	}
	f("# nothing\n", 8080)
	f("pools:\nroutes:\n", 8080)
	f("port: 81", 81)
	f("\ufeffport: 81\r\nlog_level: warn\r\n", 81)
	f("---\nport: 81\n", 81)
	f("port: |\n  81\n", 81)
	f("{port: 81}", 81)
}

func TestFileIsReadFromDisk(t *testing.T) {
	s, _, err := Load(Input{File: "testdata/full.yaml"})
	if err != nil || s.Port != 9090 {
		t.Fatal(s, err)
	}
	_, _, err = Load(Input{File: "testdata/absent.yaml"})
	if err == nil || !strings.HasPrefix(err.Error(), `-config: cannot read "testdata/absent.yaml": no such file`) {
		t.Errorf("got %v", err)
	}
	denied := func(string) ([]byte, error) { return nil, fs.ErrPermission }
	_, _, err = Load(Input{File: "x", ReadFile: denied, Environ: []string{"PORT=0"}})
	if faults, ok := errors.AsType[*Faults](err); !ok || len(faults.List) != 2 {
		t.Errorf("got %v", err)
	}
}

// What the process' libraries read is no slip of a setting.
func TestForeignVariables(t *testing.T) {
	_, warnings, err := Load(Input{Environ: []string{"SSL_CERT_FILE=/etc/ssl/ca.pem"}})
	if err != nil || len(warnings) > 0 {
		t.Errorf("%v, %v", warnings, err)
	}
}
