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
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// stuckPipe is a pipe for stderr that is full, and that nobody reads.
func stuckPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	fd := int(w.Fd())
	if err := syscall.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	filler := []byte(strings.Repeat("\n", 4096))
	for err == nil {
		_, err = syscall.Write(fd, filler)
	}
	if err := syscall.SetNonblock(fd, false); err != nil { // as a process finds it
		t.Fatal(err)
	}
	return r, w
}

// startMute starts a gateway whose stderr is w, which it takes along, and waits until it serves.
func startMute(t *testing.T, w *os.File, env ...string) *gateway {
	t.Helper()
	port := testkit.FreePort(t)
	c := command{name: "gateway", path: binary, env: append([]string{fmt.Sprintf("PORT=%d", port), "SHUTDOWN_GRACE=" + grace.String(),
		"GORACE=atexit_sleep_ms=0", "RATE_LIMIT_ENABLED=false", "CACHE_ENABLED=false"}, env...)}
	p := &process{program: c.name, cmd: c.prepare(t.Context()), ended: make(chan struct{})}
	p.cmd.Stderr = w
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	go func() {
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	g := &gateway{p, port, fmt.Sprintf("http://127.0.0.1:%d", port)}
	t.Cleanup(g.kill)
	eventually(t, patience, "the gateway serves", func() bool {
		_, err := do(request{url: g.url + "/livez"})
		return err == nil
	})
	return g
}

// A holder is an upstream that may come later, and that keeps requests as long as it is there.
type holder struct {
	*http.Server
	addr string
	held chan struct{} // a request has come
}

func newHolder(t *testing.T) *holder {
	h := &holder{addr: fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t)), held: make(chan struct{}, 100)}
	h.Server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			return
		}
		h.held <- struct{}{}
		<-r.Context().Done()
	})}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

func (h *holder) serve(t *testing.T) {
	t.Helper()
	ln, err := net.Listen("tcp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = h.Serve(ln) }()
}

func (h *holder) env() []string { return []string{"PY_SERVICE_URL=http://" + h.addr} }

// Whoever reads the log may stand still from the beginning: an upstream's return is noticed, and signals do what they do.
func TestLogReaderStandsStill(t *testing.T) {
	t.Parallel()
	for _, twice := range []string{"once", "twice"} {
		t.Run(twice, func(t *testing.T) {
			t.Parallel()
			_, w := stuckPipe(t)
			up := newHolder(t)
			g := startMute(t, w, append(up.env(), "ACCESS_LOG=true", "LOG_LEVEL=debug")...)
			healthy := func() bool { return health(t, g).Backends["python"].Healthy }
			eventually(t, patience, "python is known to be gone", func() bool { return !healthy() })
			up.serve(t)
			eventually(t, patience, "python is known to be back", healthy)
			if twice == "twice" {
				go func() { _, _ = do(request{url: g.url + "/infer/python", body: promptBody("x")}) }()
				<-up.held
			}
			g.signal(t, syscall.SIGTERM)
			want := 0
			if twice == "twice" {
				eventually(t, patience, "it is on its way out", func() bool { return g.ready() == http.StatusServiceUnavailable })
				g.signal(t, syscall.SIGTERM)
				want = 1
			}
			if code := g.exit(t, grace+patience); code != want {
				t.Errorf("it ended with code %d", code)
			}
		})
	}
}

// Whoever reads the log may go: the process stays, and ends in order.
func TestLogReaderIsGone(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	up := newHolder(t)
	up.serve(t)
	g := startMute(t, w, append(up.env(), "ACCESS_LOG=true")...)
	g.awaitReady(t)
	_ = r.Close()
	for range 3 {
		ask(t, request{url: g.url + "/infer/python?prompt=x"})
	}
	_ = up.Close()
	eventually(t, patience, "python is known to be gone", func() bool { return !health(t, g).Backends["python"].Healthy })
	if !g.running() || lost(t, g) == 0 {
		t.Fatal("the lines of three requests and of an upstream that went are not lost")
	}
	g.signal(t, syscall.SIGTERM)
	if code := g.exit(t, grace+patience); code != 0 {
		t.Errorf("it ended with code %d", code)
	}
}

// lost is how many lines of the log were.
func lost(t *testing.T, g *gateway) (n int) {
	t.Helper()
	page := string(ask(t, request{url: g.url + "/metrics"}).body)
	if _, err := fmt.Sscanf(page[strings.Index(page, "\nlog_lines_lost_total ")+1:], "log_lines_lost_total %d", &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// Who reads again gets what was kept, is told how much was not, and then what comes.
func TestLogReaderComesBack(t *testing.T) {
	t.Parallel()
	r, w := stuckPipe(t)
	g := startMute(t, w, "ACCESS_LOG=true")
	conn, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	const requests = 6000
	for range requests {
		if _, err := io.WriteString(conn, "GET /limited HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		a, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, a.Body)
	}
	missing := lost(t, g)
	if missing == 0 {
		t.Fatal("the queue holds more than it should")
	}
	var said journal
	read := make(chan struct{})
	go func() {
		_, _ = io.Copy(&said, r)
		close(read)
	}()
	told := fmt.Sprintf(`"lines":%d}`, missing)
	eventually(t, patience, "it is told how much was lost", func() bool {
		text, _ := said.read()
		return strings.Contains(text, told)
	})
	g.signal(t, syscall.SIGTERM)
	if code := g.exit(t, grace+patience); code != 0 {
		t.Errorf("it ended with code %d", code)
	}
	<-read
	text, _ := said.read()
	got := strings.Count(text, `"msg":"access"`)
	if got+missing != requests || !strings.Contains(text, `"msg":"ended"`) {
		t.Errorf("%d lines of requests, %d lost; the end: %s", got, missing, text[max(0, len(text)-700):])
	}
}

// What asks for a page and has its reader go ends as other programs do.
func TestPagesOnStdoutEndWithTheirReader(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	cmd := exec.Command(binary, "-print-config")
	cmd.Stdout = w
	_ = cmd.Run()
	if status := cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGPIPE {
		t.Errorf("it ended with %v", cmd.ProcessState)
	}
}
