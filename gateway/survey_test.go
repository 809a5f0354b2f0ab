package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"aigateway/gateway/config"
)

// A service that answers each path with a status and a body; what is not there is 404.
func startService(t *testing.T, server string, pages map[string]string) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, ok := pages[r.URL.Path]
		if server != "" {
			w.Header().Set("Server", server)
		}
		if !ok {
			w.WriteHeader(http.StatusNotFound)
		}
		fmt.Fprint(w, body)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// startRedis answers every line as one Redis would.
func startRedisThatSays(t *testing.T, says string) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 100))
			fmt.Fprint(conn, says)
			conn.Close()
		}
	}()
	return ln.Addr().String()
}

func TestSurvey(t *testing.T) {
	f := func(environ []string, well bool, want ...string) {
		t.Helper()
		s, _, err := config.Load(config.Input{Environ: environ})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if got := tell(&out, survey(context.Background(), s)); got != well {
			t.Errorf("%v: well is %t:\n%s", environ, got, &out)
		}
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != len(want) {
			t.Fatalf("%v: %d lines, want %d:\n%s", environ, len(lines), len(want), &out)
		}
		for i := range want {
			if !strings.Contains(lines[i], want[i]) {
				t.Errorf("%v: %q, want %q", environ, lines[i], want[i])
			}
		}
	}
	list := func(owner string, ids ...string) map[string]string {
		var data []string
		for _, id := range ids {
			data = append(data, fmt.Sprintf(`{"id":%q,"owned_by":%q}`, id, owner))
		}
		return map[string]string{"/v1/models": `{"object":"list","data":[` + strings.Join(data, ",") + `]}`, "/health": ""}
	}
	f([]string{"LLM_SERVICE_URL=" + startService(t, "uvicorn", list("vllm", "b", "a"))}, true, "vLLM with a, b")
	f([]string{"LLM_SERVICE_URL=" + startService(t, "llama.cpp", list("llamacpp", "tiny"))}, true, "llama.cpp with tiny")
	f([]string{"LLM_SERVICE_URL=" + startService(t, "", list("library", "qwen3:8b"))}, true, "Ollama with qwen3:8b")
	f([]string{"LLM_SERVICE_URL=" + startService(t, "", list("sglang", "m"))}, true, "SGLang with m")
	f([]string{"LLM_SERVICE_URL=" + startService(t, "", list("me", "1", "2", "3", "4", "5", "6", "7", "8", "9"))}, true, "an OpenAI-compatible service with 1, 2, 3, 4, 5, 6, 7, 8 and 1 more")
	f([]string{"LLM_SERVICE_URL=" + startService(t, "", list("me", "a'b", "\x1b[31m", "é"))}, true, "a service that is well")
	f([]string{"LLM_SERVICE_URL=" + startService(t, "", map[string]string{"/v1/models": "<html>", "/healthz": ""})}, true, "a service that is well")
	f([]string{"PY_SERVICE_URL=" + startService(t, "", nil)}, true, "a service that answers, /healthz with 404")
	f([]string{"PY_SERVICE_URL=http://127.0.0.1:1", "NODE_SERVICE_URL=http://no-such-host.invalid"}, false, `there is no host "no-such-host.invalid"`, "cannot be reached: ")

	redis := func(says string) []string {
		return []string{"CACHE_BACKEND=redis", "REDIS_ADDR=" + startRedisThatSays(t, says)}
	}
	f(redis("+PONG\r\n"), true, ": Redis")
	f(redis("-NOAUTH Authentication required.\r\n"), false, "wants a password, and REDIS_PASSWORD is unset")
	f(append(redis("-NOAUTH Authentication required.\r\n"), "REDIS_PASSWORD=x"), true, "Redis, which wants a password")
	f(redis("HTTP/1.1 400 Bad Request\r\n"), false, "does not answer as Redis does")
	f(redis(""), false, "Redis, 127.0.0.1:")
}

func TestWelcomeBeforeAnEngine(t *testing.T) {
	s, _, err := config.Load(config.Input{Environ: []string{"LLM_SERVICE_URL=http://localhost:8080"}})
	if err != nil {
		t.Fatal(err)
	}
	text := welcome(s, 8081, []finding{{what: "pool llm, http://a", err: context.Canceled}, {what: "pool llm, http://b", said: "vLLM", models: []string{"org/m"}}})
	for _, want := range []string{"listening on http://localhost:8081 (port 8080 is taken; PORT sets another), in front of", "  pool llm, http://b: vLLM with org/m\n", `"model":"org/m"`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}
