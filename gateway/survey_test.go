package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
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

// startRedisThatSays answers one connection after the other: each command, by its first word, with what it says to it.
func startRedisThatSays(t *testing.T, says map[string]string) string {
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
			command := make([]byte, 200)
			for {
				n, err := conn.Read(command)
				if err != nil {
					break
				}
				lines := strings.Split(string(command[:n]), "\r\n")
				answer, ok := says[lines[min(2, len(lines)-1)]]
				if !ok {
					answer = says[""]
				}
				if answer == "" {
					break
				}
				fmt.Fprint(conn, answer)
			}
			conn.Close()
		}
	}()
	return ln.Addr().String()
}

// surveyed is what -check -probe tells of settings.
func surveyed(t *testing.T, in config.Input) (lines []string, well bool) {
	t.Helper()
	s, _, err := config.Load(in)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	well = tell(&out, survey(context.Background(), s))
	return strings.Split(strings.TrimSpace(out.String()), "\n"), well
}

func TestSurvey(t *testing.T) {
	f := func(environ []string, well bool, want ...string) {
		t.Helper()
		lines, got := surveyed(t, config.Input{Environ: environ})
		if got != well || len(lines) != len(want) {
			t.Fatalf("%v: well is %t, %d lines, want %d:\n%s", environ, got, len(lines), len(want), strings.Join(lines, "\n"))
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

	secure := httptest.NewTLSServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(secure.Close)
	f([]string{"LLM_SERVICE_URL=" + secure.URL}, false, "its certificate is not trusted: x509: ")
	f([]string{"LLM_SERVICE_URL=https://" + strings.TrimPrefix(startService(t, "", nil), "http://")}, false, "does not speak TLS; its URL begins with http://")
}

// Redis is shown the password, and what is said of it names the variable.
func TestSurveyOfRedis(t *testing.T) {
	const noauth, pong = "-NOAUTH Authentication required.\r\n", "+PONG\r\n"
	info := func(version string) string {
		text := "# Server\r\nredis_version:" + version + "\r\nos:any\r\n"
		return fmt.Sprintf("$%d\r\n%s\r\n", len(text), text)
	}
	f := func(says map[string]string, well bool, want string, environ ...string) {
		t.Helper()
		environ = append(environ, "CACHE_BACKEND=redis", "REDIS_ADDR="+startRedisThatSays(t, says))
		lines, got := surveyed(t, config.Input{Environ: environ})
		if got != well || len(lines) != 1 || !strings.Contains(lines[0], want) {
			t.Errorf("well is %t, %q; want %q", got, lines, want)
		}
	}
	f(map[string]string{"PING": pong, "INFO": info("7.2.4")}, true, ": Redis 7.2.4")
	f(map[string]string{"PING": pong, "INFO": info("5.0.7")}, true, ": Redis 5.0.7, which does not tell what other gateways change")
	f(map[string]string{"PING": pong, "INFO": info("\x1b[31m")}, true, ": Redis")
	f(map[string]string{"PING": pong, "INFO": "-NOPERM no info\r\n"}, true, ": Redis")
	f(map[string]string{"PING": pong}, false, "does not answer as Redis does")
	f(map[string]string{"PING": noauth}, false, "wants a password, and REDIS_PASSWORD is unset")
	f(map[string]string{"PING": "-NOPERM no ping\r\n"}, false, "does not let that user do what a gateway does")
	f(map[string]string{"PING": "-LOADING Redis is loading\r\n"}, false, `refuses: "LOADING Redis is loading"`)
	f(map[string]string{"AUTH": "+OK\r\n", "PING": pong, "INFO": info("8.2.1")}, true, ": Redis 8.2.1", "REDIS_PASSWORD=x", "REDIS_USERNAME=gateway")
	f(map[string]string{"AUTH": "-WRONGPASS invalid\r\n"}, false, "does not take REDIS_PASSWORD, or its user name", "REDIS_PASSWORD=x")
	f(map[string]string{"AUTH": "-ERR Client sent AUTH, but no password is set\r\n"}, false, "does not take REDIS_PASSWORD", "REDIS_PASSWORD=x")
	for _, hostile := range []string{"HTTP/1.1 400 Bad Request\r\n", "$999999999999\r\n", "*1000000\r\n", "*2\r\n*2\r\n", strings.Repeat("x", 1<<16), "+\r\n", "\n", ""} {
		f(map[string]string{"": hostile}, false, "Redis, 127.0.0.1:")
	}

	const master = "*2\r\n$9\r\n127.0.0.1\r\n$4\r\n6379\r\n"
	sentinel := []string{"REDIS_MASTER=one", "REDIS_PASSWORD=x"}
	f(map[string]string{"PING": pong, "SENTINEL": master}, true, "a sentinel, for which the master is 127.0.0.1:6379", sentinel...)
	f(map[string]string{"PING": pong, "SENTINEL": "*-1\r\n"}, false, `knows no master "one"`, sentinel...)
	f(map[string]string{"PING": noauth}, false, "wants a password, and REDIS_SENTINEL_PASSWORD is unset", sentinel...)
}

// The issuer's keys are named with their algorithms; what cannot be had is said in words.
func TestSurveyOfIssuer(t *testing.T) {
	const good = `{"kty":"OKP","crv":"Ed25519","kid":"one","use":"sig","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	f := func(jwks string, well bool, want string) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "keys.yaml")
		if err := os.WriteFile(path, []byte("jwt: {issuer: idp, audience: a, jwks_url: \""+jwks+"\"}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		lines, got := surveyed(t, config.Input{Environ: []string{"KEYS_FILE=" + path}})
		if got != well || len(lines) != 1 || !strings.HasPrefix(lines[0], "issuer idp, "+jwks+": ") || !strings.Contains(lines[0], want) {
			t.Errorf("well is %t, %q; want %q", got, lines, want)
		}
	}
	set := func(keys string) string { return startService(t, "", map[string]string{"/keys": keys}) + "/keys" }
	f(set(`{"keys":[`+good+`]}`), true, ": 1 key (EdDSA one)")
	f(set(`{"keys":[`+good+`,`+strings.Replace(good, "one", "two", 1)+`,{"kty":"oct","k":"AA"}]}`), true, ": 2 keys (EdDSA one, EdDSA two), and 1 other that signs nothing here")
	f(set(`{"keys":[`+strings.Replace(good, `"kid":"one",`, "", 1)+`]}`), true, "(EdDSA without a kid)")
	f(set(`{"keys":[{"kty":"oct","k":"AA"}]}`), false, "holds no key for RS256, ES256 or EdDSA")
	f(set(`<html>`), false, "is not a JWK Set")
	f(startService(t, "", nil)+"/keys", false, "the issuer answers 404 for its keys")
	f("http://127.0.0.1:1/keys", false, "cannot be reached")
	f("http://no-such-host.invalid/keys", false, `there is no host "no-such-host.invalid"`)
}

// What a file's models are called is looked for among what engines list, and a credential is shown.
func TestSurveyOfModels(t *testing.T) {
	keyed := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer right" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, `{"data":[{"id":"a"},{"id":"b:latest"}]}`)
	}))
	t.Cleanup(keyed.Close)
	f := func(pool, models string, well bool, want ...string) {
		t.Helper()
		file := "pools: {p: {upstreams: [{url: \"" + keyed.URL + "\"}]" + pool + "}}\n" + models
		lines, got := surveyed(t, config.Input{File: "gw.yaml", Environ: []string{"RIGHT=right", "WRONG=wrong"},
			ReadFile: func(string) ([]byte, error) { return []byte(file), nil }})
		if got != well || len(lines) != len(want) {
			t.Fatalf("%s: well is %t, %q", file, got, lines)
		}
		for i := range want {
			if !strings.HasSuffix(lines[i], want[i]) {
				t.Errorf("%s: %q, want %q", file, lines[i], want[i])
			}
		}
	}
	const right = ", credential: {env: RIGHT}"
	f(right, "", true, "an OpenAI-compatible service with a, b:latest")
	f(", credential: {env: WRONG}", "", false, "does not take the pool's credential: /v1/models answers 401")
	f("", "", true, "wants a credential; the pool states none, so clients must show theirs")
	models := "models: [{name: x, pool: p, upstream_model: a}, {name: b, pool: p}, {name: c, pool: p}]"
	f(right+", discover: on", models, false, "with a, b:latest", `model c: nobody in pool p lists "c"; they have a, b:latest`)
	f(right+", discover: off", models, true, "with a, b:latest")
}

// What is asked for wrongly is 2, what is not there is 1, what is well is 0.
func TestProbeEnds(t *testing.T) {
	f := func(want int, args []string, environ ...string) {
		t.Helper()
		var out bytes.Buffer
		if got := run(args, environ, &out, &out); got != want {
			t.Errorf("%v %v: %d, want %d: %s", args, environ, got, want, &out)
		}
	}
	well := "PY_SERVICE_URL=" + startService(t, "", map[string]string{"/healthz": ""})
	f(0, []string{"-check", "-probe"}, well)
	f(1, []string{"-check", "-probe"}, well, "NODE_SERVICE_URL=http://127.0.0.1:1")
	f(2, []string{"-check", "-probe"}, well, "PORT=x")
	f(2, []string{"-probe"}, well)
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
