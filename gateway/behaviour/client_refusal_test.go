package behaviour

import (
	"strings"
	"testing"
	"time"

	"aigateway/gateway/testkit"
)

// A request that nobody answers is refused before its body is read.
func TestClientRefusalsDoNotWaitForBodies(t *testing.T) {
	up := testkit.StartRecorder(t)
	g := startGateway(t, "PY_SERVICE_URL="+up.URL)
	t.Run("small, kept", func(t *testing.T) {
		c := g.Dial()
		for _, line := range []string{"POST /nowhere", "DELETE /infer/python", "POST /healthz", "POST /v1/x"} {
			c.Send("%s HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", line)
			m := c.ReadResponse() // without a byte of the body
			if m.Status() != 404 && m.Status() != 405 || m.Field("Connection") == "close" {
				t.Fatalf("%s: %q, Connection %q, %v", line, m.First, m.Field("Connection"), m.Err)
			}
			c.Send("GET /")
		}
		c.Send(" HTTP/1.1\r\nHost: a\r\n\r\n") // those were bodies
		if m := c.ReadResponse(); m.Status() != 400 {
			t.Errorf("%q %v", m.First, m.Err)
		}
	})
	for _, head := range []string{"Content-Length: 1000000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"} {
		c := g.Dial()
		c.Send("POST /nowhere HTTP/1.1\r\nHost: a\r\n%s", head)
		c.Refused(t, head, 404)
	}
	if n := up.Connections(); n > 0 {
		t.Errorf("the upstream saw %q", testkit.Firsts(up.Whole()))
	}
}

// A client that sends all of its body before it reads can still read the refusal.
func TestClientRefusalIsReadable(t *testing.T) {
	g := startGateway(t)
	for _, size := range []int{70 << 10, 400 << 10, 900 << 10} {
		c := g.Dial()
		c.Send("POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", size)
		c.Send("%s", strings.Repeat("x", size))
		if m := c.ReadResponse(); m.Status() != 404 {
			t.Errorf("%d bytes: %q %v", size, m.First, m.Err)
		}
	}
}

// What a client sends behind its last request does not cost it the answer: closing with unread bytes would
// be a reset, which overtakes what is still on its way.
func TestClientBytesBehindTheLastRequest(t *testing.T) {
	t.Parallel()
	body := strings.Repeat("x", 1<<20)
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for c.ReadRequest().Err == nil {
			c.Send("%s", testkit.Answer(body))
		}
	})
	g := startGateway(t, "PY_SERVICE_URL="+up.URL)
	for _, behind := range []string{"\r\n", "GET /infer/python HTTP/1.1\r\nHost: a\r\n\r\n"} {
		c := g.DialNarrow(8 << 10)
		c.Send("POST /infer/python HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\n")
		time.Sleep(5 * time.Millisecond) // so that the rest is not read with the head, as a rule
		c.Send("hello%s", behind)
		testkit.Eventually(t, "the gateway is done", func() bool { return up.Connections() > 0 && g.Parts().Open == 0 })
		time.Sleep(20 * time.Millisecond) // until it has closed the connection
		if m := c.ReadResponse(); m.Err != nil || len(m.Body) != len(body) {
			t.Errorf("%q behind: %q, %d of %d bytes, %v", behind, m.First, len(m.Body), len(body), m.Err)
		}
	}
}
