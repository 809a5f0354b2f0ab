package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"aigateway/gateway/config"
	"aigateway/gateway/process"
	"aigateway/gateway/server"
	"aigateway/gateway/testkit"
)

// startReloading starts a gateway with the settings of in, and what reads them again.
func startReloading(t *testing.T, in config.Input) (*reloader, *testkit.Running, *testkit.Log) {
	t.Helper()
	s, _, err := config.Load(in)
	if err != nil {
		t.Fatal(err)
	}
	log := &testkit.Log{}
	g, err := server.New(s, server.Options{Log: log.Logger()})
	if err != nil {
		t.Fatal(err)
	}
	r := &reloader{in: in, gateway: g, log: log.Logger(), level: new(slog.LevelVar), notify: process.NewNotifier(nil)}
	r.settings.Store(s)
	return r, testkit.Serve(t, g, log), log
}

// KEYS_FILE is read again by itself when it changes; with faults or gone, it is reported and the keys in force stay.
func TestReloadKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	list := func(keys ...string) string {
		text := "keys:\n"
		for _, k := range keys {
			text += fmt.Sprintf("  - {id: %s, sha256: [%x]}\n", k, sha256.Sum256([]byte("sk-"+k)))
		}
		return text
	}
	write(list("a"))
	// The file of settings has a fault by the time the keys change: that must not keep a key alive.
	gateway := filepath.Join(t.TempDir(), "gateway.yaml")
	if err := os.WriteFile(gateway, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	in := config.Input{File: gateway, Keys: new(config.KeyReader), Environ: []string{"KEYS_FILE=" + path, "RATE_LIMIT_ENABLED=false", "CACHE_ENABLED=false",
		"PY_SERVICE_URL=http://127.0.0.1:1", "NODE_SERVICE_URL=http://127.0.0.1:1"}}
	r, running, log := startReloading(t, in)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.run(ctx, nil)
	}()
	defer func() {
		stop()
		<-done
	}()
	status := func(key string) int {
		request, _ := http.NewRequest("GET", "http://"+running.Addr+"/limited", nil)
		request.Header.Set("x-api-key", "sk-"+key)
		request.Close = true
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		return answer.StatusCode
	}
	wants := func(what string, keys map[string]int, said string) {
		t.Helper()
		testkit.Eventually(t, what, func() bool {
			for key, want := range keys {
				if status(key) != want {
					return false
				}
			}
			return strings.Contains(log.String(), said)
		})
	}
	wants("a has a key", map[string]int{"a": 200, "b": 401}, "")
	if err := os.WriteFile(gateway, []byte("nonsense: 1"), 0o600); err != nil {
		t.Fatal(err)
	}
	write(list("b"))
	wants("b has one in its place", map[string]int{"a": 401, "b": 200}, `"added":["b"],"removed":["a"]`)
	write("keys:\n  - {id: c}\n  - {sha256: x}\n")
	wants("faults are told, all of them, and b stays", map[string]int{"b": 200}, path+":3: keys[1].sha256: is not a SHA-256 hash")
	if !strings.Contains(log.String(), path+":2: keys[0]: needs sha256") {
		t.Errorf("%s", log)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	wants("a file that is gone is told, and b stays", map[string]int{"b": 200}, "KEYS_FILE: cannot read")
	write("keys: []")
	wants("an empty list lets nobody in", map[string]int{"a": 401, "b": 401}, `"removed":["b"]`)
	if strings.Contains(log.String(), "sk-") {
		t.Errorf("%s", log)
	}
}
