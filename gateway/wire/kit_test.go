package wire

import (
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// The kit: connections that follow a script, pairs of real ones, and how fasthttp uses a ClientConn.

// patience bounds every wait of a test on real sockets.
const patience = 10 * time.Second

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// fasthttp keeps the clock of its Date field in a goroutine without an end.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
	)
}

// A scripted connection delivers pieces, one a Read, and then fails; it keeps what is written to it.
type scripted struct {
	net.Conn // nil: what a test does not expect panics
	pieces   [][]byte
	end      error // after the last piece; nil is io.EOF
	wrote    bytes.Buffer
	closed   bool
}

func (s *scripted) Read(p []byte) (int, error) {
	for len(s.pieces) > 0 && len(s.pieces[0]) == 0 {
		s.pieces = s.pieces[1:]
	}
	if len(s.pieces) == 0 {
		if s.end == nil {
			return 0, io.EOF
		}
		return 0, s.end
	}
	n := copy(p, s.pieces[0])
	s.pieces[0] = s.pieces[0][n:]
	return n, nil
}

func (s *scripted) Write(p []byte) (int, error)      { return s.wrote.Write(p) }
func (s *scripted) Close() error                     { s.closed = true; return nil }
func (s *scripted) SetDeadline(time.Time) error      { return nil }
func (s *scripted) SetReadDeadline(time.Time) error  { return nil }
func (s *scripted) SetWriteDeadline(time.Time) error { return nil }
func (s *scripted) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4711} }
func (s *scripted) LocalAddr() net.Addr              { return s.RemoteAddr() }

var testOptions = ClientOptions{HeadTimeout: 10 * time.Second, KeepAlive: time.Minute, Idle: 20 * time.Second}

// scriptedClient is a client that sends the pieces.
func scriptedClient(pieces ...string) (*ClientConn, *scripted) {
	s := &scripted{}
	for _, p := range pieces {
		s.pieces = append(s.pieces, []byte(p))
	}
	return Listen(nil, testOptions, nil).admit(s), s
}

// pipedClient is a client in memory, whose deadlines follow the clock of testing/synctest.
func pipedClient(t *testing.T, l *Listener) (c *ClientConn, client net.Conn) {
	t.Helper()
	far, near := net.Pipe()
	t.Cleanup(func() { _ = far.Close(); _ = near.Close() })
	return l.admit(near), far
}

// tcpPair is both ends of a connection over loopback.
func tcpPair(t testing.TB) (near, far *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close(); _ = server.Close() })
	for _, c := range []net.Conn{client, server} {
		_ = c.SetDeadline(time.Now().Add(patience))
	}
	return server.(*net.TCPConn), client.(*net.TCPConn)
}

// upstreamPair is a connection to an upstream, without a deadline, and the upstream's end of it.
func upstreamPair(t testing.TB) (u *UpstreamConn, far *net.TCPConn) {
	t.Helper()
	near, far := tcpPair(t)
	_ = near.SetDeadline(time.Time{})
	return NewUpstream(near), far
}

// tcpClient is a client over loopback.
func tcpClient(t testing.TB) (c *ClientConn, client *net.TCPConn) {
	t.Helper()
	near, far := tcpPair(t)
	return Listen(nil, testOptions, nil).admit(near), far
}

// upstreamOf is the gateway's end of a connection to an upstream.
func upstreamOf(conn net.Conn) *UpstreamConn {
	return &UpstreamConn{socket: socket{Conn: conn, fd: descriptor(conn)}}
}

// readHead reads one head as fasthttp does: until it sees the empty line. buf is fasthttp's buffer.
func readHead(c *ClientConn, buf []byte) (string, error) {
	var head []byte
	for !bytes.HasSuffix(head, headEnd) {
		n, err := c.Read(buf)
		head = append(head, buf[:n]...)
		if err != nil {
			return string(head), err
		}
		if n == 0 {
			return string(head), errors.New("Read returned 0, nil")
		}
	}
	return string(head), nil
}

// takeHead takes the head that was handed out, if it is that one.
func takeHead(c *ClientConn, head string) bool {
	if c.state != headGiven || len(head) != c.headLen {
		return false
	}
	c.TakeHead()
	return true
}

// mustTakeHead reads the next head, which has to be there, and scans it.
func mustTakeHead(t testing.TB, c *ClientConn) *RequestHead {
	t.Helper()
	head, err := readHead(c, make([]byte, 4096))
	if err != nil {
		t.Fatalf("no head: %q, %v", head, err)
	}
	if !takeHead(c, head) {
		t.Fatalf("TakeHead disagrees with %q", head)
	}
	var h RequestHead
	if v := scanRequest(&h, head); v != None {
		t.Fatalf("%q: %v", head, v)
	}
	return &h
}

// scanRequest scans a whole request head, cut as fasthttp does.
func scanRequest(h *RequestHead, head string) Violation {
	line, block, _ := strings.Cut(head, "\r\n")
	method, line, _ := strings.Cut(line, " ")
	target, proto, _ := strings.Cut(line, " ")
	return h.Scan([]byte(method), []byte(target), []byte(proto), []byte(block))
}

// readBody reads a body to its end through a buffer of the given size.
func readBody(c *ClientConn, size int) (string, error) {
	buf := make([]byte, size)
	var body []byte
	for {
		n, err := c.ReadBody(buf)
		body = append(body, buf[:n]...)
		if err == io.EOF {
			return string(body), nil
		}
		if err != nil {
			return string(body), err
		}
	}
}

// cut splits s at the given places.
func cut(s string, at ...int) []string {
	slices.Sort(at)
	var pieces []string
	from := 0
	for _, i := range at {
		i = min(max(i, from), len(s))
		pieces = append(pieces, s[from:i])
		from = i
	}
	return append(pieces, s[from:])
}

// each is s byte by byte.
func each(s string) []string { return strings.Split(s, "") }

// A recorder counts what is done to a connection's deadlines.
type recorder struct {
	net.Conn
	mu     sync.Mutex
	wakes  int // SetDeadline calls, which is how Interrupt works
	silent bool
}

func (r *recorder) SetDeadline(t time.Time) error {
	r.mu.Lock()
	r.wakes++
	r.mu.Unlock()
	if r.silent {
		return nil
	}
	return r.Conn.SetDeadline(t)
}

func (r *recorder) woken() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.wakes
}

// settle lets the goroutines of a bubble of testing/synctest end, whatever they sleep for.
func settle() { time.Sleep(24 * time.Hour) }

// eventually waits for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// within fails if f takes longer than d. It does not wait for an f that hangs.
func within(t testing.TB, d time.Duration, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(d):
		t.Fatalf("%s took longer than %v", what, d)
	}
}
