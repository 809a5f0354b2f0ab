package wire

import (
	"errors"
	"io"
	"net"
	"os"
	"time"
)

// Read reads heads into p, each whole, and offers them to Handle. fasthttp sees only what Handle passes on, and heads that do
// not come whole: longer than p, cut, or late. See [ClientConn].
func (c *ClientConn) Read(p []byte) (int, error) {
	for {
		n, err := c.nextHead(p)
		if err != nil || c.state != headGiven || c.listener.options.Handle == nil {
			return n, err
		}
		switch c.handle(p[:n]) {
		case Passed:
			return n, nil
		case Ended:
			return 0, io.EOF
		}
	}
}

// handle offers a head to Handle.
func (c *ClientConn) handle(head []byte) Handled {
	if !c.serving.CompareAndSwap(servesNone, servesOne) {
		return Ended
	}
	h := c.listener.options.Handle(c, head)
	if !c.serving.CompareAndSwap(servesOne, servesNone) {
		c.serving.Store(servesNone)
		return Ended
	}
	return h
}

// nextHead reads a head into p. If it does not come whole, what there is of it comes first, and then the error that cut it.
func (c *ClientConn) nextHead(p []byte) (int, error) {
	switch c.state {
	case headGiven:
		return 0, BadFraming // fasthttp wants more than a head
	case headTaken:
		if err := c.skipBody(); err != nil {
			return 0, err
		}
		c.state, c.headLen, c.skipped, c.cutBy = awaitsHead, 0, 0, nil
		c.replied, c.sent = false, 0
	}
	if c.cutBy != nil {
		return 0, c.cutBy
	}
	c.rest = c.rest[c.emptyLines(c.rest):] // of a request that was sent before its time
	n := copy(p, c.rest)
	early := c.rest
	c.consume(n)
	for looked := 0; ; {
		if skip := c.emptyLines(p[:n]); skip > 0 {
			n = copy(p, p[skip:n])
		}
		if c.badEmptyLines(p[:n]) {
			return 0, BadFraming
		}
		if end := FindHeadEnd(p[:n], looked); end > 0 {
			c.state, c.headLen = headGiven, end
			c.begun.Store(true)
			if looked == 0 && len(early) > 0 {
				c.rest = early[end:]
			} else {
				c.keepRest(p[end:n])
			}
			return end, nil
		}
		if HasBareLF(p[:n]) {
			return 0, BadFraming // who ends lines so will not send the end that is looked for
		}
		if n == len(p) {
			return n, nil // too long
		}
		if n > 0 && c.state == awaitsHead {
			c.beginHead()
		}
		c.release()
		m, err := c.readForHead(p[n:])
		if err != nil {
			if n == 0 {
				return 0, err
			}
			c.cutBy = err
			return n, nil
		}
		looked, early = n, nil
		n += m
	}
}

// emptyLines counts the bytes of the empty lines before a request line, which are skipped as RFC 9112 §2.2 asks: CR LF,
// and nothing that only looks like it.
func (c *ClientConn) emptyLines(p []byte) (n int) {
	if c.state != awaitsHead {
		return 0
	}
	for n < len(p) && p[n] == headEnd[c.skipped%2] {
		n++
		c.skipped++
	}
	return n
}

// badEmptyLines tells whether there were too many, or what follows them begins with half of one.
func (c *ClientConn) badEmptyLines(p []byte) bool {
	if c.state != awaitsHead {
		return false
	}
	return c.skipped > maxEmptyLines || len(p) > 0 && (c.skipped%2 != 0 || p[0] == '\n')
}

// maxEmptyLines bounds the bytes of empty lines before one request.
const maxEmptyLines = 16

// readForHead reads from the connection under the deadline of the phase.
func (c *ClientConn) readForHead(p []byte) (int, error) {
	o := &c.listener.options
	now := Now()
	wait := c.listener.keepAliveTime()
	switch {
	case c.state == inHead:
		wait = 0 // armed when the head began
	case !c.begun.Load():
		wait = o.HeadTimeout
	}
	if wait > 0 {
		if err := c.reads.extend(now, wait, c.Conn.SetReadDeadline); err != nil {
			return 0, err
		}
	}
	if c.interrupted.Load() {
		return 0, net.ErrClosed
	}
	if !c.begun.Load() && c.listener.draining.Load() {
		c.reads.at = 0
		_ = c.Conn.SetReadDeadline(time.Now().Add(time.Second))
	}
	if !c.handshake() {
		return 0, io.EOF // a client that cannot do that could not read a reply either
	}
	switch {
	case c.state == inHead:
		c.silence.beginHead(c.headSince)
	case c.begun.Load():
		c.silence.begin(now) // before draining is looked at: Drain does both the other way round
		if c.listener.draining.Load() {
			return 0, io.EOF
		}
	case c.silence.Load() == 0: // since it was accepted, apart from empty lines
		c.silence.begin(now)
	}
	n, err := c.read(p)
	if !c.silence.end() {
		return 0, c.gaveWay()
	}
	if n > 0 {
		return n, nil
	}
	if c.state == awaitsHead && errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, io.EOF // nothing was asked, so there is nothing to answer
	}
	return 0, err
}

// gaveWay is why nothing more comes from a connection that made room for another one.
func (c *ClientConn) gaveWay() error {
	c.Reset() // its descriptor may be another one's by now
	if c.Mute(); c.state == awaitsHead {
		return io.EOF
	}
	return &net.OpError{Op: "read", Net: "tcp", Err: net.ErrClosed}
}

// beginHead sets the absolute time for the rest of a head: a byte now and then must not hold a connection.
func (c *ClientConn) beginHead() {
	c.state = inHead
	c.begun.Store(true)
	c.reads.at, c.headSince = 0, Now()
	_ = c.Conn.SetReadDeadline(time.Now().Add(c.listener.options.HeadTimeout))
}

// TakeHead takes the head that was handed out, and readies the connection for the body.
func (c *ClientConn) TakeHead() {
	if c.state != headGiven {
		panic("BUG: there is no head to be taken")
	}
	c.state = headTaken
	c.length, c.left, c.taken, c.expects = 0, 0, 0, false
	c.failed = nil
}

// HeadLen is the length of the head taken, in bytes.
func (c *ClientConn) HeadLen() int { return c.headLen }

// keepRest puts aside what follows the head. p is fasthttp's buffer, which the next Read overwrites.
func (c *ClientConn) keepRest(p []byte) {
	if len(p) > 0 {
		c.buffer = GetBuffer(len(p))
		c.rest = c.buffer.B[:copy(c.buffer.B, p)]
	}
}
