//go:build integration

package integration

import (
	"aigateway/gateway/testkit"
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// startOn starts a gateway with simulated backends on a port that may be another's, and waits until it listens.
func startOn(t *testing.T, port int, c command, env ...string) *gateway {
	t.Helper()
	if c.path == "" {
		c.path = binary
	}
	c.name = "gateway"
	c.env = append([]string{fmt.Sprintf("PORT=%d", port), "SHUTDOWN_GRACE=" + patience.String(), "GORACE=atexit_sleep_ms=0", "RATE_LIMIT_ENABLED=false"}, env...)
	p, err := c.start()
	if err != nil {
		t.Fatal(err)
	}
	p.showIfFailed(t)
	t.Cleanup(p.kill)
	if err := p.await("listening", func(said string) bool { return strings.Contains(said, `"msg":"listening"`) }); err != nil {
		t.Fatal(err)
	}
	return &gateway{p, port, fmt.Sprintf("http://127.0.0.1:%d", port)}
}

// A steady is clients that ask without a pause. They repeat nothing: whatever is not answered has failed.
type steady struct {
	stop atomic.Bool
	done atomic.Int64
	wg   sync.WaitGroup
}

// startSteady starts clients on connections that stay, and clients that open one for each request.
func startSteady(t *testing.T, port int) *steady {
	s := &steady{}
	for i := range 6 {
		s.wg.Go(func() {
			c := &caller{addr: fmt.Sprintf("127.0.0.1:%d", port)}
			defer c.close()
			for n := 0; !s.stop.Load(); n++ {
				if err := c.post(fmt.Sprint("client ", i, " request ", n)); err != nil {
					t.Errorf("client %d, request %d: %v", i, n, err)
					return
				}
				if s.done.Add(1); i%2 == 0 {
					c.close()
				}
			}
		})
	}
	return s
}

// more waits until n more requests were answered.
func (s *steady) more(t *testing.T, n int64) {
	t.Helper()
	from := s.done.Load()
	eventually(t, patience, "requests are answered", func() bool { return s.done.Load() >= from+n || t.Failed() })
}

func (s *steady) end() {
	s.stop.Store(true)
	s.wg.Wait()
}

// A caller has one connection at a time, and connects anew only when it was told that the old one ends.
type caller struct {
	addr string
	conn net.Conn
	in   *bufio.Reader
}

func (c *caller) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

func (c *caller) post(prompt string) error {
	if c.conn == nil {
		conn, err := net.Dial("tcp", c.addr)
		if err != nil {
			return err
		}
		c.conn, c.in = conn, bufio.NewReader(conn)
	}
	_ = c.conn.SetDeadline(time.Now().Add(patience))
	body := promptBody(prompt)
	if _, err := fmt.Fprintf(c.conn, "POST /infer/python HTTP/1.1\r\nHost: a\r\nX-Sim-Latency: 2ms\r\nContent-Length: %d\r\n\r\n%s", len(body), body); err != nil {
		return err
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.Close {
		c.close()
	}
	return answer{resp.StatusCode, resp.Header, resp.Close, text}.echo(prompt, "sim-python")
}

// ends checks that a gateway ends in order.
func (g *gateway) ends(t *testing.T) {
	t.Helper()
	if code := g.exit(t, patience); code != 0 {
		t.Errorf("exit code %d", code)
	}
	said, _ := g.all.read()
	if !strings.Contains(said, `"connections_cut":0`) || strings.Contains(said, "DATA RACE") {
		t.Errorf("the gateway cut connections, or raced:\n%s", said)
	}
}

// Six restarts under load, each new gateway taking over the socket of the one before: nothing is lost, not on new
// connections, not on those that stay, and not in a stream.
func TestRestartByHandover(t *testing.T) {
	t.Parallel()
	port, path := testkit.FreePort(t), filepath.Join(t.TempDir(), "handover")
	admin := fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t))
	start := func() *gateway {
		g := startOn(t, port, command{args: []string{"-demo", "-visitors=false"}}, "HANDOVER_SOCKET="+path, "ADMIN_ADDR="+admin)
		eventually(t, patience, "it offers the socket", func() bool { _, err := os.Stat(path); return err == nil })
		return g
	}
	g := start()
	g.awaitReady(t)
	load := startSteady(t, port)
	load.more(t, 50)
	for i := range 6 {
		s, events := begun(t, storyOf(g, 40, 5*time.Millisecond))
		next := start()
		load.more(t, 50)
		g.signal(t, syscall.SIGTERM)
		if events = append(events, s.mustRest(t)...); len(events) != 43 {
			t.Errorf("restart %d: %d events", i, len(events))
		}
		g.ends(t)
		load.more(t, 50)
		g = next
	}
	load.end()
	t.Logf("%d requests", load.done.Load())
	eventually(t, patience, "the last one has the admin address", func() bool {
		a, err := do(request{url: "http://" + admin + "/metrics"})
		return err == nil && a.status == 200
	})
	g.signal(t, syscall.SIGTERM)
	g.ends(t)
}

