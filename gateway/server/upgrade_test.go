package server

import (
	"bytes"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

// Frames of RFC 6455 §5.2, without extensions and fragments.
const (
	textFrame   = 1
	binaryFrame = 2
	closeFrame  = 8
	pingFrame   = 9
	pongFrame   = 10
)

// sendFrame sends one frame; what a client sends is masked.
func (p *peer) sendFrame(opcode byte, payload []byte, masked bool) {
	b := []byte{0x80 | opcode, 0}
	switch n := len(payload); {
	case n < 126:
		b[1] = byte(n)
	case n < 1<<16:
		b[1] = 126
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b[1] = 127
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	at := len(b)
	if masked {
		b[1] |= 0x80
		b = append(b, "mask"...)
		at += 4
	}
	b = append(b, payload...)
	for i := range payload {
		if masked {
			b[at+i] ^= "mask"[i%4]
		}
	}
	if _, err := p.Write(b); err != nil {
		p.t.Logf("send a frame: %v", err)
	}
}

// readFrame reads one frame.
func (p *peer) readFrame() (opcode byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(p.r, head[:]); err != nil {
		return 0, nil, err
	}
	n := uint64(head[1] & 0x7f)
	var long [8]byte
	switch n {
	case 126:
		_, err = io.ReadFull(p.r, long[6:])
		n = binary.BigEndian.Uint64(long[:])
	case 127:
		_, err = io.ReadFull(p.r, long[:])
		n = binary.BigEndian.Uint64(long[:])
	}
	var mask [4]byte
	if head[1]&0x80 != 0 && err == nil {
		_, err = io.ReadFull(p.r, mask[:])
	}
	if err != nil {
		return 0, nil, err
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(p.r, payload)
	for i := range payload {
		payload[i] ^= mask[i%4]
	}
	return head[0] & 0x0f, payload, err
}

// acceptOf is what a server makes of a client's key: RFC 6455 §4.2.2.
func acceptOf(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

const wsKey = "dGhlIHNhbXBsZSBub25jZQ=="

// wsRequest asks for a WebSocket at a path.
func wsRequest(path string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n" +
		"Sec-WebSocket-Key: " + wsKey + "\r\nSec-WebSocket-Version: 13\r\n\r\n"
}

// granted is the head with which a server grants it.
func granted(m message) string {
	return "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
		acceptOf(m.field("Sec-WebSocket-Key")) + "\r\n\r\n"
}

// startEcho starts a WebSocket server that sends back each message until it is told to close.
func startEcho(t *testing.T) *scripted {
	return startUpstream(t, func(_ int, c *peer) {
		m := c.readRequest()
		if m.field("Upgrade") != "websocket" || m.field("Connection") != "Upgrade" || m.field("Sec-WebSocket-Version") != "13" {
			t.Errorf("the upstream is asked\n%s\n%s", m.first, m.head)
		}
		c.send("%s", granted(m))
		for {
			opcode, payload, err := c.readFrame()
			if err != nil {
				return
			}
			if opcode == pingFrame {
				opcode = pongFrame
			}
			c.sendFrame(opcode, payload, false)
			if opcode == closeFrame {
				return
			}
		}
	})
}

// upgrade asks for a WebSocket and checks that it is granted.
func (p *peer) upgrade(path string) message {
	p.t.Helper()
	p.send("%s", wsRequest(path))
	m := p.readHead()
	if m.status() != 101 || m.field("Upgrade") != "websocket" || m.field("Connection") != "Upgrade" ||
		m.field("Sec-WebSocket-Accept") != acceptOf(wsKey) || len(m.fields("Upgrade")) != 1 {
		p.t.Fatalf("not granted: %q, %v\n%s", m.first, m.err, m.head)
	}
	return m
}

// A WebSocket behind the gateway is one, over TLS too.
func TestUpgradeEcho(t *testing.T) {
	up := startEcho(t)
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprint("tls=", secure), func(t *testing.T) {
			env := []string{"PY_SERVICE_URL=" + up.URL}
			cert := newTestCert(t, "gateway.example")
			if secure {
				env = append(env, cert.environ()...)
			}
			g := startGateway(t, env...)
			c := g.dial()
			if secure {
				c = c.over(cert.client(t))
			}
			if m := c.upgrade("/infer/python?a=b"); m.field("X-Request-ID") == "" || m.field("Via") == "" {
				t.Errorf("the answer's head\n%s", m.head)
			}
			big := make([]byte, 1<<20)
			rand.Read(big)
			for _, f := range []struct {
				opcode  byte
				payload []byte
			}{{textFrame, []byte("hello")}, {binaryFrame, big}, {textFrame, nil}, {pingFrame, []byte("there?")}, {binaryFrame, big[:65536]}} {
				go c.sendFrame(f.opcode, f.payload, true)
				want := f.opcode
				if want == pingFrame {
					want = pongFrame
				}
				opcode, payload, err := c.readFrame()
				if err != nil || opcode != want || !bytes.Equal(payload, f.payload) {
					t.Fatalf("frame %d of %d bytes comes back as %d, %d bytes, %v", f.opcode, len(f.payload), opcode, len(payload), err)
				}
			}
			metrics := func() message { return g.metricsOver(c, secure, cert) }
			if m := metrics(); !strings.Contains(m.body, "websocket_tunnels 1\n") || !strings.Contains(m.body, "websocket_tunnels_total 1\n") {
				t.Errorf("the metrics do not count the tunnel")
			}
			c.sendFrame(closeFrame, []byte{3, 232}, true)
			if opcode, payload, err := c.readFrame(); opcode != closeFrame || len(payload) != 2 || err != nil {
				t.Errorf("the end: %d, %q, %v", opcode, payload, err)
			}
			if rest, err := c.rest(); rest != "" || err != nil {
				t.Errorf("behind the end: %q, %v", rest, err)
			}
			c.Close()
			eventually(t, "the tunnel is gone", func() bool { open, _ := g.proxy.Tunnels(); return open == 0 && g.idle() })
			for _, line := range []string{`http_requests_total{route="/infer/python",method="GET",code="101"} 1`, "websocket_tunnels 0"} {
				if m := metrics(); !strings.Contains(m.body, line+"\n") {
					t.Errorf("the metrics lack %s", line)
				}
			}
		})
	}
}

func (g *testGateway) metricsOver(_ *peer, secure bool, cert *testCert) message {
	c := g.dial()
	if secure {
		c = c.over(cert.client(g.t))
	}
	defer c.Close()
	c.send("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
	return c.readResponse()
}

// What either side sends with its head gets through.
func TestUpgradeEarlyBytes(t *testing.T) {
	up := startUpstream(t, func(_ int, c *peer) {
		m := c.readRequest()
		c.send("%sserver first", granted(m))
		b := make([]byte, len("client first"))
		if _, err := io.ReadFull(c.r, b); err != nil || string(b) != "client first" {
			t.Errorf("the upstream got %q, %v", b, err)
		}
		c.send(" and last")
	})
	g := startGateway(t, "PY_SERVICE_URL="+up.URL)
	c := g.dial()
	c.send("%sclient first", wsRequest("/infer/python"))
	if m := c.readHead(); m.status() != 101 {
		t.Fatalf("%q, %v", m.first, m.err)
	}
	_ = c.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, len("server first and last"))
	if _, err := io.ReadFull(c.r, b); err != nil || string(b) != "server first and last" {
		t.Errorf("%q, %v", b, err)
	}
}

// An upstream that grants nothing gives an ordinary answer, on connections that go on.
func TestUpgradeRefused(t *testing.T) {
	up := startUpstream(t, func(_ int, c *peer) {
		for c.readRequest().err == nil {
			c.send("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nno")
		}
	})
	g := startGateway(t, "PY_SERVICE_URL="+up.URL)
	c := g.dial()
	for range 2 {
		c.send("%s", wsRequest("/infer/python"))
		if m := c.readResponse(); m.status() != 426 || m.body != "no" || m.field("Upgrade") != "" {
			t.Errorf("%q, body %q, %v\n%s", m.first, m.body, m.err, m.head)
		}
	}
	if n := up.connections(); n != 1 {
		t.Errorf("%d connections to the upstream", n)
	}
	if _, ever := g.proxy.Tunnels(); ever != 0 {
		t.Errorf("%d tunnels", ever)
	}
}

// A 101 that grants something else, or was not asked for, is a broken answer, and nothing behind it reaches a client.
func TestUpgradeBroken(t *testing.T) {
	f := func(name, request, head string) {
		t.Run(name, func(t *testing.T) {
			up := startUpstream(t, func(_ int, c *peer) {
				c.readRequest()
				c.send("%s", head+"\r\nstray")
				c.closed()
			})
			g := startGateway(t, "PY_SERVICE_URL="+up.URL)
			wantFault(t, g.do(request), 502, "bad_upstream_response", false)
		})
	}
	const line = "HTTP/1.1 101 Switching Protocols\r\n"
	ws := wsRequest("/infer/python")
	f("no Upgrade", ws, line+"Connection: Upgrade\r\n")
	f("no Connection", ws, line+"Upgrade: websocket\r\n")
	f("another protocol", ws, line+"Connection: Upgrade\r\nUpgrade: h2c\r\n")
	f("two protocols", ws, line+"Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n")
	f("HTTP/1.0", ws, "HTTP/1.0 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n")
	f("not asked for", ask("GET", "x"), line+"Connection: Upgrade\r\nUpgrade: websocket\r\n")
}

// Whatever does not ask for WebSocket as RFC 6455 has it is an ordinary request, without its Upgrade.
func TestUpgradeNotAsked(t *testing.T) {
	up := startRecorder(t)
	g := startGateway(t, "PY_SERVICE_URL="+up.URL)
	f := func(name, request string) {
		t.Helper()
		up.reset()
		if m := g.do(request); m.status() != 200 {
			t.Errorf("%s: %q, %v", name, m.first, m.err)
			return
		}
		for _, m := range up.whole() {
			if m.field("Upgrade") != "" || m.field("Connection") != "" || m.field("HTTP2-Settings") != "" {
				t.Errorf("%s: the upstream is asked\n%s", name, m.head)
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
	up := startUpstream(t, func(_ int, c *peer) {
		c.send("%s", granted(c.readRequest()))
		all, err := c.rest()
		c.send("got %q %v", all, err)
	})
	g := startGateway(t, "PY_SERVICE_URL="+up.URL)
	c := g.dial()
	c.upgrade("/infer/python")
	c.send("question")
	c.closeWrite()
	if all, err := c.rest(); all != `got "question" <nil>` || err != nil {
		t.Errorf("%q, %v", all, err)
	}
}

// A side that goes without a word takes the other with it.
func TestUpgradeAborted(t *testing.T) {
	ended := make(chan bool, 1)
	up := startUpstream(t, func(_ int, c *peer) {
		c.send("%s", granted(c.readRequest()))
		if b, _ := c.r.ReadByte(); b == 'x' {
			c.abort()
			return
		}
		ended <- true
	})
	g := startGateway(t, "PY_SERVICE_URL="+up.URL)
	c := g.dial()
	c.upgrade("/infer/python")
	c.abort()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("the upstream's connection stays open")
	}
	c = g.dial()
	c.upgrade("/infer/python")
	c.send("x")
	if !c.hasReset() {
		t.Error("the client's connection is not reset")
	}
	eventually(t, "both tunnels are gone", func() bool { open, _ := g.proxy.Tunnels(); return open == 0 })
}

// Silence in both directions ends a tunnel after the idle time; words in one of them keep it.
func TestUpgradeIdle(t *testing.T) {
	up := startUpstream(t, func(_ int, c *peer) {
		c.send("%s", granted(c.readRequest()))
		_, _ = io.Copy(io.Discard, c.r) // it only listens
	})
	const idle = 400 * time.Millisecond
	g := startGateway(t, "PY_SERVICE_URL="+up.URL, "IDLE_TIMEOUT="+idle.String())
	c := g.dial()
	c.upgrade("/infer/python")
	longest, last := time.Duration(0), time.Now()
	for begin := last; time.Since(begin) < 3*idle; last = time.Now() {
		time.Sleep(idle / 8)
		c.send("x")
		longest = max(longest, time.Since(last))
	}
	if open, _ := g.proxy.Tunnels(); open != 1 && longest < idle {
		t.Error("a tunnel in which a side speaks was ended")
	}
	if _, err := c.r.ReadByte(); err == nil || os.IsTimeout(err) {
		t.Errorf("a silent tunnel: %v", err)
	}
	if d := time.Since(last); d < idle {
		t.Errorf("a tunnel was ended after %v of silence", d)
	}
}

// A shutdown waits for tunnels as long as the grace, and then cuts them.
func TestUpgradeShutdown(t *testing.T) {
	for _, grace := range []time.Duration{50 * time.Millisecond, patience} {
		up := startEcho(t)
		g := startGateway(t, "PY_SERVICE_URL="+up.URL)
		c := g.dial()
		c.upgrade("/infer/python")
		done := g.shutdownNow(grace)
		if grace < time.Second {
			if cut := ended(t, done, 3*time.Second); cut != 1 || !c.hasReset() {
				t.Errorf("%d connections were cut", cut)
			}
			continue
		}
		eventually(t, "the gateway drains", g.draining.Load)
		c.sendFrame(textFrame, []byte("still there?"), true)
		if _, payload, err := c.readFrame(); string(payload) != "still there?" {
			t.Errorf("%q, %v", payload, err)
		}
		c.sendFrame(closeFrame, nil, true)
		c.rest()
		c.Close()
		if cut := ended(t, done, 5*time.Second); cut != 0 {
			t.Errorf("%d connections were cut", cut)
		}
	}
}
