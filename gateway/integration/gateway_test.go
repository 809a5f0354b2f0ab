//go:build integration

package integration

import (
	"aigateway/gateway/testkit"
	"cmp"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A gateway is one that is running.
type gateway struct {
	*process
	port int
	url  string
}

// grace is SHUTDOWN_GRACE where a test does not say otherwise.
const grace = 5 * time.Second

// options are how to start a gateway.
type options struct {
	path string // what to start; "": the gateway itself
	args []string
	env  []string
	file string // the text of -config
}

// startGateway starts a gateway and waits until it listens. When the test ends, so does the gateway, in order.
func startGateway(t *testing.T, o options) *gateway {
	t.Helper()
	args := o.args
	if o.file != "" {
		args = append(args[:len(args):len(args)], "-config", writeFile(t, o.file))
	}
	for range 5 {
		port := testkit.FreePort(t)
		c := command{name: "gateway", path: cmp.Or(o.path, binary), args: args}
		// The race detector would sleep for a second before the exit, and has a code of its own for it.
		defaults := []string{fmt.Sprintf("PORT=%d", port), "SHUTDOWN_GRACE=" + grace.String(), "GORACE=atexit_sleep_ms=0", "RATE_LIMIT_ENABLED=false", "CACHE_ENABLED=false"}
		c.env = append(defaults, o.env...)
		p, err := c.start()
		if err != nil {
			t.Fatal(err)
		}
		err = p.await("listening", func(said string) bool { return strings.Contains(said, `"msg":"listening"`) })
		said, _ := p.all.read()
		if err != nil && strings.Contains(said, "cannot listen on port") {
			continue // somebody was faster
		}
		p.showIfFailed(t)
		g := &gateway{p, port, fmt.Sprintf("http://127.0.0.1:%d", port)}
		t.Cleanup(func() { g.end(t) })
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	t.Fatal("no port stays free")
	return nil
}

// inFrontOf starts a gateway with these backends and waits until it is ready.
func inFrontOf(t *testing.T, backends []*backend, env ...string) *gateway {
	t.Helper()
	for _, b := range backends {
		env = append(env, b.setting())
	}
	g := startGateway(t, options{env: env})
	g.awaitReady(t)
	return g
}

// end ends the gateway in order, if the test has not, and checks that it had nothing to hide.
func (g *gateway) end(t *testing.T) {
	defer g.kill()
	if g.running() {
		g.signal(t, syscall.SIGTERM)
		select {
		case <-g.ended:
			if code := g.cmd.ProcessState.ExitCode(); code != 0 {
				t.Errorf("the gateway ended with code %d after SIGTERM", code)
			}
		case <-time.After(2*grace + patience):
			t.Errorf("the gateway has not ended after SIGTERM")
		}
	}
	said, _ := g.all.read()
	for _, bad := range []string{"DATA RACE", "panic", "goroutine ", `"level":"ERROR"`} {
		if strings.Contains(said, bad) {
			t.Errorf("the gateway's log has %q in it", bad)
		}
	}
}

// ready is the status of /readyz, asked on a connection of its own.
func (g *gateway) ready() int {
	a, err := do(request{url: g.url + "/readyz"})
	if err != nil {
		return 0
	}
	return a.status
}

func (g *gateway) awaitReady(t *testing.T) {
	t.Helper()
	eventually(t, patience, "/readyz is 200", func() bool { return g.ready() == http.StatusOK })
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gateway.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
