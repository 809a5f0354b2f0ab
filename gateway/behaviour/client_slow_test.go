package behaviour

import (
	"strings"
	"testing"
	"time"

	"aigateway/gateway/testkit"
)

// The rest of a head that came with the request before has its own time, whatever that request took.
func TestClientHeadBegunEarly(t *testing.T) {
	t.Parallel()
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for c.ReadRequest().Err == nil {
			time.Sleep(700 * time.Millisecond) // longer than the time of the body's deadline
			c.Send("%s", testkit.Answer("x"))
		}
	})
	g := startGateway(t, "PY_SERVICE_URL="+up.URL, "IDLE_TIMEOUT=500ms")
	begin := func() (c *testkit.Peer, m testkit.Message) {
		c = g.Dial()
		c.Send("%s", chunkedPost)
		time.Sleep(10 * time.Millisecond)
		c.Send("0\r\n\r\nGET /infer/python HT")
		return c, c.ReadResponse()
	}
	c, m := begin()
	for chance := 1; m.Status() == 408 && chance < 5; chance++ { // a machine that stands still makes this client one that does
		c, m = begin()
	}
	if m.Status() != 200 {
		t.Fatalf("%q %v", m.First, m.Err)
	}
	time.Sleep(10 * time.Millisecond)
	c.Send("TP/1.1\r\nHost: a\r\n\r\n")
	if m := c.ReadResponse(); m.Status() != 200 {
		t.Errorf("the request that was begun early: %q %v", m.First, m.Err)
	}
}

// A client that stops reading is ended after the idle time, and its upstream's connection with it.
func TestClientStopsReading(t *testing.T) {
	t.Parallel()
	piece := strings.Repeat("x", 32<<10)
	for _, head := range []string{"Transfer-Encoding: chunked", "Content-Length: 1000000000"} {
		ended := make(chan time.Time, 1)
		up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
			c.ReadRequest()
			c.Send("HTTP/1.1 200 OK\r\n%s\r\n\r\n", head)
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
		c := g.DialNarrow(8 << 10)
		c.Send("GET /infer/python HTTP/1.1\r\nHost: a\r\n\r\n")
		if m := c.ReadHead(); m.Status() != 200 {
			t.Fatalf("%q %v", m.First, m.Err)
		}
		select {
		case <-ended:
		case <-time.After(testkit.Patience):
			t.Fatal("the upstream's connection stays open")
		}
		testkit.Eventually(t, "the request has ended", func() bool { return g.Parts().Open == 0 })
		if m := c.ReadBody(testkit.Message{First: "HTTP/1.1 200 OK", Head: head + "\r\n"}, true); m.Err == nil {
			t.Errorf("%s: the client got an answer that looks whole, %d bytes", head, len(m.Body))
		}
	}
}

// A head within its limit costs little, whatever is in it.
func TestClientExpensiveHead(t *testing.T) {
	up := testkit.StartRecorder(t)
	g := startGateway(t, "PY_SERVICE_URL="+up.URL)
	best := testkit.Patience
	for range 5 {
		begin := time.Now()
		m := g.Do("GET /infer/python HTTP/1.1\r\nHost: a\r\nConnection: " + strings.Repeat("z,", 3900) + "\r\n" + strings.Repeat("a:\r\n", 1990) + "\r\n")
		if m.Status() != 200 && m.Status() != 400 {
			t.Fatalf("%q %v", m.First, m.Err)
		}
		best = min(best, time.Since(begin))
	}
	// Linear work takes less than a millisecond, under the race detector some ten.
	if best > 60*time.Millisecond {
		t.Errorf("16 KB of header take %v", best)
	}
}
