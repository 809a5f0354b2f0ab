package testkit

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A peer is one end of a connection that speaks bytes: a scripted client or upstream.
type Peer struct {
	net.Conn
	t testing.TB
	R *bufio.Reader
}

func NewPeer(t testing.TB, conn net.Conn) *Peer {
	_ = conn.SetDeadline(time.Now().Add(Patience))
	return &Peer{Conn: conn, t: t, R: bufio.NewReaderSize(conn, 64<<10)}
}

// Send writes the bytes. From here on there is time again: Patience is for one exchange, not for all of a connection.
func (p *Peer) Send(format string, args ...any) {
	_ = p.SetDeadline(time.Now().Add(Patience))
	s := format
	if len(args) > 0 {
		s = fmt.Sprintf(format, args...)
	}
	if _, err := io.WriteString(p.Conn, s); err != nil {
		p.t.Logf("send: %v", err)
	}
}

// More sends, and tells whether the other end may still want it.
func (p *Peer) More(s string) bool {
	_, err := p.Conn.Write([]byte(s))
	return err == nil
}

// Over puts TLS on a client's connection.
func (p *Peer) Over(config *tls.Config) *Peer {
	p.t.Helper()
	conn := tls.Client(p.Conn, config)
	if err := conn.Handshake(); err != nil {
		p.t.Fatalf("handshake: %v", err)
	}
	return NewPeer(p.t, conn)
}

// ReadHead reads a first line and field lines.
func (p *Peer) ReadHead() (m Message) {
	line, err := p.R.ReadString('\n')
	m.First = strings.TrimRight(line, "\r\n")
	if err != nil {
		m.Err = err
		return m
	}
	for {
		line, err := p.R.ReadString('\n')
		if err != nil {
			m.Err = err
			return m
		}
		if line == "\r\n" {
			return m
		}
		m.Head += line
	}
}

// ReadRequest reads a request with its body, by its own framing.
func (p *Peer) ReadRequest() Message { return p.ReadBody(p.ReadHead(), false) }

// ReadResponse reads a response with its body, by its own framing; toHEAD if it answers a HEAD.
func (p *Peer) ReadResponse(toHEAD ...bool) Message {
	m := p.ReadHead()
	for m.Err == nil && m.Status() >= 100 && m.Status() < 200 {
		m = p.ReadHead()
	}
	if m.Err != nil || len(toHEAD) > 0 && toHEAD[0] || m.Status() == 204 || m.Status() == 304 {
		return m
	}
	return p.ReadBody(m, true)
}

// ReadInterim reads the 1xx before an answer, first lines only, and the answer.
func (c *Peer) ReadInterim() (before []Message, m Message) {
	for m = c.ReadHead(); m.Err == nil && m.Status() >= 100 && m.Status() < 200; m = c.ReadHead() {
		before = append(before, m)
	}
	return before, c.ReadBody(m, true)
}

func (p *Peer) ReadBody(m Message, response bool) Message {
	if m.Err != nil {
		return m
	}
	var body []byte
	switch {
	case strings.EqualFold(m.Field("Transfer-Encoding"), "chunked"):
		body, m.Err = p.ReadChunks()
	case m.Field("Content-Length") != "":
		var n int
		fmt.Sscanf(m.Field("Content-Length"), "%d", &n)
		body = make([]byte, n)
		var got int
		got, m.Err = io.ReadFull(p.R, body)
		body = body[:got]
	case response:
		body, m.Err = io.ReadAll(p.R)
		m.Closed = true
	}
	m.Body = string(body)
	return m
}

// ReadChunks decodes a body in chunks, strictly.
func (p *Peer) ReadChunks() (body []byte, err error) {
	for {
		line, err := p.R.ReadString('\n')
		if err != nil {
			return body, io.ErrUnexpectedEOF
		}
		var n int
		if _, err := fmt.Sscanf(line, "%x\r\n", &n); err != nil {
			return body, fmt.Errorf("bad chunk size %q", line)
		}
		chunk := make([]byte, n+2)
		if got, err := io.ReadFull(p.R, chunk); err != nil {
			return append(body, chunk[:min(got, n)]...), io.ErrUnexpectedEOF
		}
		if string(chunk[n:]) != "\r\n" {
			return body, fmt.Errorf("bad chunk end %q", chunk[n:])
		}
		if body = append(body, chunk[:n]...); n == 0 {
			return body, nil
		}
	}
}

// ReadChunk reads one chunk of a body.
func (p *Peer) ReadChunk() (string, error) {
	line, err := p.R.ReadString('\n')
	if err != nil {
		return "", err
	}
	var n int
	if _, err := fmt.Sscanf(line, "%x\r\n", &n); err != nil {
		return "", fmt.Errorf("bad chunk size %q", line)
	}
	b := make([]byte, n+2)
	for got := 0; got < len(b); {
		k, err := p.R.Read(b[got:])
		if err != nil {
			return string(b[:got]), err
		}
		got += k
	}
	return string(b[:n]), nil
}

// Closed tells whether the other end closes now, in order or by reset, without a further byte.
func (p *Peer) Closed() bool {
	b, err := p.R.ReadByte()
	if err == nil {
		p.t.Logf("got byte %q instead of the end", b)
		return false
	}
	return !os.IsTimeout(err)
}

// Rest reads all bytes until the end of the connection.
func (p *Peer) Rest() (string, error) {
	b, err := io.ReadAll(p.R)
	return string(b), err
}

// HasReset tells whether the other end resets the connection now, and does not end it in order.
func (c *Peer) HasReset() bool {
	_, err := io.Copy(io.Discard, c.R)
	return err != nil && strings.Contains(err.Error(), syscall.ECONNRESET.Error())
}

// Silent tells whether nothing comes for the given time; what must not happen cannot be awaited otherwise.
func (c *Peer) Silent(d time.Duration) bool {
	_ = c.SetReadDeadline(time.Now().Add(d))
	defer c.SetDeadline(time.Now().Add(Patience))
	_, err := c.R.Peek(1)
	n, ok := err.(net.Error)
	return ok && n.Timeout()
}

// CloseWrite ends what the client sends, and leaves what it reads open.
func (c *Peer) CloseWrite() { _ = c.Conn.(*net.TCPConn).CloseWrite() }

// Abort resets the connection.
func (p *Peer) Abort() {
	_ = p.Conn.(*net.TCPConn).SetLinger(0)
	_ = p.Conn.Close()
}

// Linger0 makes Close reset the connection.
func Linger0(c *Peer) { _ = c.Conn.(*net.TCPConn).SetLinger(0) }
