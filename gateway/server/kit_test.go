package server

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"aigateway/gateway/config"

	"go.uber.org/goleak"
)

// The kit of the tests on the wire: a whole gateway on a loopback port, upstreams that follow a script and
// clients that send bytes. One file per behaviour uses it.

// patience bounds every wait of a test: long enough for a slow machine, short of the test runner's own.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// fasthttp's janitors look at a flag once in ten seconds, and once in the time connections may idle.
		goleak.IgnoreTopFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
	)
}

// A testGateway is a whole gateway that serves on loopback until the test ends.
type testGateway struct {
	*Gateway
	t    *testing.T
	addr string
	log  *lockedBuffer
	down sync.Once
}

// startGateway starts a gateway with settings as the environment gives them, "NAME=value" each.
func startGateway(t *testing.T, environ ...string) *testGateway {
	t.Helper()
	return startGatewayFile(t, "", environ...)
}

// startGatewayFile does the same with a configuration file of that text.
func startGatewayFile(t *testing.T, file string, environ ...string) *testGateway {
	t.Helper()
	return serve(t, loadSettings(t, file, environ), Options{}, nil)
}

// startChanged starts a gateway with options of its own (its log is the kit's), changed before it serves if
// change is not nil.
func startChanged(t *testing.T, o Options, change func(*Gateway), environ ...string) *testGateway {
	t.Helper()
	return serve(t, loadSettings(t, "", environ), o, change)
}

func loadSettings(t *testing.T, file string, environ []string) *config.Settings {
	t.Helper()
	in := config.Input{Environ: uncached(unlimited(environ))}
	if file != "" {
		in.File = "gateway.yaml"
		in.ReadFile = func(string) ([]byte, error) { return []byte(file), nil }
	}
	s, _, err := config.Load(in)
	if err != nil {
		t.Fatalf("cannot load the settings: %v", err)
	}
	for _, p := range s.Pools {
		if !p.Explicit { // nobody is there; but the default names would be looked up, which outlives a test
			p.Upstreams[0].URL.Host = "127.0.0.1:1"
		}
	}
	return s
}

func serve(t *testing.T, s *config.Settings, o Options, change func(*Gateway)) *testGateway {
	t.Helper()
	log := &lockedBuffer{}
	o.Log = slog.New(slog.NewJSONHandler(log, nil))
	g, err := New(s, o)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(g)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tg := &testGateway{Gateway: g, t: t, addr: ln.Addr().String(), log: log}
	served := make(chan error, 1)
	go func() { served <- g.Serve(ln) }()
	t.Cleanup(func() {
		tg.shutdown(time.Second)
		if err := <-served; err != nil {
			t.Errorf("Serve returned %v", err)
		}
		if t.Failed() {
			t.Logf("the gateway's log:\n%s", log)
		}
	})
	return tg
}

// unlimited switches the rate limit off for a test that does not set it: a test asks faster than a client may.
func unlimited(environ []string) []string {
	if slices.ContainsFunc(environ, func(e string) bool { return strings.HasPrefix(e, "RATE_LIMIT_ENABLED=") }) {
		return environ
	}
	return append([]string{"RATE_LIMIT_ENABLED=false"}, environ...)
}

// uncached switches the cache off for a test that does not set it: most tests are about what passes.
func uncached(environ []string) []string {
	if slices.ContainsFunc(environ, func(e string) bool { return strings.HasPrefix(e, "CACHE_") }) {
		return environ
	}
	return append([]string{"CACHE_ENABLED=false"}, environ...)
}

// shutdown ends the gateway, once, and returns how many connections it had to cut.
func (g *testGateway) shutdown(grace time.Duration) (cut int) {
	g.down.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), grace)
		defer cancel()
		cut = g.Shutdown(ctx)
	})
	return cut
}

// A scripted upstream runs its script for each connection that it accepts but the gateway's probes.
type scripted struct {
	t    *testing.T
	URL  string
	addr string

	mu    sync.Mutex
	conns int
	all   []net.Conn
}

// script is what a scripted upstream does on its n-th connection (from 0). The connection is closed when it
// returns. It runs in a goroutine of its own: report with t.Errorf, not t.Fatal.
type script func(n int, c *peer)

// startUpstream starts an upstream that follows the script until the test ends. Health probes are answered
// for it and not counted.
func startUpstream(t *testing.T, do script) *scripted {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &scripted{t: t, URL: "http://" + ln.Addr().String(), addr: ln.Addr().String()}
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			u.mu.Lock()
			u.all = append(u.all, conn)
			u.mu.Unlock()
			wg.Add(1)
			go func() {
				defer wg.Done()
				defer conn.Close()
				u.serve(conn, do)
			}()
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		u.mu.Lock()
		for _, c := range u.all {
			c.Close()
		}
		u.mu.Unlock()
		wg.Wait()
	})
	return u
}

func (u *scripted) serve(conn net.Conn, do script) {
	p := newPeer(u.t, conn)
	// A probe says who it is in its first bytes; a connection that never says anything is a request's.
	head, _ := p.r.Peek(12)
	if string(head) == "GET /healthz" || string(head) == "GET /health " {
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
		return
	}
	if len(head) == 0 {
		return
	}
	u.mu.Lock()
	n := u.conns
	u.conns++
	u.mu.Unlock()
	do(n, p)
}

