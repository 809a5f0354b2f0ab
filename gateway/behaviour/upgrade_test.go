package behaviour

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"aigateway/gateway/testkit"
)

// startEcho starts a WebSocket server that sends back each message until it is told to close.
func startEcho(t *testing.T) *testkit.Upstream {
	return testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		m := c.ReadRequest()
		if m.Field("Upgrade") != "websocket" || m.Field("Connection") != "Upgrade" || m.Field("Sec-WebSocket-Version") != "13" {
			t.Errorf("the upstream is asked\n%s\n%s", m.First, m.Head)
		}
		c.Send("%s", testkit.Granted(m))
		for {
			opcode, payload, err := c.ReadFrame()
			if err != nil {
				return
			}
			if opcode == testkit.PingFrame {
				opcode = testkit.PongFrame
			}
			c.SendFrame(opcode, payload, false)
			if opcode == testkit.CloseFrame {
				return
			}
		}
	})
}

// A WebSocket behind the gateway is one, over TLS too.
func TestUpgradeEcho(t *testing.T) {
	t.Parallel()
	up := startEcho(t)
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprint("tls=", secure), func(t *testing.T) {
			env := []string{"PY_SERVICE_URL=" + up.URL}
			cert := newTestCert(t, "gateway.example")
			if secure {
				env = append(env, cert.environ()...)
			}
			g := startGateway(t, env...)
			c := g.Dial()
			if secure {
				c = c.Over(cert.client(t))
			}
			if m := c.Upgrade("/infer/python?a=b"); m.Field("X-Request-ID") == "" || m.Field("Via") == "" {
				t.Errorf("the answer's head\n%s", m.Head)
			}
			big := make([]byte, 1<<20)
			rand.Read(big)
			for _, f := range []struct {
				opcode  byte
				payload []byte
			}{{testkit.TextFrame, []byte("hello")}, {testkit.BinaryFrame, big}, {testkit.TextFrame, nil}, {testkit.PingFrame, []byte("there?")}, {testkit.BinaryFrame, big[:65536]}} {
				go c.SendFrame(f.opcode, f.payload, true)
				want := f.opcode
				if want == testkit.PingFrame {
					want = testkit.PongFrame
				}
				opcode, payload, err := c.ReadFrame()
				if err != nil || opcode != want || !bytes.Equal(payload, f.payload) {
					t.Fatalf("frame %d of %d bytes comes back as %d, %d bytes, %v", f.opcode, len(f.payload), opcode, len(payload), err)
				}
			}
			metrics := func() testkit.Message { return g.metricsOver(c, secure, cert) }
			if m := metrics(); !strings.Contains(m.Body, "websocket_tunnels 1\n") || !strings.Contains(m.Body, "websocket_tunnels_total 1\n") {
				t.Errorf("the metrics do not count the tunnel")
			}
			c.SendFrame(testkit.CloseFrame, []byte{3, 232}, true)
			if opcode, payload, err := c.ReadFrame(); opcode != testkit.CloseFrame || len(payload) != 2 || err != nil {
				t.Errorf("the end: %d, %q, %v", opcode, payload, err)
			}
			if rest, err := c.Rest(); rest != "" || err != nil {
				t.Errorf("behind the end: %q, %v", rest, err)
			}
			c.Close()
			testkit.Eventually(t, "the tunnel is gone", func() bool { open, _ := g.Parts().Proxy.Tunnels(); return open == 0 && g.idle() })
			for _, line := range []string{`http_requests_total{route="/infer/python",method="GET",code="101"} 1`, "websocket_tunnels 0"} {
				if m := metrics(); !strings.Contains(m.Body, line+"\n") {
					t.Errorf("the metrics lack %s", line)
				}
			}
		})
	}
}

