//go:build integration

package integration

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startDemo starts a gateway with simulated backends.
func startDemo(t *testing.T, env ...string) *gateway {
	t.Helper()
	g := startGateway(t, options{args: []string{"-demo", "-visitors=false"}, env: env})
	g.awaitReady(t)
	return g
}

// storyOf asks the simulator for a stream of n tokens, a pause between two.
func storyOf(g *gateway, tokens int, pace time.Duration) request {
	return request{
		url: g.url + "/v1/chat/completions", body: chatBody("sim-llm", "tell me a story"),
		header: map[string]string{"X-Sim-Tokens": fmt.Sprint(tokens), "X-Sim-Pace": pace.String()},
	}
}

// begun opens a stream and reads its first events, so that it is surely under way.
func begun(t *testing.T, r request) (*stream, []event) {
	t.Helper()
	s := openStream(t, r)
	var events []event
	for range 2 {
		e, err := s.next()
		if err != nil {
			t.Fatalf("%q: %v", e.text, err)
		}
		events = append(events, e)
	}
	return s, events
}

// SIGTERM and Ctrl-C: no longer ready, what is open ends whole, exit code 0.
func TestShutdownLetsStreamsEnd(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			const tokens = 40
			g := startDemo(t)
			s, events := begun(t, storyOf(g, tokens, 25*time.Millisecond))
			waiting := make(chan answer, 1)
			go func() {
				a, _ := do(request{url: g.url + "/infer/python", body: promptBody("while it ends"),
					header: map[string]string{"X-Sim-Latency": "400ms"}})
				waiting <- a
			}()
			g.signal(t, sig)
			eventually(t, patience, "/readyz is 503", func() bool { return g.ready() == 503 })
			// A load balancer needs a moment to notice; until then its requests are answered.
			ready := ask(t, request{url: g.url + "/readyz"})
			if ready.status != 503 || !strings.Contains(string(ready.body), "draining") || !ready.closes {
				t.Errorf("/readyz: %v %v", ready, ready.header)
			}
			if live := ask(t, request{url: g.url + "/livez"}); live.status != 200 {
				t.Errorf("/livez: %v", live)
			}
			late := ask(t, request{url: g.url + "/infer?prompt=late"})
			if err := late.echo("late", "sim-python"); err != nil || !late.closes {
				t.Errorf("a late request: %v %v", err, late.header)
			}
			if err := (<-waiting).echo("while it ends", "sim-python"); err != nil {
				t.Errorf("a request under way: %v", err)
			}
			events = append(events, s.mustRest(t)...)
			// the role, the tokens, the reason, [DONE]
			if len(events) != tokens+3 {
				t.Errorf("%d events, want %d", len(events), tokens+3)
			}
			if code := g.exit(t, 2*time.Second); code != 0 {
				t.Errorf("exit code %d", code)
			}
			if took := time.Since(events[len(events)-1].at); took > time.Second {
				t.Errorf("the gateway ended %v after its last stream", took)
			}
		})
	}
}

// The same with the real backends.
func TestShutdownWithRealStream(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, g *gateway, b *backend) {
		words := strings.Repeat("word ", 30)
		s, events := begun(t, request{url: g.url + "/v1/chat/completions", body: chatBody(b.model, words)})
		g.signal(t, syscall.SIGTERM)
		events = append(events, s.mustRest(t)...)
		if text := content(t, events); text != "echo: "+words {
			t.Errorf("the stream is %q", text)
		}
		if code := g.exit(t, 2*time.Second); code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
}

// An idle gateway ends within a second, whatever connections there are.
func TestShutdownWhenIdle(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			g := startDemo(t)
			addr := fmt.Sprintf("127.0.0.1:%d", g.port)
			c := newClient()
			defer c.CloseIdleConnections()
			for _, path := range []string{"/livez", "/infer?prompt=x"} { // leaves a connection idle, here and to the backend
				if a, err := (request{url: g.url + path}).by(c); err != nil || a.status != 200 {
					t.Fatalf("%v %v", a, err)
				}
			}
			silent, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer silent.Close()
			// The gateway must know that connection before the signal. It accepts in order.
			ask(t, request{url: g.url + "/livez"})
			begin := time.Now()
			g.signal(t, sig)
			if code := g.exit(t, patience); code != 0 {
				t.Errorf("exit code %d", code)
			}
			if took := time.Since(begin); took > time.Second {
				t.Errorf("the idle gateway took %v to end", took)
			}
		})
	}
}

// A second signal ends at once, whatever is open.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	for _, sigs := range [][2]syscall.Signal{{syscall.SIGTERM, syscall.SIGTERM}, {syscall.SIGINT, syscall.SIGINT}, {syscall.SIGTERM, syscall.SIGINT}} {
		t.Run(fmt.Sprint(sigs[0], " ", sigs[1]), func(t *testing.T) {
			t.Parallel()
			g := startDemo(t)
			s, _ := begun(t, storyOf(g, 100000, 20*time.Millisecond))
			g.signal(t, sigs[0])
			eventually(t, patience, "/readyz is 503", func() bool { return g.ready() == 503 })
			begin := time.Now()
			g.signal(t, sigs[1])
			if code := g.exit(t, patience); code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			if took := time.Since(begin); took > time.Second {
				t.Errorf("the second signal took %v to end it", took)
			}
			if _, err := s.rest(); err == nil {
				t.Error("the stream ends as if whole")
			}
		})
	}
}

// What is open beyond the grace is reset: its client must not take it for whole.
func TestShutdownGraceEnds(t *testing.T) {
	t.Parallel()
	const grace = 700 * time.Millisecond
	g := startDemo(t, "SHUTDOWN_GRACE="+grace.String())
	s, _ := begun(t, storyOf(g, 100000, 20*time.Millisecond))
	plain, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", g.port))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	// A client of HTTP/1.0 knows no chunks. Only a reset tells it that the stream is not whole.
	r := storyOf(g, 100000, 20*time.Millisecond)
	fmt.Fprintf(plain, "POST /v1/chat/completions HTTP/1.0\r\nHost: a\r\nX-Sim-Tokens: 100000\r\nContent-Length: %d\r\n\r\n%s", len(r.body), r.body)
	if _, err := io.ReadAtLeast(plain, make([]byte, 500), 500); err != nil {
		t.Fatal(err)
	}
	ends, plainEnds := make(chan error, 1), make(chan error, 1)
	go func() { _, err := s.rest(); ends <- err }()
	go func() { _, err := io.Copy(io.Discard, plain); plainEnds <- err }()
	begin := time.Now()
	g.signal(t, syscall.SIGTERM)
	if err := <-ends; err == nil {
		t.Error("a stream that was cut ends as if whole")
	}
	if err := <-plainEnds; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a stream without chunks that was cut ends with %v", err)
	}
	if code := g.exit(t, patience); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(begin); took < grace || took > grace+2*time.Second {
		t.Errorf("the gateway took %v to end, the grace is %v", took, grace)
	}
}
