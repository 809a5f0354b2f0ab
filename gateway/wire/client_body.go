package wire

import (
	"errors"
	"io"
	"os"
	"time"
)

// What can end the reading of a request body before its end.
var (
	ErrBodyCut       = errors.New("wire: the client closed the connection inside the body")
	ErrBodyTooLarge  = errors.New("wire: the body exceeds its limit")
	ErrBodyMalformed = errors.New("wire: the chunks of the body are malformed")
	ErrBodyTimeout   = errors.New("wire: the client stopped sending the body")
	ErrBodySlow      = errors.New("wire: the body comes more slowly than it must")
)

var continueHead = []byte("HTTP/1.1 100 Continue\r\n\r\n")

// maxDrain is how much of an unread body is read and thrown away to keep a connection: beyond it, a new
// connection is cheaper.
const maxDrain = 64 << 10

// ExpectBody frames the body that follows the head: length bytes or ChunkedBody, at most limit bytes.
func (c *ClientConn) ExpectBody(length, limit int64) {
	c.length, c.limit, c.expects = length, limit, false
	c.failed = nil
	c.left = max(0, length)
	c.chunked = Chunked{}
	if length != 0 {
		c.pace = pace{}
	}
}

// ExpectContinue tells that the client waits for 100 Continue, which is sent when the body is first read.
func (c *ClientConn) ExpectContinue() { c.expects = c.length != 0 }

// LimitBody changes the limit of the body, before any of it is read.
func (c *ClientConn) LimitBody(limit int64) { c.limit = limit }

// BodyDone tells whether the whole body has been read.
func (c *ClientConn) BodyDone() bool {
	if c.failed != nil {
		return false
	}
	if c.length == ChunkedBody {
		return c.chunked.Done()
	}
	return c.left == 0
}

// KeepsAlive tells whether the connection can carry another request once this one is answered: its body is
// read, or what is left of it is cheap to skip.
func (c *ClientConn) KeepsAlive() bool {
	if c.stopped.Load() {
		return false // for good: the next request's body could not be read
	}
	if c.BodyDone() {
		return true
	}
	return c.failed == nil && c.length != ChunkedBody && c.length <= c.limit &&
		c.left <= maxDrain && !c.expects
}

// ReadBody reads from the request's body into p. It returns io.EOF with 0 bytes at the end of a whole body,
// and one of the ErrBody errors if there will be no end.
func (c *ClientConn) ReadBody(p []byte) (int, error) {
	n, err := c.readBody(p)
	if err != nil && err != io.EOF {
		c.failed = err
	}
	return n, err
}

func (c *ClientConn) readBody(p []byte) (int, error) {
	if c.failed != nil {
		return 0, c.failed
	}
	if c.BodyDone() {
		return 0, io.EOF
	}
	if c.expects {
		c.expects = false
		// RFC 9110 §10.1.1: not needed if part of the body is here already.
		if len(c.rest) == 0 {
			if err := c.write(continueHead); err != nil {
				return 0, ErrBodyCut
			}
		}
	}
	var n int
	var err error
	if c.length == ChunkedBody {
		n, err = c.readChunks(p)
	} else {
		n, err = c.readLength(p)
	}
	if c.taken += int64(n); c.taken > c.limit {
		return 0, ErrBodyTooLarge
	}
	if n == 0 && err == nil && c.BodyDone() {
		return 0, io.EOF
	}
	return n, err
}

func (c *ClientConn) readLength(p []byte) (int, error) {
	p = p[:min(int64(len(p)), c.left)]
	if len(c.rest) > 0 {
		n := copy(p, c.rest)
		c.consume(n)
		c.release()
		c.left -= int64(n)
		return n, nil
	}
	n, err := c.readForBody(p)
	c.left -= int64(n)
	return n, err
}

func (c *ClientConn) readChunks(p []byte) (n int, err error) {
	for n < len(p) && !c.chunked.Done() {
		if len(c.rest) == 0 {
			if n > 0 {
				return n, nil // what is here goes on before more is waited for
			}
			if c.buffer == nil {
				c.buffer = GetBuffer(SmallBuffer)
			}
			m, err := c.readForBody(c.buffer.B)
			if err != nil {
				return 0, err
			}
			c.rest = c.buffer.B[:m]
		}
		data, used, v := c.chunked.Next(c.rest[:min(len(c.rest), len(p)-n)])
		if v != None {
			return 0, ErrBodyMalformed
		}
		n += copy(p[n:], data)
		c.consume(used)
	}
	if c.chunked.Done() {
		c.release() // the answer may take long
	}
	return n, nil
}

func (c *ClientConn) readForBody(p []byte) (int, error) {
	o, idle, least := &c.listener.options, c.listener.idleTime(), c.listener.bodyRate.Load()
	wait := idle
	if least > 0 {
		wait = min(idle, o.BodyWindow/paceSlots)
	}
	for silent := time.Duration(0); ; {
		began := Now()
		if err := c.reads.extend(began, wait, c.Conn.SetReadDeadline); err != nil {
			return 0, ErrBodyCut
		}
		if c.interrupted.Load() || c.stopped.Load() {
			return 0, ErrBodyCut
		}
		n, err := c.read(Place{p: p})
		if n > 0 && (least == 0 || int64(n) == c.left) { // the last of it; most bodies are one read
			return n, nil
		}
		waited := min(Now()-began, wait+wait/8) // what is beyond the deadline is not the client's: a process that was stopped
		switch {
		case least > 0 && !c.pace.add(n, waited, o.BodyWindow, least):
			return 0, ErrBodySlow
		case n > 0:
			return n, nil
		case !errors.Is(err, os.ErrDeadlineExceeded) || c.interrupted.Load() || c.stopped.Load():
			return 0, ErrBodyCut
		}
		if StoodStill(began) {
			silent = 0
		} else if silent += waited; silent >= idle {
			return 0, ErrBodyTimeout
		}
	}
}

// Receive reads what the client sends once HTTP is over on this connection, waiting at most the given time. What came
// behind the head comes first.
func (c *ClientConn) Receive(p []byte, wait time.Duration) (int, error) {
	if len(c.rest) > 0 {
		n := copy(p, c.rest)
		c.consume(n)
		c.release()
		return n, nil
	}
	return c.receive(Place{p: p}, wait)
}

// skipBody reads what is left of a body before the next head.
func (c *ClientConn) skipBody() error {
	if c.BodyDone() {
		return nil
	}
	if !c.KeepsAlive() {
		return io.EOF
	}
	b := GetBuffer(SmallBuffer)
	defer b.Put()
	for !c.BodyDone() {
		if _, err := c.ReadBody(b.B); err != nil && err != io.EOF {
			return io.EOF
		}
	}
	return nil
}
