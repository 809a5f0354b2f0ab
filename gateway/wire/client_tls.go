package wire

import (
	"crypto/tls"
	"net"
)

// A transport is a client's connection as TLS sees it. What TLS writes has the time that a slow reader needs, since
// for TLS a write that has timed out is the last one.
type transport struct {
	net.Conn
	client *ClientConn
}

// Write writes until the client takes nothing for the idle time.
func (t *transport) Write(p []byte) (int, error) {
	c := t.client
	if c.closing.Load() {
		return t.Conn.Write(p) // the farewell, for which TLS has set its own deadline
	}
	return c.writes.write(&c.socket, p, c.listener.idleTime())
}

// secure puts TLS on the connection, if there is a configuration for it.
func (c *ClientConn) secure(config *tls.Config) {
	if config == nil {
		return
	}
	c.below = c.Conn
	c.tls = tls.Server(&transport{c.below, c}, config)
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
