package config

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func printed(s *Settings) []byte {
	var b bytes.Buffer
	s.Print(&b)
	return b.Bytes()
}

// golden compares with a file under testdata; UPDATE_GOLDEN=1 writes it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}

// sameAgain fails unless what is printed, loaded as a file, makes the same
// settings, of which only the sources differ.
func sameAgain(t *testing.T, s *Settings) {
	t.Helper()
	text := printed(s)
	again, _, err := load(string(text))
	if err != nil {
		t.Errorf("printed\n%s\nloads with %v", text, err)
		return
	}
	want := *s
	want.given = again.given
	if !reflect.DeepEqual(*again, want) {
		t.Errorf("printed\n%s\nloads as\n%+v\nnot\n%+v", text, *again, want)
	}
}

func TestPrint(t *testing.T) {
	f := func(name string, in Input) {
		t.Helper()
		s, _, err := Load(in)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		golden(t, name, printed(s))
		sameAgain(t, s)
	}
	demo := map[string]string{"PY_SERVICE_URL": "http://127.0.0.1:1", "LLM_SERVICE_URL": "http://127.0.0.1:3"}
	f("default.golden", Input{})
	f("demo.golden", Input{Demo: demo})
	f("full.golden", Input{File: "testdata/full.yaml"})
	f("environment.golden", Input{
		File:    "testdata/full.yaml",
		Demo:    demo,
		Environ: []string{"PORT=80", "LLM_SERVICE_URL=http://e1,http://e2:9", "IDLE_TIMEOUT=2m", "LOG_LEVEL=warn"},
	})
}

func TestPrintLoadsAgain(t *testing.T) {
	f := func(file string, environ ...string) {
		t.Helper()
		sameAgain(t, mustLoad(t, file, environ...))
	}
	f("pools: {python: {upstreams: [{url: http://a}]}}")
	f("pools: {python: }")
	f("py_service_url: http://a")
	f("pools: {python: {upstreams: [{url: http://a, weight: 7}]}}", "PY_SERVICE_URL=http://b")
	f("{pools: {'null': {upstreams: [{url: http://a}]}, 'true': {upstreams: [{url: http://a}]}, '1': {upstreams: [{url: http://a}]}}, " +
		"routes: [{path: /a, pool: 'null', fallback: 'true'}, {path: /b, pool: '1'}]}")
	f(`routes: [{path: '/"\,[]:&!|>%@` + "`" + `', pool: node}]`)
	f("routes: [{path: \"/it's\", pool: node}]")
	f("", "TRUSTED_PROXIES=loopback,\n\t10.0.0.0/8")
}

func TestPrintMasksSecrets(t *testing.T) {
	p := page{settings: &Settings{given: given{values: map[string]value{"WORD": {"hunter2", byEnviron}}}}}
	p.setting(setting{name: "WORD", secret: true})
	p.setting(setting{name: "UNSET_WORD", secret: true})
	got := strings.Join(strings.Fields(p.String()), " ")
	if want := `# word: ******** # environment unset_word: ""`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestShort(t *testing.T) {
	f := func(d time.Duration, want string) {
		t.Helper()
		if got := short(d); got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
	}
	f(time.Minute, "1m")
	f(10*time.Second, "10s")
	f(90*time.Second, "1m30s")
	f(24*time.Hour, "24h")
	f(20*time.Hour+20*time.Minute, "20h20m")
	f(500*time.Millisecond, "500ms")
}

func TestTable(t *testing.T) {
	golden(t, "table.golden", []byte(Table()))
}

func TestExplain(t *testing.T) {
	s := mustLoad(t, "client_rps: 5", "ADMIN_TOKEN=very-secret", "REDIS_DB=3")
	f := func(name string, want ...string) {
		t.Helper()
		text, err := s.Explain(name)
		if err != nil {
			text = err.Error()
		}
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("%s: no %q in\n%s", name, w, text)
			}
		}
		if strings.Contains(text, "very-secret") {
			t.Errorf("%s tells the secret", name)
		}
	}
	f("CLIENT_RPS", "CLIENT_RPS\n", "in the file: client_rps\n", "default:     20\n", "now:         5 (file)", "a reload")
	f("redis_db", "default:     0\n", "now:         3 (environment)", "needs a restart")
	f("ADMIN_TOKEN", "default:     unset\n", "now:         ******** (environment)")
	f("CLIENT_RSP", "there is no setting CLIENT_RSP; did you mean CLIENT_RPS?")
	f("what-is-this", "there is no setting what-is-this; -print-config shows all")
}