func (g *testGateway) metricsOver(_ *testkit.Peer, secure bool, cert *testCert) testkit.Message {
	c := g.Dial()
	if secure {
		c = c.Over(cert.client(g.T))
	}
	defer c.Close()
	c.Send("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
	return c.ReadResponse()
}

// What either side sends with its head gets through.
func TestUpgradeEarlyBytes(t *testing.T) {
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		m := c.ReadRequest()
		c.Send("%sserver first", testkit.Granted(m))
		b := make([]byte, len("client first"))
		if _, err := io.ReadFull(c.R, b); err != nil || string(b) != "client first" {
			t.Errorf("the upstream got %q, %v", b, err)
		}
		c.Send(" and last")
	})
	g := startGateway(t, "PY_SERVICE_URL="+up.URL)
	c := g.Dial()
	c.Send("%sclient first", testkit.WsRequest("/infer/python"))
	if m := c.ReadHead(); m.Status() != 101 {
		t.Fatalf("%q, %v", m.First, m.Err)
	}
	_ = c.SetReadDeadline(time.Now().Add(testkit.Patience))
	b := make([]byte, len("server first and last"))
	if _, err := io.ReadFull(c.R, b); err != nil || string(b) != "server first and last" {
		t.Errorf("%q, %v", b, err)
	}
}

// An upstream that grants nothing gives an ordinary answer, on connections that go on.
func TestUpgradeRefused(t *testing.T) {
	t.Parallel()
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for c.ReadRequest().Err == nil {
			c.Send("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nno")
		}
	})
	g := startGateway(t, "PY_SERVICE_URL="+up.URL)
	c := g.Dial()
	for range 2 {
		c.Send("%s", testkit.WsRequest("/infer/python"))
		if m := c.ReadResponse(); m.Status() != 426 || m.Body != "no" || m.Field("Upgrade") != "" {
			t.Errorf("%q, body %q, %v\n%s", m.First, m.Body, m.Err, m.Head)
		}
	}
	if n := up.Connections(); n != 1 {
		t.Errorf("%d connections to the upstream", n)
	}
	if _, ever := g.Parts().Proxy.Tunnels(); ever != 0 {
		t.Errorf("%d tunnels", ever)
	}
}

// A 101 that grants something else, or was not asked for, is a broken answer, and nothing behind it reaches a client.
func TestUpgradeBroken(t *testing.T) {
	t.Parallel()
	f := func(name, request, head string) {
		t.Run(name, func(t *testing.T) {
			up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
				c.ReadRequest()
				c.Send("%s", head+"\r\nstray")
				c.Closed()
			})
			g := startGateway(t, "PY_SERVICE_URL="+up.URL)
			testkit.WantFault(t, g.Do(request), 502, "bad_upstream_response", false)
		})
	}
	const line = "HTTP/1.1 101 Switching Protocols\r\n"
	ws := testkit.WsRequest("/infer/python")
	f("no Upgrade", ws, line+"Connection: Upgrade\r\n")
	f("no Connection", ws, line+"Upgrade: websocket\r\n")
	f("another protocol", ws, line+"Connection: Upgrade\r\nUpgrade: h2c\r\n")
	f("two protocols", ws, line+"Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n")
	f("HTTP/1.0", ws, "HTTP/1.0 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n")
	f("not asked for", testkit.Ask("GET", "x"), line+"Connection: Upgrade\r\nUpgrade: websocket\r\n")
}

// Whatever does not ask for WebSocket as RFC 6455 has it is an ordinary request, without its Upgrade.
func TestUpgradeNotAsked(t *testing.T) {
	up := testkit.StartRecorder(t)
	g := startGateway(t, "PY_SERVICE_URL="+up.URL)
	f := func(name, request string) {
		t.Helper()
		up.Reset()
		if m := g.Do(request); m.Status() != 200 {
			t.Errorf("%s: %q, %v", name, m.First, m.Err)
			return
		}
		for _, m := range up.Whole() {
			if m.Field("Upgrade") != "" || m.Field("Connection") != "" || m.Field("HTTP2-Settings") != "" {
				t.Errorf("%s: the upstream is asked\n%s", name, m.Head)
			}
		}
	}
	get := "GET /infer/python HTTP/1.1\r\nHost: a\r\n"
	f("h2c", get+"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n")
	f("a list", get+"Connection: Upgrade\r\nUpgrade: h2c, websocket\r\n\r\n")
	f("two fields", get+"Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n\r\n")
	f("twice", get+"Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: websocket\r\n\r\n")
	f("no Connection", get+"Upgrade: websocket\r\n\r\n")
	f("a version", get+"Connection: Upgrade\r\nUpgrade: websocket/13\r\n\r\n")
	f("HTTP/1.0", "GET /infer/python HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	f("POST", "POST /infer/python HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n")
	f("a body", get+"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\nx")
}

// One side's end reaches the other, which may still speak.
func TestUpgradeHalfClose(t *testing.T) {
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		c.Send("%s", testkit.Granted(c.ReadRequest()))
		all, err := c.Rest()
		c.Send("got %q %v", all, err)
	})
	g := startGateway(t, "PY_SERVICE_URL="+up.URL)
	c := g.Dial()
	c.Upgrade("/infer/python")
	c.Send("question")
	c.CloseWrite()
	if all, err := c.Rest(); all != `got "question" <nil>` || err != nil {
		t.Errorf("%q, %v", all, err)
	}
}

