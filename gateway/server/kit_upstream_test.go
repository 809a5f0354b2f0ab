package server

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// Helpers of the tests in which the upstream misbehaves.

// ask is a request to the pool python that carries a name, in its query and, as a POST, in its body.
func ask(method, name string) string { return askAt("/infer/python", method, name) }

func askAt(path, method, name string) string {
	if method == "POST" {
		return fmt.Sprintf("POST %s?%s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", path, name, len(name), name)
	}
	return fmt.Sprintf("%s %s?%s HTTP/1.1\r\nHost: a\r\n\r\n", method, path, name)
}

// name is the name that a request carries.
func (m message) name() string {
	_, rest, _ := strings.Cut(m.first, "?")
	name, _, _ := strings.Cut(rest, " ")
	return name
}

// A tally counts requests by name.
type tally struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *tally) add(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = make(map[string]int)
	}
	c.n[name]++
}

func (c *tally) of(name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[name]
}

// startOdd starts an upstream that answers every request with its name, on connections that stay open, apart
// from the requests named "odd": odd does what it likes with those, and its connection is closed when it
// returns false. The tally counts what arrived.
func startOdd(t *testing.T, odd func(c *peer, r message) bool) (*scripted, *tally) {
	t.Helper()
	seen := &tally{}
	up := startUpstream(t, func(_ int, c *peer) {
		for {
			r := c.readRequest()
			if r.err != nil {
				return
			}
			seen.add(r.name())
			if r.name() != "odd" {
				c.send("%s", answer(r.name()))
			} else if !odd(c, r) {
				return
			}
		}
	})
	return up, seen
}

// eachWay runs a test for GET and POST, each as the first request of a client and as its second.
func eachWay(t *testing.T, do func(t *testing.T, method string, second bool)) {
	for _, method := range []string{"GET", "POST"} {
		for _, second := range []bool{false, true} {
			name := method + "/first"
			if second {
				name = method + "/second"
			}
			t.Run(name, func(t *testing.T) { do(t, method, second) })
		}
	}
}

// client connects a client; with second, it has had an answer already, so that it and the upstream's
// connection are used ones.
func (g *testGateway) client(second bool) *peer {
	g.t.Helper()
	g.t.Cleanup(g.settle) // after the clients have closed, before the shutdown
	c := g.dial()
	if second {
		c.send("%s", ask("GET", "warm"))
		if r := c.readResponse(); r.body != "warm" {
			g.t.Fatalf("the first request got %q, body %q, %v", r.first, r.body, r.err)
		}
	}
	return c
}

// abort resets the connection.
func (p *peer) abort() {
	_ = p.Conn.(*net.TCPConn).SetLinger(0)
	_ = p.Conn.Close()
}

// wantFault checks an answer of the gateway's own, in its shape or OpenAI's.
func wantFault(t *testing.T, m message, status int, code string, openAI bool) {
	t.Helper()
	if m.err != nil || m.status() != status || !strings.Contains(m.body, `"code":"`+code+`"`) {
		t.Errorf("got %q, body %q, %v; want %d %s", m.first, m.body, m.err, status, code)
		return
	}
	if m.field("Content-Type") != "application/json" || !strings.HasPrefix(m.body, `{"error":{"message":"`) {
		t.Errorf("not the shape of a fault: %q\n%s", m.head, m.body)
	}
	if own := strings.Contains(m.body, `"request_id":"`); own == openAI {
		t.Errorf("wrong shape of a fault (OpenAI %v): %s", openAI, m.body)
	}
	if strings.Contains(m.body, "127.0.0.1") {
		t.Errorf("the fault tells of an address: %s", m.body)
	}
}

// wantQuick checks that something took less than that.
func wantQuick(t *testing.T, what string, begun time.Time, most time.Duration) {
	t.Helper()
	if d := time.Since(begun); d > most {
		t.Errorf("%s took %v, want at most %v", what, d.Round(time.Millisecond), most)
	}
}

// readChunk reads one chunk of a body.
func (p *peer) readChunk() (string, error) {
	line, err := p.r.ReadString('\n')
	if err != nil {
		return "", err
	}
	var n int
	if _, err := fmt.Sscanf(line, "%x\r\n", &n); err != nil {
		return "", fmt.Errorf("bad chunk size %q", line)
	}
	b := make([]byte, n+2)
	for got := 0; got < len(b); {
		k, err := p.r.Read(b[got:])
		if err != nil {
			return string(b[:got]), err
		}
		got += k
	}
	return string(b[:n]), nil
}

// idle tells whether no request is under way in the gateway.
func (g *testGateway) idle() bool { return g.open[0].Load() == 0 && g.open[1].Load() == 0 }

// refusing is the URL of a port at which nobody listens.
func refusing(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return "http://" + ln.Addr().String()
}

// settle waits until the gateway has noticed that its clients have closed. fasthttp's shutdown looks for
// that ten times a second only, which a thousand small tests would feel.
func (g *testGateway) settle() {
	for end := time.Now().Add(time.Second); g.server.GetOpenConnectionsCount() > 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}
