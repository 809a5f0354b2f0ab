//go:build integration

package integration

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"aigateway/gateway/simulator"
)

// SDKs, unmodified, through one gateway in front of three engines with a model each: a FastAPI, an Express and the simulator. Each
// engine refuses the others' models, and knows its own by a name that clients do not know. What the SDKs do is in testdata.
func TestSDKsWithThreeEngines(t *testing.T) {
	t.Parallel()
	small := python.start(t, 0, "INFER_LATENCY_MS=1-5", "TOKEN_LATENCY_MS=1", "MODELS=org/small-8b")
	large := node.start(t, 0, "INFER_LATENCY_MS=1-5", "TOKEN_LATENCY_MS=1", "MODELS=large")
	vectors, err := simulator.Start(simulator.Options{Models: []string{"bge-small", "spare"}, TokenPace: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = vectors.Close() })
	g := startGateway(t, options{file: `
pools:
  small: {upstreams: [{url: "` + small.url + `"}], ` + probeOften + `}
  large: {upstreams: [{url: "` + large.url + `"}], discover: true, ` + probeOften + `}
  vectors: {upstreams: [{url: "` + vectors.URL() + `"}], ` + probeOften + `}
models:
  - {name: small, pool: small, upstream_model: org/small-8b, aliases: [gpt-4o-mini]}
  - {name: large, pool: large}
  - {name: vectors, pool: vectors, upstream_model: bge-small, aliases: [text-embedding-3-small]}
  - {name: spare, pool: vectors, visible: false}
`})
	g.awaitReady(t)
	for name, want := range map[string]string{
		"openai":           "lists chats reached embeds tools unknown bad sounds converses many",
		"anthropic":        "claude",
		"langchain_openai": "chain",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script, err := filepath.Abs("testdata/sdk_models.py")
			if err != nil {
				t.Fatal(err)
			}
			does(t, command{name: "sdk_models.py", path: pythonPath(t), args: []string{script, g.url, name}}, want)
		})
	}
	t.Run("openai for node", func(t *testing.T) {
		t.Parallel()
		script, err := filepath.Abs("testdata/sdk_models.mjs")
		if err != nil {
			t.Fatal(err)
		}
		c := node.command(t)
		does(t, command{name: "sdk_models.mjs", path: c.path, args: []string{script, g.url, c.dir}},
			"lists chats embeds tools sounds converses leaves unknown")
	})
}

// does runs a script that says one word for each thing it did, so that nothing passes by not being tried. One that cannot be tried
// ends with 77 and says why.
func does(t *testing.T, c command, want string) {
	t.Helper()
	c.within = 4 * patience // beside others, loading an SDK takes half a minute
	r := c.run(t)
	if r.code == 77 {
		t.Skip(strings.TrimSpace(r.stdout))
	}
	var did []string
	if err := json.Unmarshal([]byte(r.stdout), &did); err != nil || r.code != 0 || strings.Join(did, " ") != want {
		t.Errorf("code %d, did %q, want %q, %v\n%s%s", r.code, did, want, err, r.stdout, r.stderr)
	}
}

// What SDKs see of keys: who may ask, for what, and how often.
func TestSDKsWithKeys(t *testing.T) {
	t.Parallel()
	b := python.start(t, 0, "INFER_LATENCY_MS=0", "TOKEN_LATENCY_MS=0", "MODELS=small,large")
	var keys strings.Builder
	keys.WriteString("keys:\n")
	for id, more := range map[string]string{"all": "", "small": "models: [small]", "slow": "limits: {rps: 0.5, burst: 1}", "over": "expires: 2020-01-01"} {
		fmt.Fprintf(&keys, "  - {id: %s, sha256: [%x], %s}\n", id, sha256.Sum256([]byte("sk-"+id)), more)
	}
	g := startGateway(t, options{env: []string{"KEYS_FILE=" + writeFile(t, keys.String())}, file: `
pools:
  p: {upstreams: [{url: "` + b.url + `"}], ` + probeOften + `}
models: [{name: small, pool: p}, {name: large, pool: p}]
`})
	g.awaitReady(t)
	script, err := filepath.Abs("testdata/sdk_keys.py")
	if err != nil {
		t.Fatal(err)
	}
	does(t, command{name: "sdk_keys.py", path: pythonPath(t), args: []string{script, g.url}}, "opens lists unauthorized forbidden limited")
}
