package wire

import (
	"errors"
	"time"
)

// How a connection ends, when not by a plain close.
const (
	endPlain  = iota
	endLast   // the gateway ends it: linger if there is something unread, whose reset would overtake the reply
	endLinger // the client may still be sending: let it read the reply before the reset
	endReset  // what was sent must not look complete
)

// Linger makes the end of the connection wait for a client that is still sending, so that a reset does not overtake
// the reply. RFC 9112 §9.6.
func (c *ClientConn) Linger() {
	c.EndAfter()
	c.ending.CompareAndSwap(endLast, endLinger)
}

// Reset makes Close reset the connection: what was sent is not whole and must not look so.
func (c *ClientConn) Reset() { c.ending.Store(endReset) }

// AwaitTaken waits until the client's side has all that was sent, as far as the kernel tells, the client has left, or the time is over.
func (c *ClientConn) AwaitTaken(within time.Duration) {
	for end := Now() + within; unsent(c.fd) > 0 && Now() < end && !c.interrupted.Load() && !c.HungUp(); {
		time.Sleep(takenEvery)
	}
}

// takenEvery is the time between two looks at what has been taken.
const takenEvery = 2 * time.Millisecond

// EndAfter tells that the connection ends with the current reply, by the gateway's or the client's wish.
func (c *ClientConn) EndAfter() { c.ending.CompareAndSwap(endPlain, endLast) }

// Complete takes Reset back: what was sent is whole after all, and the end of the connection is its end.
func (c *ClientConn) Complete() { c.ending.Store(endLast) }

// Ends tells whether the connection ends with the current reply: one of the two wants it, or what is left of the request's
// body would stand before the next request. Not to be asked while another goroutine reads the body, unless EndAfter was called.
func (c *ClientConn) Ends() bool { return c.ending.Load() != endPlain || !c.KeepsAlive() }

// AppendConnection appends the Connection field of the reply to a request of HTTP/1.minor, and holds the connection to it.
func (c *ClientConn) AppendConnection(dst []byte, minor int) []byte {
	switch {
	case c.Ends():
		c.EndAfter()
		return append(dst, "Connection: close\r\n"...)
	case minor == 0:
		return append(dst, "Connection: keep-alive\r\n"...)
	}
	return dst
}

// StopBody wakes the goroutine that reads the body: the rest of it is not wanted. The connection can still be written
// to, and must be closed then.
func (c *ClientConn) StopBody() {
	c.Linger()
	c.stopped.Store(true)
	_ = c.Conn.SetReadDeadline(longAgo)
}

// Close ends the connection as Linger or Reset asked. It does not wait for a client that is still sending.
func (c *ClientConn) Close() error {
	for !c.serving.CompareAndSwap(servesNone, servesOver) {
		if c.serving.CompareAndSwap(servesOne, servesLast) || c.serving.Load() != servesNone {
			return nil // the goroutine that serves a request ends it, and fasthttp closes it again; or it is closed
		}
	}
	c.listener.forget(c)
	switch c.ending.Load() {
	case endReset:
		c.resetOnClose()
		return c.kernel().Close() // without the close_notify of TLS, which says that all is there
	case endLast:
		if (len(c.rest) > 0 || c.readable()) && c.linger() {
			return nil
		}
	case endLinger:
		if c.linger() {
			return nil
		}
	}
	return c.shut()
}

// shut closes the connection.
func (c *ClientConn) shut() error {
	c.closing.Store(true)
	return c.Conn.Close()
}

// resetOnClose makes the kernel reset the connection however it is closed, also by the end of the process.
func (c *ClientConn) resetOnClose() {
	if t, ok := c.kernel().(interface{ SetLinger(int) error }); ok {
		_ = t.SetLinger(0)
	}
}

// CloseWrite ends what is sent to the client, and leaves open what comes from it.
func (c *ClientConn) CloseWrite() error {
	if c.tls != nil {
		if err := c.tls.CloseWrite(); err != nil {
			return err
		}
	}
	half, ok := c.kernel().(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}
