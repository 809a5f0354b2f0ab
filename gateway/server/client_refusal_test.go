package server

import (
	"strings"
	"testing"
	"time"
)

// A request that nobody answers is refused before its body is read.
func TestClientRefusalsDoNotWaitForBodies(t *testing.T) {
	up := startRecorder(t)
	g := startGateway(t, "PY_SERVICE_URL="+up.URL)
	t.Run("small, kept", func(t *testing.T) {
		c := g.dial()
		for _, line := range []string{"POST /nowhere", "DELETE /infer/python", "POST /healthz", "POST /v1/x"} {
			c.send("%s HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", line)
			m := c.readResponse() // without a byte of the body
			if m.status() != 404 && m.status() != 405 || m.field("Connection") == "close" {
				t.Fatalf("%s: %q, Connection %q, %v", line, m.first, m.field("Connection"), m.err)
			}
			c.send("GET /")
		}
		c.send(" HTTP/1.1\r\nHost: a\r\n\r\n") // those were bodies
		if m := c.readResponse(); m.status() != 400 {
			t.Errorf("%q %v", m.first, m.err)
		}
	})
	for _, head := range []string{"Content-Length: 1000000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"} {
		c := g.dial()
		c.send("POST /nowhere HTTP/1.1\r\nHost: a\r\n%s", head)
		c.refused(t, head, 404)
	}
	if n := up.connections(); n > 0 {
		t.Errorf("the upstream saw %q", firsts(up.whole()))
	}
}

// A client that sends all of its body before it reads can still read the refusal.
func TestClientRefusalIsReadable(t *testing.T) {
	g := startGateway(t)
	for _, size := range []int{70 << 10, 400 << 10, 900 << 10} {
		c := g.dial()
		c.send("POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", size)
		c.send("%s", strings.Repeat("x", size))
		if m := c.readResponse(); m.status() != 404 {
			t.Errorf("%d bytes: %q %v", size, m.first, m.err)
		}
	}
}

// What a client sends behind its last request does not cost it the answer: closing with unread bytes would
// be a reset, which overtakes what is still on its way.
func TestClientBytesBehindTheLastRequest(t *testing.T) {
	body := strings.Repeat("x", 1<<20)
	up := startUpstream(t, func(_ int, c *peer) {
		for c.readRequest().err == nil {
			c.send("%s", answer(body))
		}
	})
	g := startGateway(t, "PY_SERVICE_URL="+up.URL)
	for _, behind := range []string{"\r\n", "GET /infer/python HTTP/1.1\r\nHost: a\r\n\r\n"} {
		c := g.dialNarrow(8 << 10)
		c.send("POST /infer/python HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\n")
		time.Sleep(5 * time.Millisecond) // so that the rest is not read with the head, as a rule
		c.send("hello%s", behind)
		eventually(t, "the gateway is done", func() bool { return up.connections() > 0 && g.open[0].Load() == 0 })
		time.Sleep(20 * time.Millisecond) // until it has closed the connection
		if m := c.readResponse(); m.err != nil || len(m.body) != len(body) {
			t.Errorf("%q behind: %q, %d of %d bytes, %v", behind, m.first, len(m.body), len(body), m.err)
		}
	}
}
