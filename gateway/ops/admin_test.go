package ops

import (
	"bufio"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/valyala/fasthttp/fasthttputil"
)

// askAdmin sends bytes to an admin listener and reads the reply to the first request in them.
func askAdmin(t *testing.T, raw string) (*http.Response, string) {
	t.Helper()
	o := New(Options{Inflight: noRequests, Draining: never, HeadSize: 4096, Log: slog.New(slog.DiscardHandler)})
	ln := fasthttputil.NewInmemoryListener()
	done := make(chan error, 1)
	go func() { done <- o.ServeAdmin(ln) }()
	t.Cleanup(func() {
		_ = ln.Close()
		o.Close()
		<-done
	})
	c, err := ln.Dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	go func() { _, _ = io.WriteString(c, raw) }()
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r, string(body)
}

// The profiles have a page that lists them, where net/http/pprof has it.
func TestAdminListsProfiles(t *testing.T) {
	r, body := askAdmin(t, "GET /debug/pprof/ HTTP/1.1\r\nHost: a\r\n\r\n")
	if r.StatusCode != 200 || !strings.Contains(body, "goroutine?debug=1") {
		t.Errorf("%d %.200q", r.StatusCode, body)
	}
	if r, body = askAdmin(t, "GET /debug/pprof/cmdline HTTP/1.1\r\nHost: a\r\n\r\n"); r.StatusCode != 200 || body == "" {
		t.Errorf("%d %q", r.StatusCode, body)
	}
}

// What fasthttp refuses is refused in the gateway's words, as everything else is.
func TestAdminRefusals(t *testing.T) {
	f := func(raw string, status int, code string) {
		t.Helper()
		r, body := askAdmin(t, raw)
		if r.StatusCode != status || r.Header.Get("Content-Type") != "application/json" || !strings.Contains(body, `"code":"`+code+`"`) || !r.Close {
			t.Errorf("%.60q: %d %q %q", raw, r.StatusCode, r.Header, body)
		}
	}
	f("GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "bad_request")
	f("POST /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\n", 413, "body_too_large")
	f("GET /livez HTTP/1.1\r\nHost: a\r\nA: "+strings.Repeat("a", 5000)+"\r\n\r\n", 431, "header_too_large")
}
