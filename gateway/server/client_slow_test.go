package server

import (
	"strings"
	"testing"
	"time"
)

// The rest of a head that came with the request before has its own time, whatever that request took.
func TestClientHeadBegunEarly(t *testing.T) {
	up := startUpstream(t, func(_ int, c *peer) {
		for c.readRequest().err == nil {
			time.Sleep(300 * time.Millisecond) // longer than the time of the body's deadline
			c.send("%s", answer("x"))
		}
	})
	g := startGateway(t, "PY_SERVICE_URL="+up.URL, "IDLE_TIMEOUT=100ms")
	c := g.dial()
	c.send("%s", chunkedPost)
	time.Sleep(10 * time.Millisecond)
	c.send("0\r\n\r\nGET /infer/python HT")
	if m := c.readResponse(); m.status() != 200 {
		t.Fatalf("%q %v", m.first, m.err)
	}
	time.Sleep(10 * time.Millisecond)
	c.send("TP/1.1\r\nHost: a\r\n\r\n")
	if m := c.readResponse(); m.status() != 200 {
		t.Errorf("the request that was begun early: %q %v", m.first, m.err)
	}
}

// A client that stops reading is ended after the idle time, and its upstream's connection with it.
func TestClientStopsReading(t *testing.T) {
	piece := strings.Repeat("x", 32<<10)
	for _, head := range []string{"Transfer-Encoding: chunked", "Content-Length: 1000000000"} {
		ended := make(chan time.Time, 1)
		up := startUpstream(t, func(_ int, c *peer) {
			c.readRequest()
			c.send("HTTP/1.1 200 OK\r\n%s\r\n\r\n", head)
			for {
				out := piece
				if strings.HasPrefix(head, "T") {
					out = "8000\r\n" + piece + "\r\n"
				}
				if _, err := c.Write([]byte(out)); err != nil {
					break
				}
			}
			ended <- time.Now()
		})
		g := startGateway(t, "PY_SERVICE_URL="+up.URL, "IDLE_TIMEOUT=300ms")
		c := g.dialNarrow(8 << 10)
		c.send("GET /infer/python HTTP/1.1\r\nHost: a\r\n\r\n")
		if m := c.readHead(); m.status() != 200 {
			t.Fatalf("%q %v", m.first, m.err)
		}
		select {
		case <-ended:
		case <-time.After(patience):
			t.Fatal("the upstream's connection stays open")
		}
		eventually(t, "the request has ended", func() bool { return g.open[0].Load() == 0 })
		if m := c.readBody(message{first: "HTTP/1.1 200 OK", head: head + "\r\n"}, true); m.err == nil {
			t.Errorf("%s: the client got an answer that looks whole, %d bytes", head, len(m.body))
		}
	}
}

// A head within its limit costs little, whatever is in it.
func TestClientExpensiveHead(t *testing.T) {
	up := startRecorder(t)
	g := startGateway(t, "PY_SERVICE_URL="+up.URL)
	best := patience
	for range 5 {
		begin := time.Now()
		m := g.do("GET /infer/python HTTP/1.1\r\nHost: a\r\nConnection: " + strings.Repeat("z,", 3900) + "\r\n" + strings.Repeat("a:\r\n", 1990) + "\r\n")
		if m.status() != 200 && m.status() != 400 {
			t.Fatalf("%q %v", m.first, m.err)
		}
		best = min(best, time.Since(begin))
	}
	// Linear work takes less than a millisecond, under the race detector some ten.
	if best > 60*time.Millisecond {
		t.Errorf("16 KB of header take %v", best)
	}
}
