package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
)

func load(args ...string) (code int, stdout, stderr string) {
	var out, errs strings.Builder
	code = command(args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestLoad(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the load generator needs Linux")
	}
	var seen atomic.Pointer[http.Request]
	var body atomic.Pointer[[]byte]
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		body.Store(&b)
		seen.Store(r)
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, "made")
	}))
	defer s.Close()
	file := filepath.Join(t.TempDir(), "result.json")
	code, stdout, stderr := load("-n", "50", "-time", "1m", "-rate", "2000", "-conns", "4", "-body", "100", "-header", "X-A: 1",
		"-progress", "1ms", "-json", file, s.URL+"/x%2fy?z=1")
	if code != 0 {
		t.Fatalf("%d: %s", code, stderr)
	}
	r := seen.Load()
	if r.Method != "POST" || r.RequestURI != "/x%2fy?z=1" || r.Header.Get("X-A") != "1" || r.Header.Get("Content-Type") != "application/json" ||
		len(*body.Load()) != 100 || !json.Valid(*body.Load()) {
		t.Errorf("%s %s %v %s", r.Method, r.RequestURI, r.Header, *body.Load())
	}
	for _, want := range []string{"50 answered", "status      201  50", "200 bytes of bodies", "last byte"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
	if !strings.Contains(stderr, "answered (") {
		t.Errorf("no progress: %q", stderr)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Done    int64
		Status  map[string]int64
		Latency struct{ Count int64 }
	}
	if err := json.Unmarshal(text, &got); err != nil || got.Done != 50 || got.Status["201"] != 50 || got.Latency.Count != 50 {
		t.Errorf("%v: %s", err, text)
	}
}

func TestFaults(t *testing.T) {
	f := func(code int, want string, args ...string) {
		t.Helper()
		if got, _, stderr := load(args...); got != code || !strings.Contains(stderr, want) {
			t.Errorf("%q: %d, %s", args, got, stderr)
		}
	}
	f(exitUsage, "a URL is needed")
	f(exitUsage, "https://a", "https://a/")
	f(exitUsage, "-body", "-body", "x", "http://127.0.0.1/")
	f(exitUsage, "no such file", "-body", "@/nowhere", "http://127.0.0.1/")
	f(exitUsage, "Name: value", "-header", "x", "http://127.0.0.1/")
	f(exitFailed, "connection", "-conns", "0", "http://127.0.0.1:1/")
	f(0, "usage", "-help")
}