// A side that goes without a word takes the other with it.
func TestUpgradeAborted(t *testing.T) {
	ended := make(chan bool, 1)
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		c.Send("%s", testkit.Granted(c.ReadRequest()))
		if b, _ := c.R.ReadByte(); b == 'x' {
			c.Abort()
			return
		}
		ended <- true
	})
	g := startGateway(t, "PY_SERVICE_URL="+up.URL)
	c := g.Dial()
	c.Upgrade("/infer/python")
	c.Abort()
	select {
	case <-ended:
	case <-time.After(testkit.Patience):
		t.Error("the upstream's connection stays open")
	}
	c = g.Dial()
	c.Upgrade("/infer/python")
	c.Send("x")
	if !c.HasReset() {
		t.Error("the client's connection is not reset")
	}
	testkit.Eventually(t, "both tunnels are gone", func() bool { open, _ := g.Parts().Proxy.Tunnels(); return open == 0 })
}

// Silence in both directions ends a tunnel after the idle time; words in one of them keep it.
func TestUpgradeIdle(t *testing.T) {
	t.Parallel()
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		c.Send("%s", testkit.Granted(c.ReadRequest()))
		_, _ = io.Copy(io.Discard, c.R) // it only listens
	})
	const idle = 400 * time.Millisecond
	g := startGateway(t, "PY_SERVICE_URL="+up.URL, "IDLE_TIMEOUT="+idle.String())
	var c *testkit.Peer
	var last time.Time
	tunnels := func() int64 {
		open, _ := g.Parts().Proxy.Tunnels()
		return open
	}
	testkit.Eventually(t, "the machine lets one speak without a pause as long as the idle time", func() bool {
		if c != nil {
			c.Close()
			testkit.Eventually(t, "the tunnel before is gone", func() bool { return tunnels() == 0 })
		}
		c = g.Dial()
		c.Upgrade("/infer/python")
		longest := time.Duration(0)
		last = time.Now()
		for begin := last; time.Since(begin) < 3*idle; last = time.Now() {
			time.Sleep(idle / 8)
			c.Send("x")
			longest = max(longest, time.Since(last))
		}
		return longest < idle
	})
	if tunnels() != 1 {
		t.Error("a tunnel in which a side speaks was ended")
	}
	if _, err := c.R.ReadByte(); err == nil || os.IsTimeout(err) {
		t.Errorf("a silent tunnel: %v", err)
	}
	if d := time.Since(last); d < idle {
		t.Errorf("a tunnel was ended after %v of silence", d)
	}
}

// A shutdown waits for tunnels as long as the grace, and then cuts them.
func TestUpgradeShutdown(t *testing.T) {
	for _, grace := range []time.Duration{50 * time.Millisecond, testkit.Patience} {
		up := startEcho(t)
		g := startGateway(t, "PY_SERVICE_URL="+up.URL)
		c := g.Dial()
		c.Upgrade("/infer/python")
		done := g.shutdownNow(grace)
		if grace < time.Second {
			if cut := ended(t, done, 20*time.Second); cut != 1 || !c.HasReset() {
				t.Errorf("%d connections were cut", cut)
			}
			continue
		}
		testkit.Eventually(t, "the gateway drains", func() bool { return g.Parts().Draining })
		c.SendFrame(testkit.TextFrame, []byte("still there?"), true)
		if _, payload, err := c.ReadFrame(); string(payload) != "still there?" {
			t.Errorf("%q, %v", payload, err)
		}
		c.SendFrame(testkit.CloseFrame, nil, true)
		c.Rest()
		c.Close()
		if cut := ended(t, done, 20*time.Second); cut != 0 {
			t.Errorf("%d connections were cut", cut)
		}
	}
}
