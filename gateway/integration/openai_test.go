//go:build integration

package integration

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The OpenAI Python SDK works with the gateway's address as its base_url. What it does is in testdata/openai_sdk.py.
func TestOpenAISDK(t *testing.T) {
	t.Parallel()
	t.Run("simulator", func(t *testing.T) {
		t.Parallel()
		g := startDemo(t)
		sdk(t, g, "service", "sim-llm", "embeddings")
	})
	t.Run("fastapi", func(t *testing.T) {
		t.Parallel()
		b := python.shared(t)
		sdk(t, inFrontOf(t, nil, "LLM_SERVICE_URL="+b.url), "service", b.model)
	})
	t.Run("express", func(t *testing.T) {
		t.Parallel()
		b := node.shared(t)
		sdk(t, inFrontOf(t, nil, "LLM_SERVICE_URL="+b.url), "service", b.model)
	})
	t.Run("no service", func(t *testing.T) {
		t.Parallel()
		sdk(t, nowhere(t), "no-service", "any")
	})
}

// sdk runs the script. It says one word for each thing it did, so that nothing passes by not being tried.
func sdk(t *testing.T, g *gateway, scene, model string, extra ...string) {
	t.Helper()
	script, err := filepath.Abs("testdata/openai_sdk.py")
	if err != nil {
		t.Fatal(err)
	}
	c := command{name: "openai_sdk.py", path: pythonPath(t)}
	c.args = append([]string{script, g.url + "/v1", scene, model}, extra...)
	r := c.run(t)
	if r.code == 77 {
		t.Skip(strings.TrimSpace(r.stdout))
	}
	if r.code != 0 {
		t.Fatalf("code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	want := []string{"models", "completion", "stream", "streams", "left", "bad request", "no such model"}
	if scene == "no-service" {
		want = []string{"not found"}
	}
	var did []string
	if err := json.Unmarshal([]byte(r.stdout), &did); err != nil {
		t.Fatalf("%v: %s", err, r.stdout)
	}
	if want = append(want, extra...); !slices.Equal(did, want) {
		t.Errorf("the script did %q, want %q", did, want)
	}
}
