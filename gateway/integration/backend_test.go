//go:build integration

package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"testing"
)

// A kind is a sort of real backend.
type kind struct {
	name     string // of the backend, of its route /infer/NAME and of its pool
	model    string
	variable string // that names it to the gateway
	command  func(t *testing.T) command
}

var (
	python = kind{"python", "echo-python", "PY_SERVICE_URL", func(t *testing.T) command {
		return command{path: pythonPath(t), args: []string{"-m", "app"}, dir: backendDir(t, "python")}
	}}
	node = kind{"node", "echo-node", "NODE_SERVICE_URL", func(t *testing.T) command {
		path, err := exec.LookPath("node")
		if err != nil {
			t.Skip("node is not in the PATH")
		}
		dir := os.Getenv("AIGATEWAY_NODE_DIR")
		if dir == "" {
			t.Skip("AIGATEWAY_NODE_DIR is unset: no Express backend here")
		}
		return command{path: path, args: []string{"src/server.js"}, dir: dir}
	}}
	kinds = []kind{python, node}
)

// pythonPath is the Python that has the backend's requirements.
func pythonPath(t *testing.T) string {
	t.Helper()
	path := os.Getenv("AIGATEWAY_PYTHON")
	if path == "" {
		t.Skip("AIGATEWAY_PYTHON is unset: no FastAPI backend here")
	}
	return path
}

func backendDir(t *testing.T, name string) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("../../backends", name))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// A backend is one that is running.
type backend struct {
	kind
	*process
	port int
	url  string
}

// start starts a backend for this test alone, on a port of its choice (0: any).
func (k kind) start(t *testing.T, port int, env ...string) *backend {
	t.Helper()
	b, err := k.launch(t, port, env)
	if b != nil {
		b.showIfFailed(t)
		t.Cleanup(b.kill)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var listening = regexp.MustCompile(`"msg": ?"listening".*"port": ?(\d+)`)

func (k kind) launch(t *testing.T, port int, env []string) (*backend, error) {
	t.Helper()
	c := k.command(t)
	c.name = k.name
	c.env = append([]string{fmt.Sprintf("PORT=%d", port), "HOST=127.0.0.1"}, env...)
	p, err := c.start()
	if err != nil {
		return nil, err
	}
	b := &backend{kind: k, process: p}
	err = p.await("listening", func(said string) bool {
		m := listening.FindStringSubmatch(said)
		if m == nil {
			return false
		}
		b.port, _ = strconv.Atoi(m[1])
		b.url = "http://127.0.0.1:" + m[1]
		return true
	})
	return b, err
}

// setting is what tells a gateway where the backend is.
func (b *backend) setting() string { return b.variable + "=" + b.url }

// stats is what a backend counted.
type stats struct {
	Requests, Executions, Cancelled int
	Executed                        map[string]int // by X-Request-ID, the last 10,000
}

func (b *backend) stats(t *testing.T) stats {
	t.Helper()
	a := ask(t, request{url: b.url + "/stats"})
	var s stats
	if err := json.Unmarshal(a.body, &s); err != nil || a.status != http.StatusOK {
		t.Fatalf("%s /stats: %v: %v", b.name, a, err)
	}
	return s
}

// Backends that many tests share, because a Python takes a second to start. They are fast, and nobody harms them.
var shared = struct {
	mu      sync.Mutex
	running map[string]*backend
	failed  map[string]error
}{running: map[string]*backend{}, failed: map[string]error{}}

// shared returns the backend of this kind that all tests use.
func (k kind) shared(t *testing.T) *backend {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	b, err := shared.running[k.name], shared.failed[k.name]
	if b == nil && err == nil {
		b, err = k.launch(t, 0, []string{"INFER_LATENCY_MS=5-15", "TOKEN_LATENCY_MS=20"})
		shared.running[k.name], shared.failed[k.name] = b, err
	}
	if b != nil {
		b.showIfFailed(t)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func endShared() {
	for _, b := range shared.running {
		if b != nil {
			b.kill()
		}
	}
}
