package behaviour

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"aigateway/gateway/testkit"
)

// A client that leaves takes its upstream request with it, within a second, wherever that is.
func TestClientLeaves(t *testing.T) {
	const events = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n"
	for _, phase := range []struct{ name, sent string }{
		{"before the answer", ""},
		{"after an interim answer", "HTTP/1.1 103 Early Hints\r\n\r\n"},
		{"inside the head", "HTTP/1.1 200 OK\r\nX-A"},
		{"inside a short body", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"},
		{"inside events", events},
		{"inside chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"},
		{"inside a large body", "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nabc"},
	} {
		for _, how := range []string{"fin", "rst", "half", "fin behind a request", "rst behind a request", "fin behind half a request"} {
			t.Run(phase.name+"/"+how, func(t *testing.T) {
				t.Parallel()
				testkit.EachWay(t, func(t *testing.T, method string, second bool) {
					there, ended := make(chan struct{}), make(chan time.Time, 1)
					up, seen := testkit.StartOdd(t, func(c *testkit.Peer, _ testkit.Message) bool {
						c.Send("%s", phase.sent)
						close(there)
						if !c.Closed() {
							t.Error("the upstream's connection was not closed")
						}
						ended <- time.Now()
						return false
					})
					g := startGateway(t, "PY_SERVICE_URL="+up.URL)
					c := g.client(second)
					behind := ""
					switch {
					case strings.HasSuffix(how, "half a request"):
						behind = "GET /infer/python?behind HT"
					case strings.HasSuffix(how, "a request"):
						behind = testkit.Ask(method, "behind")
					}
					c.Send("%s", testkit.Ask(method, "odd")+behind)
					<-there
					if phase.sent == events {
						c.ReadHead()
						c.ReadChunk()
					}
					begun := time.Now()
					switch how[:3] {
					case "fin":
						c.Close()
					case "rst":
						c.Abort()
					case "hal":
						c.Conn.(interface{ CloseWrite() error }).CloseWrite()
					}
					if d := (<-ended).Sub(begun); d > time.Second {
						t.Errorf("the upstream was let go after %v", d)
					}
					testkit.Eventually(t, "the gateway is idle", g.idle)
					if how == "half" {
						c.Close()
					}
					testkit.Eventually(t, "the client's connection is closed", func() bool { return g.Parts().Clients == 0 })
					if seen.Of("odd") != 1 || seen.Of("behind") != 0 {
						t.Errorf("sent %d times, the request behind %d times", seen.Of("odd"), seen.Of("behind"))
					}
					wantOwn(t, g, g.Dial(), method, "next")
				})
			})
		}
	}
}

// The same while the request's body goes up: the upstream never sees its end.
func TestClientLeavesInsideAnUpload(t *testing.T) {
	const size = 1 << 20
	for _, framing := range []string{"length", "chunked"} {
		for _, sent := range []int{10, 100000, 500000} {
			for _, how := range []string{"fin", "rst"} {
				t.Run(fmt.Sprintf("%s/%d/%s", framing, sent, how), func(t *testing.T) {
					t.Parallel()
					whole := make(chan bool, 1)
					up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) { whole <- c.ReadRequest().Err == nil })
					g := startGateway(t, "PY_SERVICE_URL="+up.URL, unheld)
					c := g.Dial()
					body := strings.Repeat("x", sent)
					if framing == "length" {
						c.Send("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", size, body)
					} else {
						c.Send("POST /infer/python HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", sent, body)
					}
					reaches := sent > 64<<10 // else more of the body is awaited first
					if reaches {
						testkit.Eventually(t, "the upstream has the request", func() bool { return up.Connections() == 1 })
					}
					begun := time.Now()
					if how == "fin" {
						c.Close()
					} else {
						c.Abort()
					}
					if reaches {
						if <-whole {
							t.Error("the upstream takes a cut request for whole")
						}
						testkit.WantQuick(t, "letting the upstream go", begun, time.Second)
					}
					testkit.Eventually(t, "the gateway is idle", g.idle)
					testkit.Eventually(t, "the client's connection is closed", func() bool { return g.Parts().Clients == 0 })
					if !reaches && up.Connections() != 0 {
						t.Error("a request that never was whole reached the upstream")
					}
				})
			}
		}
	}
}

// A client that leaves while the upstream has stopped reading its body.
func TestClientLeavesAStalledUpload(t *testing.T) {
	t.Parallel()
	ended := make(chan time.Time, 1)
	left := make(chan struct{})
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		c.ReadHead()
		<-left
		// The end is behind what the kernel holds.
		c.R.WriteTo(discard{})
		ended <- time.Now()
	})
	g := startGateway(t, "PY_SERVICE_URL="+up.URL, "MAX_BODY_BYTES=1000000000")
	c := g.Dial()
	stalled := make(chan struct{})
	go func() {
		defer close(stalled)
		fmt.Fprintf(c.Conn, "POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 900000000\r\n\r\n")
		for {
			_ = c.Conn.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
			if _, err := c.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	}()
	<-stalled
	begun := time.Now()
	c.Abort()
	close(left)
	if d := (<-ended).Sub(begun); d > time.Second {
		t.Errorf("the upstream was let go after %v", d)
	}
	testkit.Eventually(t, "the gateway is idle", g.idle)
}
