package wire

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"time"
)

// Read hands fasthttp the bytes of one head. See [ClientConn]. Heads that Handle answers it never sees.
func (c *ClientConn) Read(p []byte) (int, error) {
	for {
		n, err := c.nextHead(p)
		if err != nil || c.state != headGiven || c.handed != n || c.listener.options.Handle == nil {
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

// nextHead puts a head, or the next part of one, into p.
func (c *ClientConn) nextHead(p []byte) (int, error) {
	switch c.state {
	case headGiven:
		// fasthttp wants more than the head that was found: the two disagree.
		return 0, BadFraming
	case headTaken:
		if err := c.skipBody(); err != nil {
			return 0, err
		}
		c.state, c.matched, c.handed, c.skipped = awaitsHead, 0, 0, 0
		c.answered, c.sent = false, 0
	}
	for {
		n, err := c.readHead(p)
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// readHead hands out what there is of a head. It may return 0, nil when empty lines were all that came.
func (c *ClientConn) readHead(p []byte) (int, error) {
	if len(c.rest) == 0 {
		c.release()
		n, err := c.readForHead(p)
		if err != nil {
			return 0, err
		}
		n = copy(p, c.skipEmptyLines(p[:n]))
		if c.badEmptyLines(p[:n]) {
			return 0, BadFraming
		}
		end, err := c.handOut(p[:n])
		c.keepRest(p[end:n])
		return end, err
	}
	c.rest = c.skipEmptyLines(c.rest) // a request that was sent before its time
	n := copy(p, c.rest)
	if c.badEmptyLines(p[:n]) {
		return 0, BadFraming
	}
	end, err := c.handOut(p[:n])
	c.consume(end)
	return end, err
}

// handOut returns how much of p belongs to the current head.
func (c *ClientConn) handOut(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if !c.begun.Load() {
		c.begun.Store(true)
	}
	behindCR := c.matched%2 == 1 // of CR LF CR LF
	end := c.findHeadEnd(p)
	if end > 0 {
		c.state = headGiven
		c.handed += end
		return end, nil
	}
	if hasBareLF(p, behindCR) {
		return 0, BadFraming // who ends lines so will not send the end that is looked for
	}
	if c.state == awaitsHead {
		c.state = inHead
		c.beginHead() // a byte now and then must not hold a connection
	}
	c.handed += len(p)
	return len(p), nil
}

// hasBareLF tells whether p has an LF that follows no CR; behindCR tells whether p itself does.
func hasBareLF(p []byte, behindCR bool) bool {
	for at := 0; ; {
		i := bytes.IndexByte(p[at:], '\n')
		if i < 0 {
			return false
		}
		if at += i; at == 0 && !behindCR || at > 0 && p[at-1] != '\r' {
			return true
		}
		at++
	}
}

// skipEmptyLines drops the empty lines before a request line, as RFC 9112 §2.2 asks: CR LF, and nothing that
// only looks like it.
func (c *ClientConn) skipEmptyLines(p []byte) []byte {
	if c.state != awaitsHead {
		return p
	}
	for len(p) > 0 && p[0] == headEnd[c.skipped%2] {
		p = p[1:]
		c.skipped++
	}
	return p
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
	wait := o.KeepAlive
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
		return 0, io.EOF // whoever cannot do that could not read an answer either
	}
	if c.state == awaitsHead && c.begun.Load() {
		c.waiting.Store(true) // before draining is looked at: Drain does both the other way round
		defer c.waiting.Store(false)
		if c.listener.draining.Load() {
			return 0, io.EOF
		}
	}
	n, err := c.Conn.Read(p)
	if n > 0 {
		return n, nil
	}
	if c.state == awaitsHead && errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, io.EOF // nothing was asked, so there is nothing to answer
	}
	return 0, err
}

// beginHead sets the absolute time for the rest of a head.
func (c *ClientConn) beginHead() {
	c.reads.at = 0
	_ = c.Conn.SetReadDeadline(time.Now().Add(c.listener.options.HeadTimeout))
}

// findHeadEnd looks for the end of the head in p, which follows bytes looked at before, and returns where p
// passes it, or 0.
func (c *ClientConn) findHeadEnd(p []byte) int {
	// An end that began in earlier bytes is over within three more.
	for i, b := range p[:min(len(p), len(headEnd)-1)] {
		if c.matched = nextMatch(c.matched, b); c.matched == len(headEnd) {
			c.matched = 0
			return i + 1
		}
	}
	if len(p) < len(headEnd) {
		return 0
	}
	c.matched = 0
	if n := FindHeadEnd(p, 0); n > 0 {
		return n
	}
	for _, b := range p[len(p)-3:] {
		c.matched = nextMatch(c.matched, b)
	}
	return 0
}

// nextMatch is one step of the search for CR LF CR LF.
func nextMatch(matched int, b byte) int {
	switch {
	case b == headEnd[matched]:
		return matched + 1
	case b == '\r':
		return 1
	}
	return 0
}

// TakeHead tells whether fasthttp has parsed exactly the head that was handed out, and readies the
// connection for the body. false means that the two parsers disagree: answer 400 and close.
func (c *ClientConn) TakeHead(parsed int) bool {
	if c.state != headGiven || parsed != c.handed {
		return false
	}
	c.state = headTaken
	c.length, c.left, c.took, c.expects = 0, 0, 0, false
	c.failed = nil
	return true
}

// HeadLen is the length of the head taken, in bytes.
func (c *ClientConn) HeadLen() int { return c.handed }

// keepRest puts aside what follows the head. p is fasthttp's buffer, which the next Read overwrites.
func (c *ClientConn) keepRest(p []byte) {
	if len(p) > 0 {
		c.buffer = GetBuffer(len(p))
		c.rest = c.buffer.B[:copy(c.buffer.B, p)]
	}
}
