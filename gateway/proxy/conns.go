package proxy

import (
	"sync"
	"time"

	"aigateway/gateway/wire"
)

// maxIdle is how long a connection stays pooled. Common inference servers close theirs after 5 s (uvicorn,
// Node), and a request that meets the close on its way cannot always be repeated.
const maxIdle = 4 * time.Second

// conns is the idle connections to one upstream, the one used last on top: the surplus ages out. How many
// there are is bounded by the requests that the upstream may have at once.
type conns struct {
	mu     sync.Mutex
	idle   []idleConn
	closed bool
}

type idleConn struct {
	conn  *wire.UpstreamConn
	since time.Duration
}

// take returns the connection used last, or nil.
func (c *conns) take(now time.Duration) *wire.UpstreamConn {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := len(c.idle) - 1
	if last < 0 || now-c.idle[last].since > maxIdle {
		return nil // and so are those below; expire closes them
	}
	conn := c.idle[last].conn
	c.idle[last] = idleConn{}
	c.idle = c.idle[:last]
	return conn
}

// put keeps a connection for another request.
func (c *conns) put(conn *wire.UpstreamConn, now time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		_ = conn.Close()
		return
	}
	c.idle = append(c.idle, idleConn{conn, now})
}

// drop closes the idle connections that fit.
func (c *conns) drop(fits func(idleConn) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := c.idle[:0]
	for _, i := range c.idle {
		if fits(i) {
			_ = i.conn.Close()
		} else {
			kept = append(kept, i)
		}
	}
	clear(c.idle[len(kept):])
	c.idle = kept
}

// expire closes what has been idle for too long.
func (c *conns) expire(now time.Duration) {
	c.drop(func(i idleConn) bool { return now-i.since > maxIdle })
}

// dropAll closes what is idle.
func (c *conns) dropAll() { c.drop(func(idleConn) bool { return true }) }

// close closes what is idle, and what will be.
func (c *conns) close() {
	c.dropAll()
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
}
