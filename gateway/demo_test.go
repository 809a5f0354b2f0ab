package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"aigateway/gateway/config"
	"aigateway/gateway/testkit"
)

// What -demo brings along stands back where somebody says where requests go, or who may ask.
func TestDemoStandsBack(t *testing.T) {
	f := func(whole bool, file string, environ ...string) {
		t.Helper()
		d, err := startDemo(environ, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		defer d.close()
		in := config.Input{Environ: environ, File: file, Keys: new(config.KeyReader), ReadFile: func(name string) ([]byte, error) {
			return map[string][]byte{"gw.yaml": []byte("port: 1\n"), "keys.yaml": []byte("keys: []\n")}[name], nil
		}}
		if err = d.furnish(&in); err != nil {
			t.Fatal(err)
		}
		s, warnings, err := config.Load(in)
		if err != nil || file == "" && len(environ) == 0 && len(warnings) > 0 {
			t.Fatalf("%v %v", err, warnings)
		}
		if (len(s.Models) > 0) != whole || (s.Keys != nil && s.Keys.Optional) != whole {
			t.Errorf("%q %q: models %v, keys %v", file, environ, s.Models, s.Keys)
		}
	}
	f(true, "")
	f(true, "", "LLM_SERVICE_URL= ", "KEYS_FILE=")
	f(false, "gw.yaml")
	f(false, "", "KEYS_FILE=keys.yaml")
	f(false, "", "LLM_SERVICE_URL=http://localhost:1")
	f(false, "", "PY_SERVICE_URL=http://localhost:1")
}

// The visitors ask all that there is to be asked, and are gone when they are told to go.
func TestVisitors(t *testing.T) {
	var mu sync.Mutex
	seen := make(map[string]bool)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(string(body)+r.URL.String(), "%") {
			t.Errorf("%s %s", r.URL, body)
		}
		mu.Lock()
		seen[r.URL.Path+" "+strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")] = true
		mu.Unlock()
	}))
	defer server.Close()
	v := startVisitors(server.URL, server.URL)
	testkit.Eventually(t, "both tenants have asked, and others", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return seen["/v1/chat/completions "+demoKeyOfA] && seen["/v1/chat/completions "+demoKeyOfB] && seen["/infer "]
	})
	v.close()
	v.close()
	var none *demo
	none.leave()
}
