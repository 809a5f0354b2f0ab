package behaviour

import (
	"aigateway/gateway/server"
	"aigateway/gateway/testkit"
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"aigateway/gateway/config"
)

// A stepper is an upstream whose streams the test leads by the hand.
type stepper struct {
	*testkit.Upstream
	begun chan *testkit.Peer // one for each request, once its head has been sent
	end   chan struct{}
}

// startStepper starts a stepper whose answers begin with that head.
func startStepper(t *testing.T, head string) *stepper {
	s := &stepper{begun: make(chan *testkit.Peer, 16), end: make(chan struct{})}
	s.Upstream = testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		if c.ReadRequest().Err != nil {
			return
		}
		c.Send("%s", head)
		s.begun <- c
		<-s.end
	})
	t.Cleanup(func() { close(s.end) })
	return s
}

// shutdownNow begins a shutdown and returns a channel that gets its result.
func (g *testGateway) shutdownNow(grace time.Duration) <-chan int {
	done := make(chan int, 1)
	go func() { done <- g.End(grace) }()
	return done
}

// ended waits for a shutdown.
func ended(t *testing.T, done <-chan int, within time.Duration) (cut int) {
	t.Helper()
	select {
	case cut = <-done:
	case <-time.After(within):
		t.Fatalf("the shutdown takes more than %v", within)
	}
	return cut
}

const chunkedHead = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n"

