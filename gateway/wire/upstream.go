package wire

import (
	"errors"
	"net"
	"time"
)

// An UpstreamConn is a connection to an upstream, pooled between requests by fasthttp.HostClient. It is used
// by one goroutine at a time, apart from [UpstreamConn.Interrupt].
type UpstreamConn struct {
	socket
	reads, writes rollingDeadline
	used          bool
}

// Upstream makes a function that connects to upstreams, for fasthttp.HostClient.
func Upstream(dial func(addr string) (net.Conn, error)) func(addr string) (net.Conn, error) {
	return func(addr string) (net.Conn, error) {
		conn, err := dial(addr)
		if err != nil {
			return nil, err
		}
		return &UpstreamConn{socket: socket{Conn: conn, fd: descriptor(conn)}}, nil
	}
}

// Used tells whether a request has gone out on this connection before.
func (c *UpstreamConn) Used() bool { return c.used }

// Stale tells whether the connection must not be used again: between two requests an upstream has nothing to
// say, so bytes that are there belong to nobody, and an end is an end. One system call, and none before the
// first request.
func (c *UpstreamConn) Stale() bool { return c.used && c.readable() }

// Send writes p and returns how much of it the kernel took; an upstream that takes no byte for the idle
// time ends it.
func (c *UpstreamConn) Send(p []byte, idle time.Duration) (int, error) {
	c.used = true
	return c.writes.write(&c.socket, p, idle)
}

// Receive reads into p, waiting at most the given time.
func (c *UpstreamConn) Receive(p []byte, wait time.Duration) (int, error) {
	if err := c.reads.extend(Now(), wait, c.Conn.SetReadDeadline); err != nil {
		return 0, err
	}
	// Looked at after the deadline is set: an interruption in between has set its own, which is lost now.
	if c.interrupted.Load() {
		return 0, net.ErrClosed
	}
	return c.Conn.Read(p)
}

// CloseWrite ends what is sent to the upstream, and leaves open what comes from it.
func (c *UpstreamConn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}
