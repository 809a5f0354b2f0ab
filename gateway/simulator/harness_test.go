package simulator

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scene is a simulator and a client of its own. One test has one scene, over loopback or, inside a synctest bubble, over
// pipes in memory, where real sockets do not work and time costs nothing.
type scene struct {
	*Simulator
	t      testing.TB
	client *http.Client
}

// instant are options without any waiting.
func instant() Options {
	return Options{Name: "test", Seed: 7, Latency: [2]time.Duration{-1, -1}, TokenPace: -1}
}

func onLoopback(t testing.TB, o Options) *scene {
	t.Helper()
	s, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	return newScene(t, s, &http.Transport{})
}

func inMemory(t testing.TB, o Options) *scene {
	t.Helper()
	o, err := o.complete()
	if err != nil {
		t.Fatal(err)
	}
	l := &pipes{accept: make(chan net.Conn), closed: make(chan struct{})}
	return newScene(t, serve(l, o), &http.Transport{DialContext: l.dial})
}

func newScene(t testing.TB, s *Simulator, transport *http.Transport) *scene {
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return &scene{Simulator: s, t: t, client: &http.Client{Transport: transport}}
}

// ask is one request: "POST /infer", a body, and header fields as "Name: value".
func (s *scene) ask(line, body string, fields ...string) *http.Response {
	s.t.Helper()
	resp, err := s.client.Do(s.request(s.t.Context(), line, body, fields...))
	if err != nil {
		s.t.Fatalf("%s: %v", line, err)
	}
	s.t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

func (s *scene) request(ctx context.Context, line, body string, fields ...string) *http.Request {
	s.t.Helper()
	method, target, _ := strings.Cut(line, " ")
	r, err := http.NewRequestWithContext(ctx, method, s.URL()+target, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		r.Header.Add(name, value)
	}
	return r
}

// read is a whole body as text.
func (s *scene) read(resp *http.Response) string {
	s.t.Helper()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatalf("cannot read the body: %v", err)
	}
	return string(body)
}

func (s *scene) expect(want Stats) {
	s.t.Helper()
	if got := s.Stats(); got != want {
		s.t.Errorf("Stats() = %+v, want %+v", got, want)
	}
}

// pipes is a listener in memory.
type pipes struct {
	accept chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.accept <- there:
		return here, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.accept:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr  { return p }
func (p *pipes) Network() string { return "pipe" }
func (p *pipes) String() string  { return "pipe" }
