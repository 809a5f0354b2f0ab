package wire

import (
	"errors"
	"io"
	"net"
	"os"
	"time"
)

// maxHead is the default of ClientOptions.MaxHead.
const maxHead = 16 << 10

// anything is what fasthttp gets, when it asks for the first byte, of a head of which it is to see nothing but the error: without a byte it
// takes each for an end.
var anything = []byte("-")

// Read reads heads, each whole, and offers them to Handle. fasthttp sees only what Handle passes on, and heads that do
// not come whole: longer than MaxHead, cut, or late. See [ClientConn].
func (c *ClientConn) Read(p []byte) (int, error) {
	for len(c.passed) == 0 {
		switch {
		case c.state == headGiven:
			return 0, BadFraming // fasthttp wants more than a head
		case c.cutBy != nil:
			return 0, c.cutBy
		}
		var head []byte
		if head, c.cutBy = c.nextHead(); c.cutBy == BadFraming && len(p) == 1 {
			head = anything
		}
		if c.cutBy != nil || c.listener.options.Handle == nil {
			c.passed = head
			continue
		}
		switch c.handle(head) {
		case Passed:
			c.passed = head
		case Ended:
			return 0, io.EOF
		}
	}
	n := copy(p, c.passed)
	c.passed = c.passed[n:]
	return n, nil
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

// nextHead reads a head, which is borrowed until the next one is read. If it does not come whole, there is an error, and what fasthttp is
// to see before it.
func (c *ClientConn) nextHead() (head []byte, err error) {
	if c.state == headTaken {
		if err := c.skipBody(); err != nil {
			return nil, err
		}
		c.state, c.headLen, c.skipped = awaitsHead, 0, 0
		c.replied, c.sent = false, 0
		c.dropHead()
	}
	for looked := 0; ; {
		c.rest = c.rest[c.emptyLines(c.rest):] // of a request that was sent before its time
		p := c.rest[:min(len(c.rest), c.listener.options.MaxHead)]
		if c.badEmptyLines(p) {
			return nil, BadFraming
		}
		if end := FindHeadEnd(p, looked); end > 0 {
			c.state, c.headLen = headGiven, end
			c.begun.Store(true)
			return c.cutHead(end), nil
		}
		if HasBareLF(p) {
			return nil, BadFraming // who ends lines so will not send the end that is looked for
		}
		if len(p) == c.listener.options.MaxHead {
			return p, errHeadTooLong
		}
		if len(p) > 0 && c.state == awaitsHead {
			c.beginHead()
		}
		looked = len(p)
		if err := c.readForHead(); err != nil {
			return c.rest, err
		}
	}
}

// errHeadTooLong is what follows as much of a head as is read. fasthttp finds its buffer full before.
var errHeadTooLong = errors.New("wire: the head is too long")

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

// readForHead reads more to rest, under the deadline of the phase.
func (c *ClientConn) readForHead() error {
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
			return err
		}
	}
	if c.interrupted.Load() {
		return net.ErrClosed
	}
	if !c.begun.Load() && c.listener.draining.Load() {
		c.reads.at = 0
		_ = c.Conn.SetReadDeadline(time.Now().Add(time.Second))
	}
	if !c.handshake() {
		return io.EOF // a client that cannot do that could not read a reply either
	}
	switch {
	case c.state == inHead:
		c.silence.beginHead(c.headSince)
	case c.begun.Load():
		c.silence.begin(now) // before draining is looked at: Drain does both the other way round
		if c.listener.draining.Load() {
			return io.EOF
		}
	case c.silence.Load() == 0: // since it was accepted, apart from empty lines
		c.silence.begin(now)
	}
	n, err := c.readMore()
	if !c.silence.end() {
		return c.gaveWay()
	}
	if n > 0 {
		return nil
	}
	if c.state == awaitsHead && errors.Is(err, os.ErrDeadlineExceeded) {
		return io.EOF // nothing was asked, so there is nothing to answer
	}
	return err
}

// cutHead takes the head off what was read.
func (c *ClientConn) cutHead(end int) []byte {
	c.head = GetBuffer(end)
	head := c.head.B[:copy(c.head.B, c.rest[:end])]
	c.consume(end)
	c.release()
	return head
}

func (c *ClientConn) dropHead() {
	if c.head != nil {
		c.head.Put()
		c.head = nil
	}
}

// readMore reads once, behind what there is. Who has nothing has no buffer while it waits.
func (c *ClientConn) readMore() (n int, err error) {
	has := len(c.rest)
	if has == 0 {
		n, err = c.read(Late(&c.buffer, 0, SmallBuffer))
	} else {
		c.makeRoom()
		n, err = c.read(Place{p: c.buffer.B[has:]})
	}
	if n == 0 {
		c.release()
		return 0, err
	}
	c.rest = c.buffer.B[:has+n]
	return n, nil
}

// makeRoom leaves room behind rest, which is shorter than a head may be.
func (c *ClientConn) makeRoom() {
	if len(c.rest) < len(c.buffer.B) {
		c.rest = c.buffer.B[:copy(c.buffer.B, c.rest)]
		return
	}
	b := GetBuffer(c.listener.options.MaxHead)
	c.rest = b.B[:copy(b.B, c.rest)]
	c.buffer.Put()
	c.buffer = b
}

// release gives the buffer back while nothing is in it.
func (c *ClientConn) release() {
	if c.buffer != nil && len(c.rest) == 0 {
		c.buffer.Put()
		c.buffer, c.rest = nil, nil
	}
}

// gaveWay is why nothing more comes from a connection that made room for another one. What has come is dropped: it may be a whole head, and
// nobody can be answered.
func (c *ClientConn) gaveWay() error {
	c.rest = nil
	c.release()
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
