package wire

import (
	"crypto/tls"
	"net"
	"sync/atomic"
)

// A transport is a client's connection as TLS sees it. What TLS writes has the time that a slow reader needs, since
// for TLS a write that has timed out is the last one.
type transport struct {
	net.Conn
	client *ClientConn
	left   atomic.Int32 // records of the Write under way that have not come yet; 0: records are not gathered
	buffer *Buffer      // what is gathered. TLS writes a record at a time, under a lock of its own
	n      int          // bytes in it
}

// mostInRecord is what a record has of a message: RFC 8446 §5.1.
const mostInRecord = 16 << 10

// Write writes until the client takes nothing for the idle time, or gathers.
func (t *transport) Write(p []byte) (int, error) {
	if t.left.Load() > 0 {
		return t.gather(p)
	}
	return t.send(p)
}

func (t *transport) send(p []byte) (int, error) {
	c := t.client
	if c.closing.Load() {
		return t.Conn.Write(p) // the farewell, for which TLS has set its own deadline
	}
	return c.writes.write(&c.socket, p, c.listener.idleTime())
}

// gather keeps a record, and sends all that are there with the last one, or when there is no room for another. A record that is not ours
// may come in between, such as the answer to an update of keys, and counts: then ours that come behind the last one go alone, in their order.
func (t *transport) gather(p []byte) (int, error) {
	if t.buffer == nil {
		t.buffer = GetBuffer(LargeBuffer)
	}
	if t.n+len(p) > len(t.buffer.B) {
		if err := t.flush(); err != nil {
			return 0, err
		}
	}
	t.n += copy(t.buffer.B[t.n:], p)
	if t.left.Add(-1) > 0 {
		return len(p), nil
	}
	err := t.flush()
	t.buffer.Put()
	t.buffer = nil
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (t *transport) flush() error {
	_, err := t.send(t.buffer.B[:t.n])
	t.n = 0
	return err
}

// secure puts TLS on the connection, if there is a configuration for it.
func (c *ClientConn) secure(config *tls.Config) {
	if config == nil {
		return
	}
	c.below = c.Conn
	c.records = &transport{Conn: c.below, client: c}
	c.tls = tls.Server(c.records, config)
	c.Conn = c.tls
}

// Secure tells whether the client came over TLS.
func (c *ClientConn) Secure() bool { return c.tls != nil }

// handshake makes sure that the TLS handshake is done, under the read deadline of a new connection.
func (c *ClientConn) handshake() bool {
	if c.tls != nil && !c.shaken {
		c.shaken = c.tls.Handshake() == nil
	}
	return c.tls == nil || c.shaken
}

// writeTLS sends p. Where it is more than a record, a system call sends several.
func (c *ClientConn) writeTLS(p []byte) error {
	if len(p) <= mostInRecord || !c.shaken {
		_, err := c.tls.Write(p)
		return err
	}
	t := c.records
	t.left.Store(int32((len(p)-1)/mostInRecord + 1))
	_, err := c.tls.Write(p)
	// After a failure some have not come, and none will: TLS writes nothing more. Their buffer may be in another goroutine's
	// hands that has an alert to send, and is left to the collector.
	t.left.Store(0)
	return err
}
