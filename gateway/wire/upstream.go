package wire

import (
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// An UpstreamConn is a connection to an upstream, pooled between requests by fasthttp.HostClient. It is used
// by one goroutine at a time, apart from [UpstreamConn.Interrupt].
type UpstreamConn struct {
	net.Conn
	fd            int
	poll          [1]unix.PollFd
	reads, writes rollingDeadline
	used          bool
	interrupted   atomic.Bool
}

// Upstream makes a function that connects to upstreams, for fasthttp.HostClient.
func Upstream(dial func(addr string) (net.Conn, error)) func(addr string) (net.Conn, error) {
	return func(addr string) (net.Conn, error) {
		conn, err := dial(addr)
		if err != nil {
			return nil, err
		}
		return &UpstreamConn{Conn: conn, fd: descriptor(conn)}, nil
	}
}

// Used tells whether a request has gone out on this connection before.
func (c *UpstreamConn) Used() bool { return c.used }

// Stale tells whether the connection must not be used again: between two requests an upstream has nothing to
// say, so bytes that are there belong to nobody, and an end is an end. One system call, and none before the
// first request.
func (c *UpstreamConn) Stale() bool {
	if !c.used || c.fd < 0 {
		return false
	}
	c.poll[0] = unix.PollFd{Fd: int32(c.fd), Events: unix.POLLIN | hangUp}
	n, _ := unix.Poll(c.poll[:], 0)
	return n != 0
}

// Send writes p and returns how much of it the kernel took; an upstream that takes no byte for the idle
// time ends it.
func (c *UpstreamConn) Send(p []byte, idle time.Duration) (int, error) {
	if err := c.writes.extend(time.Now(), idle, c.Conn.SetWriteDeadline); err != nil {
		return 0, err
	}
	if c.interrupted.Load() {
		return 0, net.ErrClosed
	}
	c.used = true
	return c.Conn.Write(p)
}

// Receive reads into p, waiting at most the given time.
func (c *UpstreamConn) Receive(p []byte, wait time.Duration) (int, error) {
	if err := c.reads.extend(time.Now(), wait, c.Conn.SetReadDeadline); err != nil {
		return 0, err
	}
	// Looked at after the deadline is set: an interruption in between has set its own, which is lost now.
	if c.interrupted.Load() {
		return 0, net.ErrClosed
	}
	return c.Conn.Read(p)
}

// Interrupt wakes whoever reads from or writes to the connection, which must then be closed. It may be
// called by any goroutine.
func (c *UpstreamConn) Interrupt() {
	c.interrupted.Store(true)
	_ = c.Conn.SetDeadline(longAgo)
}
