package wire

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"time"
)

// An UpstreamConn is a connection to an upstream, pooled between requests by its owner. It is used by one
// goroutine at a time, apart from [UpstreamConn.Interrupt].
type UpstreamConn struct {
	socket
	To netip.AddrPort // where it leads, for its owner; wire does not look at it

	used  bool
	quiet *quietConn // below TLS; nil without
}

// NewUpstream makes an UpstreamConn of a connection to an upstream.
func NewUpstream(conn net.Conn) *UpstreamConn {
	return &UpstreamConn{socket: socket{Conn: conn, fd: descriptor(conn), direct: newDirect(conn)}}
}

// NewUpstreamTLS makes an UpstreamConn that speaks TLS over conn. The handshake is the caller's:
// [UpstreamConn.TLS].
func NewUpstreamTLS(conn net.Conn, settings *tls.Config) *UpstreamConn {
	quiet := &quietConn{Conn: conn, fd: descriptor(conn)}
	c := NewUpstream(tls.Client(quiet, settings))
	c.fd, c.sealed, c.quiet = quiet.fd, true, quiet
	return c
}

// TLS is the connection's TLS layer, nil if it has none.
func (c *UpstreamConn) TLS() *tls.Conn {
	t, _ := c.Conn.(*tls.Conn)
	return t
}

// Used tells whether a request has gone out on this connection before.
func (c *UpstreamConn) Used() bool { return c.used }

// Stale tells whether the connection must not be used again: between two requests an upstream has nothing to
// say, so bytes that are there are no part of a response, and an end is an end. One system call, and none before the
// first request.
//
// Under TLS, bytes that are there may be a session ticket, which says nothing (RFC 8446 §4.6.1), and bytes
// that are no part of a response may have been taken from the kernel with the response before them. So TLS is asked.
func (c *UpstreamConn) Stale() bool {
	if !c.used || c.quiet == nil {
		return c.used && c.readable()
	}
	c.quiet.on = true
	n, err := c.Conn.Read(c.peek[:])
	c.quiet.on = false
	return n > 0 || err != error(errNothing)
}

// Send writes p and returns how much of it the kernel took; an upstream that takes no byte for the idle
// time ends it.
func (c *UpstreamConn) Send(p []byte, idle time.Duration) (int, error) {
	c.used = true
	return c.writes.write(&c.socket, p, idle)
}

// Offer is Send of as much as the upstream takes at once, and returns how much that is: perhaps nothing, as under TLS. Why it is not more,
// Send will tell.
func (c *UpstreamConn) Offer(p []byte, idle time.Duration) int {
	n, _, _ := c.writes.offer(&c.socket, p, idle)
	return n
}

// ErrUnasked is why [UpstreamConn.Receive] brings nothing when it has not sent all of what [UpstreamConn.Ask] gave it.
var ErrUnasked = errors.New("wire: the request has not been sent, or not all of it")

// Ask has the next Receive send p, which it borrows until then, before it waits, and call sent once the kernel has all of it: one system
// call less than Send and Receive make. If Receive returns [ErrUnasked], what became of p is told by [UpstreamConn.Unasked]. It
// returns false if there is no such way, as under TLS.
func (c *UpstreamConn) Ask(p []byte, sent func()) bool {
	if !c.Looks() || !c.direct.later(p, c.used, sent) {
		return false
	}
	c.used = true
	return true
}

// Looks tells whether Ask can be used. It sees for itself whether the connection is stale.
func (c *UpstreamConn) Looks() bool { return c.direct != nil && c.below == nil }

// Unasked returns what is left to be sent of what Ask was given, which is forgotten; or that nothing was sent, because the connection
// was [UpstreamConn.Stale].
func (c *UpstreamConn) Unasked() (rest []byte, stale bool) { return c.direct.unasked() }

// Receive reads into p, waiting at most the given time.
func (c *UpstreamConn) Receive(p []byte, wait time.Duration) (int, error) {
	return c.receive(Place{p: p}, wait)
}

// ReceiveInto is Receive to a place. If that is a [Late] one, its buffer is there if bytes are; else it may be.
func (c *UpstreamConn) ReceiveInto(to Place, wait time.Duration) (int, error) {
	return c.receive(to, wait)
}

// ReceiveEach is ReceiveInto again and again, and has got look at the n bytes that have come, until it wants no more; nil is
// returned then. Got must not close the connection. A reset that comes with the last bytes may be noticed only by [Watch.Guard].
func (c *UpstreamConn) ReceiveEach(to Place, wait time.Duration, got func(n int) (more bool)) error {
	if c.direct != nil {
		return c.direct.each(&c.socket, to, wait, got)
	}
	for {
		n, err := c.receive(to, wait)
		switch {
		case n > 0: // an error that comes with bytes comes again
			if !got(n) {
				return nil
			}
		case err != nil:
			return err
		}
	}
}

// Untaken tells, when the peer has ended the connection in order, whether it had done so before it got a byte of the last n that were
// sent: its end would have acknowledged them. (A reset acknowledges nothing.) It is not known under TLS, nor everywhere.
func (c *UpstreamConn) Untaken(n int) bool { return c.quiet == nil && n > 0 && unsent(c.fd) >= n }

// WasReset tells whether the peer has reset the connection, also when that was told already: to a write, after which a read finds an end
// like any other. Under TLS there is no need to ask: there an end is the peer's word. It is not known everywhere.
func (c *UpstreamConn) WasReset() bool { return c.quiet == nil && wasReset(c.fd) }

// CloseWrite ends what is sent to the upstream, and leaves open what comes from it.
func (c *UpstreamConn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}
