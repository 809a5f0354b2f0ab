package server

import (
	"encoding/json"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"aigateway/gateway/config"
)

// Helpers of the tests of the client's side.

// A recorder is an upstream that answers every request with its own first line and keeps what it saw.
type recorder struct {
	*scripted
	mu   sync.Mutex
	seen []message
	cut  []message // requests that began and never became whole
}

// startRecorder starts a recorder.
func startRecorder(t *testing.T) *recorder {
	r := &recorder{}
	r.scripted = startUpstream(t, func(n int, c *peer) {
		for {
			m := c.readRequest()
			r.mu.Lock()
			switch {
			case m.err == nil:
				r.seen = append(r.seen, m)
			case m.first != "":
				r.cut = append(r.cut, m)
			}
			r.mu.Unlock()
			if m.err != nil {
				return
			}
			if strings.HasPrefix(m.first, "HEAD ") {
				c.send("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(m.first))
				continue
			}
			c.send("%s", answer(m.first))
		}
	})
	return r
}

// whole are the whole requests seen so far.
func (r *recorder) whole() []message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]message(nil), r.seen...)
}

// broken are the requests seen so far that ended before they were whole.
func (r *recorder) broken() []message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]message(nil), r.cut...)
}

// reset forgets what was seen.
func (r *recorder) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen, r.cut = nil, nil
}

// firsts are the first lines of messages.
func firsts(ms []message) (list []string) {
	for _, m := range ms {
		list = append(list, m.first)
	}
	return list
}

// refused checks a refusal: the status, the gateway's JSON and the end of the connection.
func (c *peer) refused(t *testing.T, what string, status int) message {
	t.Helper()
	m := c.readResponse()
	if m.err != nil || m.status() != status {
		t.Errorf("%s: status %d (%q, %v), want %d", what, m.status(), m.first, m.err, status)
		return m
	}
	checkFault(t, what, m, false)
	if m.field("Connection") != "close" {
		t.Errorf("%s: Connection is %q, want close", what, m.field("Connection"))
	}
	if !c.closed() {
		t.Errorf("%s: the connection stays open", what)
	}
	return m
}

// checkFault checks the shape of an error: the gateway's, or OpenAI's.
func checkFault(t *testing.T, what string, m message, openAI bool) {
	t.Helper()
	var body struct {
		Error struct {
			Message, Type, Code string
			Param               *json.RawMessage
		}
		RequestID string `json:"request_id"`
	}
	d := json.NewDecoder(strings.NewReader(m.body))
	if err := d.Decode(&body); err != nil {
		t.Errorf("%s: the body %q is not JSON: %v", what, m.body, err)
		return
	}
	if body.Error.Message == "" || body.Error.Type == "" || body.Error.Code == "" {
		t.Errorf("%s: the error lacks a part: %q", what, m.body)
	}
	if got := strings.Contains(m.body, `"param":null`); got != openAI {
		t.Errorf("%s: OpenAI's shape is %v, want %v: %q", what, got, openAI, m.body)
	}
	if !openAI && (body.RequestID == "" || body.RequestID != m.field("X-Request-ID")) {
		t.Errorf("%s: request_id is %q, X-Request-ID %q", what, body.RequestID, m.field("X-Request-ID"))
	}
	if ct := m.field("Content-Type"); ct != "application/json" {
		t.Errorf("%s: Content-Type is %q", what, ct)
	}
	for _, leak := range []string{"127.0.0.1", "goroutine", "dial", "fasthttp", "EOF"} {
		if strings.Contains(m.body, leak) {
			t.Errorf("%s: the error tells %q: %q", what, leak, m.body)
		}
	}
}

// hasReset tells whether the other end resets the connection now, and does not end it in order.
func (c *peer) hasReset() bool {
	_, err := io.Copy(io.Discard, c.r)
	return err != nil && strings.Contains(err.Error(), syscall.ECONNRESET.Error())
}

// silent tells whether nothing comes for the given time; what must not happen cannot be awaited otherwise.
func (c *peer) silent(d time.Duration) bool {
	_ = c.SetReadDeadline(time.Now().Add(d))
	defer c.SetDeadline(time.Now().Add(patience))
	_, err := c.r.Peek(1)
	n, ok := err.(net.Error)
	return ok && n.Timeout()
}

// dialNarrow connects a client with a small window, so that what it does not read stays with the gateway.
func (g *testGateway) dialNarrow(bytes int) *peer {
	g.t.Helper()
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) {
			_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, bytes)
		})
	}}
	conn, err := d.Dial("tcp", g.addr)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { conn.Close() })
	return newPeer(g.t, conn)
}

// closeWrite ends what the client sends, and leaves what it reads open.
func (c *peer) closeWrite() { _ = c.Conn.(*net.TCPConn).CloseWrite() }

// spin gives the gateway a moment to read what was sent before more comes. Nothing depends on whether it did.
func spin() { time.Sleep(200 * time.Microsecond) }

func itoa(n int) string { return strconv.Itoa(n) }

// linger0 makes Close reset the connection.
func linger0(c *peer) { _ = c.Conn.(*net.TCPConn).SetLinger(0) }

// settingsTrusting are settings of which only the trusted proxies matter.
func settingsTrusting(p []netip.Prefix) *config.Settings { return &config.Settings{TrustedProxies: p} }
