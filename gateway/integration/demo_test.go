//go:build integration

package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"aigateway/gateway/testkit"
)

// Every command of the welcome works as it is printed, by curl and by a client that only reads the command.
func TestWelcome(t *testing.T) {
	t.Parallel()
	g := startDemo(t)
	said := ""
	eventually(t, patience, "the welcome is whole", func() bool {
		said, _ = g.stdout.read()
		return strings.Contains(said, "Ctrl-C ends it.")
	})
	commands := curlCommands(t, said)
	if len(commands) < 5 {
		t.Fatalf("%d commands in\n%s", len(commands), said)
	}
	seen := make(map[string]bool)
	for _, words := range commands {
		r, path := curlRequest(t, g, words)
		seen[path] = true
		want := map[string]string{
			"/healthz":             `"service":"api-gateway-go"`,
			"/infer/python":        `"result":"echo: hello"`,
			"/infer":               `"result":"echo: hello"`,
			"/v1/models":           `"id":"sim-llm"`,
			"/v1/chat/completions": "data: [DONE]",
		}[path]
		if r.header["x-api-key"] != "" {
			want, path = "echo: hi", path+" as a tenant"
		}
		if want == "" {
			t.Errorf("the test does not know what %q answers", path)
		}
		t.Run("client "+path, func(t *testing.T) {
			if a := ask(t, r); a.status != http.StatusOK || !strings.Contains(string(a.body), want) {
				t.Errorf("%q: %v, want %q in it", words, a, want)
			}
		})
		t.Run("curl "+path, func(t *testing.T) {
			curl, err := exec.LookPath("curl")
			if err != nil {
				t.Skip("curl is not installed")
			}
			got := command{name: "curl", path: curl, args: append([]string{"-q", "-sS", "-f"}, words[1:]...)}.run(t)
			if got.code != 0 || !strings.Contains(got.stdout, want) {
				t.Errorf("%q: %+v, want %q in it", words, got, want)
			}
		})
	}
	for _, path := range []string{"/healthz", "/infer/python", "/infer", "/v1/models", "/v1/chat/completions"} {
		if !seen[path] {
			t.Errorf("the welcome does not show %s", path)
		}
	}
	if strings.Contains(said, "PORT") || !strings.Contains(said, "limit") {
		t.Errorf("the welcome must say the port and which limits are on:\n%s", said)
	}
}

// curlCommands are the commands in a text, each as its words.
func curlCommands(t *testing.T, text string) (commands [][]string) {
	t.Helper()
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", " ")) {
		words := shellWords(t, strings.TrimSpace(line))
		if len(words) > 1 && words[0] == "curl" {
			commands = append(commands, words)
		}
	}
	return commands
}

// shellWords splits a command as a shell does that knows nothing but single quotes.
func shellWords(t *testing.T, line string) (words []string) {
	t.Helper()
	if !strings.HasPrefix(line, "curl ") {
		return nil
	}
	if strings.ContainsAny(line, "$`;|<>\\") {
		t.Fatalf("the test reads no such shell: %s", line)
	}
	word, within := "", false
	for i, part := range strings.Split(line, "'") {
		if quoted := i%2 == 1; quoted {
			word, within = word+part, true
			continue
		}
		for _, c := range part {
			switch {
			case c != ' ':
				word, within = word+string(c), true
			case within:
				words = append(words, word)
				word, within = "", false
			}
		}
	}
	if within {
		words = append(words, word)
	}
	return words
}

// curlRequest is the request that a curl command makes.
func curlRequest(t *testing.T, g *gateway, words []string) (r request, path string) {
	t.Helper()
	base := fmt.Sprintf("http://localhost:%d", g.port)
	for i := 1; i < len(words); i++ {
		switch word := words[i]; {
		case word == "-N", word == "-i":
		case word == "-H" && i+1 < len(words):
			i++
			name, value, _ := strings.Cut(words[i], ": ")
			if r.header == nil {
				r.header = make(map[string]string)
			}
			r.header[name] = value
		case word == "-d" && i+1 < len(words):
			i++
			r.body = words[i]
			if r.header == nil {
				r.header = make(map[string]string)
			}
			r.header["Content-Type"] = "application/x-www-form-urlencoded" // as curl sends it
		case strings.HasPrefix(word, base+"/") && r.url == "":
			r.url = word
		default:
			t.Fatalf("the test does not know the word %q of %q", word, words)
		}
	}
	path, _, _ = strings.Cut(strings.TrimPrefix(r.url, base), "?")
	return r, path
}

// Two tenants come by themselves, engines tell what they have to do, and everything is open without a key.
func TestDemoTenants(t *testing.T) {
	t.Parallel()
	g := startGateway(t, options{args: []string{"-demo"}})
	g.awaitReady(t)
	var d struct {
		Tenants []struct {
			Tenant string
			Total  struct{ Requests, Tokens_out int }
			Left   []struct{ Limit string }
		}
		Engines []struct{ Kind string }
	}
	testkit.Eventually(t, "both have asked, and the engines tell", func() bool {
		a := ask(t, request{url: g.url + "/dashboard/data"})
		if err := json.Unmarshal(a.body, &d); err != nil || a.status != http.StatusOK {
			t.Fatal(a, err)
		}
		return len(d.Engines) == 2 && len(d.Tenants) == 2 && d.Tenants[0].Total.Tokens_out > 0 && d.Tenants[1].Total.Tokens_out > 0
	})
	if len(d.Tenants[0].Left) == 0 || len(d.Tenants[1].Left) == 0 {
		t.Errorf("nothing is said of what is left to them: %+v", d)
	}
	if a := ask(t, request{url: g.url + "/v1/chat/completions", body: chatBody("sim-chat", "hi"), header: map[string]string{"Authorization": "Bearer any"}}); a.status != http.StatusOK {
		t.Errorf("a key that nobody knows: %v", a)
	}
}

// The simulated backends stand in for those that the environment does not name.
func TestDemoBesideRealBackend(t *testing.T) {
	t.Parallel()
	b := python.shared(t)
	g := startDemo(t, b.setting())
	if err := ask(t, request{url: g.url + "/infer/python", body: promptBody("real")}).echo("real", b.model); err != nil {
		t.Error(err)
	}
	if err := ask(t, request{url: g.url + "/infer/node", body: promptBody("simulated")}).echo("simulated", "sim-node"); err != nil {
		t.Error(err)
	}
}