// While a stream is open, a gateway that shuts down says that it is not ready, serves who still comes, closes
// behind each answer, and lets the stream end.
func TestClientShutdownDrains(t *testing.T) {
	up := startStepper(t, chunkedHead)
	g := startGateway(t, "PY_SERVICE_URL="+up.URL)
	g.Do("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
	idle, fresh, stream := g.Dial(), g.Dial(), g.Dial()
	idle.Send("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
	idle.ReadResponse()
	stream.Send("GET /infer/python HTTP/1.1\r\nHost: a\r\n\r\n")
	if m := stream.ReadHead(); m.Status() != 200 {
		t.Fatalf("%q %v", m.First, m.Err)
	}
	upstream := <-up.begun
	done := g.shutdownNow(testkit.Patience)
	testkit.Eventually(t, "/readyz says no", func() bool {
		m := g.Do("GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")
		return m.Status() == 503 && m.Field("Connection") == "close" && strings.Contains(m.Body, "draining")
	})
	for _, path := range []string{"/livez", "/healthz", "/limited", "/nowhere"} {
		c := g.Dial()
		c.Send("GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path)
		if m := c.ReadResponse(); m.Status() == 0 || m.Field("Connection") != "close" || !c.Closed() {
			t.Errorf("%s on a new connection: %q, Connection %q, %v", path, m.First, m.Field("Connection"), m.Err)
		}
	}
	idle.Send("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n") // it did not know
	if m := idle.ReadResponse(); m.Status() != 200 || m.Field("Connection") != "close" || !idle.Closed() {
		t.Errorf("an old connection: %q, Connection %q, %v", m.First, m.Field("Connection"), m.Err)
	}
	select {
	case <-done:
		t.Fatal("the shutdown did not wait for the stream")
	default:
	}
	upstream.Send("3\r\ntwo\r\n0\r\n\r\n")
	if body, err := stream.ReadChunks(); string(body) != "onetwo" || err != nil {
		t.Errorf("the stream ended as %q, %v", body, err)
	}
	if !stream.Closed() || !fresh.Closed() {
		t.Error("a connection stays open")
	}
	if cut := ended(t, done, 20*time.Second); cut != 0 {
		t.Errorf("%d connections were cut", cut)
	}
}

// Connections on which nothing is under way do not delay the end.
func TestClientShutdownOfIdleConnections(t *testing.T) {
	t.Parallel()
	for range 10 { // there is a race to lose
		g := startGateway(t)
		g.Do("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
		var clients []*testkit.Peer
		for range 5 {
			idle := g.Dial()
			idle.Send("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
			idle.ReadResponse()
			clients = append(clients, idle)
		}
		for range 20 {
			clients = append(clients, g.Dial()) // that never says a word
		}
		if cut := ended(t, g.shutdownNow(testkit.Patience), 20*time.Second); cut != 0 {
			t.Errorf("%d connections were cut", cut)
		}
		for _, c := range clients {
			if !c.Closed() {
				t.Error("a connection stays open")
			}
		}
	}
}

// The answer to a request with another one behind it is not lost.
func TestClientShutdownWithPipelinedRequests(t *testing.T) {
	t.Parallel()
	up := startStepper(t, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n")
	g := startGateway(t, "PY_SERVICE_URL="+up.URL)
	g.Do("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n") // it serves
	c := g.Dial()
	c.Send("GET /infer/python?1 HTTP/1.1\r\nHost: a\r\n\r\nGET /infer/python?2 HTTP/1.1\r\nHost: a\r\n\r\n")
	upstream := <-up.begun
	done := g.shutdownNow(testkit.Patience)
	testkit.Eventually(t, "the gateway drains", func() bool { return g.Parts().Draining })
	upstream.Send("one")
	m := c.ReadResponse()
	if m.Body != "one" {
		t.Errorf("%q, body %q, %v", m.First, m.Body, m.Err)
	}
	// Its head went out after the shutdown had begun.
	if m.Field("Connection") != "close" || !c.Closed() {
		t.Errorf("Connection is %q while draining, and the connection is used for the next request", m.Field("Connection"))
		return
	}
	ended(t, done, 20*time.Second)
}

// What is open beyond the grace is reset, so that nobody takes it for whole, and the shutdown ends.
func TestClientShutdownCuts(t *testing.T) {
	t.Parallel()
	const get11, get10 = "GET /infer/python HTTP/1.1\r\nHost: a\r\n\r\n", "GET /infer/python HTTP/1.0\r\nHost: a\r\n\r\n"
	for _, c := range []struct{ name, request, head string }{
		{"stream", get11, chunkedHead},
		{"stream, HTTP/1.0", get10, chunkedHead},
		{"until close", get11, "HTTP/1.1 200 OK\r\n\r\none"},
		{"until close, HTTP/1.0", get10, "HTTP/1.0 200 OK\r\n\r\none"},
		{"length", get11, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\none"},
		{"waiting for the answer", get11, ""},
		{"half an answer", get11, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\none"},
		{"upload", "POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\nabc", "-"},
		{"body", "POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc", "-"},
	} {
		t.Run(c.name, func(t *testing.T) {
			up := startStepper(t, c.head)
			g := startGateway(t, "PY_SERVICE_URL="+up.URL)
			client := g.Dial()
			client.Send("%s", c.request)
			switch {
			case c.head == "-":
				testkit.Eventually(t, "the request is open", func() bool { return g.Parts().Open == 1 })
			default:
				<-up.begun
			}
			if strings.Contains(c.name, "stream") || strings.HasPrefix(c.name, "until") || c.name == "length" {
				if m := client.ReadHead(); m.Status() != 200 {
					t.Fatalf("%q %v", m.First, m.Err)
				}
			}
			// The upstream says nothing more: nobody but the shutdown can end this.
			if cut := ended(t, g.shutdownNow(50*time.Millisecond), 20*time.Second); cut != 1 {
				t.Errorf("%d connections were cut", cut)
			}
			_ = client.SetReadDeadline(time.Now().Add(2 * time.Second))
			if !client.HasReset() {
				t.Error("the client's connection was not reset")
			}
			if n := g.Parts().Open; n != 0 {
				t.Errorf("%d requests are under way behind the shutdown", n)
			}
		})
	}
}

// A signal that comes before the first connection ends the gateway as well.
func TestClientShutdownBeforeServe(t *testing.T) {
	s, _, err := config.Load(config.Input{})
	if err != nil {
		t.Fatal(err)
	}
	g, err := server.New(s, server.Options{Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	g.Shutdown(ctx)
	served := make(chan error, 1)
	go func() { served <- g.Serve(ln) }()
	select {
	case err := <-served:
		if err != nil {
			t.Errorf("Serve returned %v", err)
		}
	case <-time.After(2 * time.Second):
		t.Error("Serve serves a gateway that was shut down")
		ln.Close()
		<-served
	}
}

// lastWord is the time for which a gateway whose socket another process has waits for clients that stay silent.
const lastWord = 5 * time.Second

// A gateway whose socket another process has lets clients that are silent have a last word, and ends with the last
// of them.
func TestClientShutdownAfterLeave(t *testing.T) {
	t.Parallel()
	g := startGateway(t)
	idle, silent := g.Dial(), g.Dial()
	idle.Send("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
	idle.ReadResponse()
	testkit.Eventually(t, "both are accepted", func() bool { return g.Parts().Listener.Open() == 2 })
	g.Leave()
	if c, err := net.Dial("tcp", g.Addr); err == nil {
		c.Close()
		t.Error("it accepts connections")
	}
	done := g.shutdownNow(testkit.Patience)
	testkit.Eventually(t, "the gateway drains", func() bool { return g.Parts().Draining })
	time.Sleep(100 * time.Millisecond) // in which nothing may happen
	for _, c := range []*testkit.Peer{idle, silent} {
		c.Send("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
		if m := c.ReadResponse(); m.Status() != 200 || m.Field("Connection") != "close" || !c.Closed() {
			t.Errorf("%q, Connection %q, %v", m.First, m.Field("Connection"), m.Err)
		}
	}
	if cut := ended(t, done, lastWord); cut != 0 {
		t.Errorf("%d connections were cut", cut)
	}
}