// The same with a socket that systemd holds: connections wait in it while no gateway runs.
func TestRestartWithSocketActivation(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	f, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	port := ln.Addr().(*net.TCPAddr).Port
	start := func() *gateway {
		script := fmt.Sprintf("LISTEN_FDS=1 LISTEN_PID=$$ exec %s -demo", binary)
		return startOn(t, port, command{path: "/bin/sh", args: []string{"-c", script}, files: []*os.File{f}}, "DRAIN_DELAY=10s")
	}
	g := start()
	load := startSteady(t, port)
	for range 3 {
		load.more(t, 50)
		g.signal(t, syscall.SIGTERM)
		g.ends(t) // as soon as everybody has been told, not after the delay
		g = start()
	}
	load.more(t, 50)
	load.end()
	g.signal(t, syscall.SIGTERM)
	g.ends(t)
}

// A gateway that nobody takes over ends as it always did, and a file that is left behind keeps nobody from starting.
func TestHandoverToNobody(t *testing.T) {
	t.Parallel()
	port, path := testkit.FreePort(t), filepath.Join(t.TempDir(), "handover")
	for range 2 {
		g := startOn(t, port, command{args: []string{"-demo", "-visitors=false"}}, "HANDOVER_SOCKET="+path)
		g.awaitReady(t)
		g.signal(t, syscall.SIGTERM)
		g.ends(t)
	}
}

// With DRAIN_DELAY a gateway without requests is seen to be not ready, and serves who still comes.
func TestDrainDelay(t *testing.T) {
	t.Parallel()
	g := startDemo(t, "DRAIN_DELAY=1s")
	begin := time.Now()
	g.signal(t, syscall.SIGTERM)
	eventually(t, patience, "/readyz is 503", func() bool { return g.ready() == 503 })
	if a := ask(t, request{url: g.url + "/infer?prompt=late"}); a.echo("late", "sim-python") != nil || !a.closes {
		t.Errorf("a late request: %v", a)
	}
	g.ends(t)
	if took := time.Since(begin); took < time.Second {
		t.Errorf("it ended after %v", took)
	}
}

// systemd is told when the gateway serves, reads its settings again, and ends.
func TestNotify(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()
	_ = systemd.SetDeadline(time.Now().Add(patience))
	heard := func(want string) {
		t.Helper()
		b := make([]byte, 200)
		n, err := systemd.Read(b)
		if err != nil || !strings.HasPrefix(string(b[:n]), want) {
			t.Fatalf("systemd hears %q, %v; want %q", b[:n], err, want)
		}
	}
	g := startDemo(t, "NOTIFY_SOCKET="+path)
	heard("READY=1")
	g.signal(t, syscall.SIGHUP)
	heard("RELOADING=1\nMONOTONIC_USEC=")
	heard("READY=1")
	g.signal(t, syscall.SIGTERM)
	heard("STOPPING=1")
	g.ends(t)
}

// The file is read again when it changes and at SIGHUP. One with faults is reported whole, and what runs stays.
func TestReload(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "gateway.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	route := func(path string) string {
		return fmt.Sprintf("routes: [{path: %q, pool: python, rewrite: /infer}]\n", path)
	}
	write(route("/one"))
	g := startOn(t, testkit.FreePort(t), command{args: []string{"-demo", "-config", path}})
	status := func(path string) int { return ask(t, request{url: g.url + path + "?prompt=x"}).status }
	says := func(text string) {
		t.Helper()
		if err := g.await(text, func(said string) bool { return strings.Contains(said, text) }); err != nil {
			t.Fatal(err)
		}
	}
	g.awaitReady(t)
	if a, b := status("/one"), status("/two"); a != 200 || b != 404 {
		t.Errorf("before: %d, %d", a, b)
	}
	write(route("/two"))
	eventually(t, patience, "the change is in force", func() bool { return status("/two") == 200 })
	if got := status("/one"); got != 404 {
		t.Errorf("the old route: %d", got)
	}
	write("port: none\npools: {p: {upstreams: []}}\n" + route("/three"))
	says(`"faults":["` + path + `:1: port: \"none\" is not`)
	says(`pools.p.upstreams: needs at least one upstream`)
	if a, b := status("/two"), status("/three"); a != 200 || b != 404 {
		t.Errorf("with a faulty file: %d, %d", a, b)
	}
	write("max_header_bytes: 20000\nlog_level: error\n" + route("/four"))
	g.signal(t, syscall.SIGHUP)
	says(`"settings":["MAX_HEADER_BYTES"]`)
	eventually(t, patience, "the change is in force", func() bool { return status("/four") == 200 })
	g.signal(t, syscall.SIGTERM)
	if code := g.exit(t, patience); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
