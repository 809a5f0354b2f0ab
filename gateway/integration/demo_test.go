//go:build integration

package integration

import (
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"
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
		case word == "-N":
		case word == "-d" && i+1 < len(words):
			i++
			r.body = words[i]
			r.header = map[string]string{"Content-Type": "application/x-www-form-urlencoded"} // as curl sends it
		case strings.HasPrefix(word, base+"/") && r.url == "":
			r.url = word
		default:
			t.Fatalf("the test does not know the word %q of %q", word, words)
		}
	}
	path, _, _ = strings.Cut(strings.TrimPrefix(r.url, base), "?")
	return r, path
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