// connections is how many connections have brought a request so far.
func (u *scripted) connections() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.conns
}

// A peer is one end of a connection that speaks bytes: a scripted client or upstream.
type peer struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func newPeer(t *testing.T, conn net.Conn) *peer {
	_ = conn.SetDeadline(time.Now().Add(patience))
	return &peer{Conn: conn, t: t, r: bufio.NewReaderSize(conn, 64<<10)}
}

// dial connects a scripted client to the gateway.
func (g *testGateway) dial() *peer {
	g.t.Helper()
	conn, err := net.Dial("tcp", g.addr)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { conn.Close() })
	return newPeer(g.t, conn)
}

// send writes the bytes.
func (p *peer) send(format string, args ...any) {
	s := format
	if len(args) > 0 {
		s = fmt.Sprintf(format, args...)
	}
	if _, err := io.WriteString(p.Conn, s); err != nil {
		p.t.Logf("send: %v", err)
	}
}

// A message is a head and a body as they were on the wire.
type message struct {
	first  string // the first line
	head   string // field lines, CRLF after each
	body   string
	closed bool  // the connection ended after it
	err    error // why there is no whole message
}

// status is the number in the first line of a response, 0 if there is none.
func (m message) status() (n int) {
	fmt.Sscanf(m.first, "HTTP/1.1 %d", &n)
	return n
}

// field is the value of the first field of that name, in any case, or "".
func (m message) field(name string) string {
	for _, v := range m.fields(name) {
		return v
	}
	return ""
}

// fields are the values of all fields of that name.
func (m message) fields(name string) (values []string) {
	for _, line := range strings.Split(m.head, "\r\n") {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.EqualFold(k, name) {
			values = append(values, strings.TrimSpace(v))
		}
	}
	return values
}

// readHead reads a first line and field lines.
func (p *peer) readHead() (m message) {
	line, err := p.r.ReadString('\n')
	m.first = strings.TrimRight(line, "\r\n")
	if err != nil {
		m.err = err
		return m
	}
	for {
		line, err := p.r.ReadString('\n')
		if err != nil {
			m.err = err
			return m
		}
		if line == "\r\n" {
			return m
		}
		m.head += line
	}
}

// readRequest reads a request with its body, by its own framing.
func (p *peer) readRequest() message { return p.readBody(p.readHead(), false) }

// readResponse reads a response with its body, by its own framing; toHEAD if it answers a HEAD.
func (p *peer) readResponse(toHEAD ...bool) message {
	m := p.readHead()
	for m.err == nil && m.status() >= 100 && m.status() < 200 {
		m = p.readHead()
	}
	if m.err != nil || len(toHEAD) > 0 && toHEAD[0] || m.status() == 204 || m.status() == 304 {
		return m
	}
	return p.readBody(m, true)
}

func (p *peer) readBody(m message, response bool) message {
	if m.err != nil {
		return m
	}
	var body []byte
	switch {
	case strings.EqualFold(m.field("Transfer-Encoding"), "chunked"):
		body, m.err = p.readChunks()
	case m.field("Content-Length") != "":
		var n int
		fmt.Sscanf(m.field("Content-Length"), "%d", &n)
		body = make([]byte, n)
		var got int
		got, m.err = io.ReadFull(p.r, body)
		body = body[:got]
	case response:
		body, m.err = io.ReadAll(p.r)
		m.closed = true
	}
	m.body = string(body)
	return m
}

// readChunks decodes a body in chunks, strictly.
func (p *peer) readChunks() (body []byte, err error) {
	for {
		line, err := p.r.ReadString('\n')
		if err != nil {
			return body, io.ErrUnexpectedEOF
		}
		var n int
		if _, err := fmt.Sscanf(line, "%x\r\n", &n); err != nil {
			return body, fmt.Errorf("bad chunk size %q", line)
		}
		chunk := make([]byte, n+2)
		if got, err := io.ReadFull(p.r, chunk); err != nil {
			return append(body, chunk[:min(got, n)]...), io.ErrUnexpectedEOF
		}
		if string(chunk[n:]) != "\r\n" {
			return body, fmt.Errorf("bad chunk end %q", chunk[n:])
		}
		if body = append(body, chunk[:n]...); n == 0 {
			return body, nil
		}
	}
}

// closed tells whether the other end closes now, in order or by reset, without a further byte.
func (p *peer) closed() bool {
	b, err := p.r.ReadByte()
	if err == nil {
		p.t.Logf("got byte %q instead of the end", b)
		return false
	}
	return !os.IsTimeout(err)
}

// rest reads all bytes until the end of the connection.
func (p *peer) rest() (string, error) {
	b, err := io.ReadAll(p.r)
	return string(b), err
}

// do sends one request on a connection of its own and reads its response.
func (g *testGateway) do(request string) message {
	g.t.Helper()
	c := g.dial()
	defer c.Close()
	c.send("%s", request)
	return c.readResponse(strings.HasPrefix(request, "HEAD "))
}

// eventually waits until the condition holds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if condition() {
			return
		}
	}
	t.Fatalf("it did not come about that %s", what)
}

// answer is a short response with a length.
func answer(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// lockedBuffer is a log that may be written and read at once.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
