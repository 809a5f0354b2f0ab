package wire

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"
)

// ClientOptions bound what a client's connection may take. Durations are all rolling except HeadTimeout.
type ClientOptions struct {
	HeadTimeout time.Duration // from the first byte of a head to its last, and for a new connection to begin
	KeepAlive   time.Duration // silence between two requests
	Idle        time.Duration // silence inside a body, and a reader that takes nothing
	TLS         *tls.Config   // nil: without

	// Handle, if not nil, gets every request head that has come whole, before fasthttp does, and may answer it. The
	// head is borrowed until it returns.
	Handle func(c *ClientConn, head []byte) Handled
}

// Handled is what became of a request head.
type Handled uint8

// What Handle returns.
const (
	Passed Handled = iota // nothing: fasthttp has it now
	Served                // it is answered, and the connection waits for the next one
	Ended                 // it is answered, and the connection is at its end
)

// What can end the reading of a request body before its end.
var (
	ErrBodyCut       = errors.New("wire: the client closed the connection inside the body")
	ErrBodyTooLarge  = errors.New("wire: the body exceeds its limit")
	ErrBodyMalformed = errors.New("wire: the chunks of the body are malformed")
	ErrBodyTimeout   = errors.New("wire: the client stopped sending the body")
)

var goOn = []byte("HTTP/1.1 100 Continue\r\n\r\n")

// maxDrain is how much of an unread body is read and thrown away to keep a connection: beyond it, a new
// connection is cheaper.
const maxDrain = 64 << 10

// A ClientConn is a client's connection as fasthttp.Server sees it. It hands out one request head at a time:
// a Read ends where the head ends, and what follows stays here until [ClientConn.ReadBody] or the next head
// asks for it. So fasthttp parses heads only, every body is framed by one strict decoder, a request is
// answered before its body is read, and no two parsers can disagree on where a message ends:
// [ClientConn.TakeHead] tells if they did.
//
// It is used by one goroutine, apart from Close and [ClientConn.Interrupt].
type ClientConn struct {
	socket
	listener *Listener
	tls      *tls.Conn // nil: without
	shaken   bool      // the TLS handshake is done
	closing  atomic.Bool
	peer     netip.Addr
	peerText []byte

	state   clientState
	matched int // how many bytes of the empty line that ends a head were the last ones handed out
	handed  int // bytes of the current head handed out
	skipped int // bytes of empty lines before it

	rest   []byte // bytes read but not handed out, in buffer
	buffer *Buffer

	length  int64 // of the body, or ChunkedBody
	left    int64 // of a body with a length
	limit   int64
	took    int64
	chunked Chunked
	failed  error       // why the body has no end; it stays until the next head
	stopped atomic.Bool // nobody wants the rest of the body
	expects bool        // 100 Continue is still owed before the body is read

	reads, writes rollingDeadline
	answered      bool // the answer to the current request went out by Send; fasthttp's own is dropped
	sent          int64
	begun         atomic.Bool // a byte has arrived since accept
	waiting       atomic.Bool // for the first byte of a head
	serving       atomic.Int32
	ending        atomic.Int32
}

type clientState uint8

const (
	awaitsHead clientState = iota
	inHead
	headGiven
	headTaken
)

// Whether Handle has a request. fasthttp takes the connection for idle meanwhile.
const (
	servesNone = iota
	servesOne
	servesLast // fasthttp wanted to close the connection
)

// How a connection ends, when not by a plain close.
const (
	endPlain  = iota
	endLast   // the gateway ends it: linger if there is something unread, whose reset would overtake the answer
	endLinger // the client may still be sending: let it read the answer before the reset
	endReset  // what was sent must not look complete
)

// Peer is the address at the other end, unmapped; the zero Addr if it has none.
func (c *ClientConn) Peer() netip.Addr { return c.peer }

// PeerText is Peer as text, made once a connection. Borrowed.
func (c *ClientConn) PeerText() []byte { return c.peerText }

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

// ExpectBody frames the body that follows the head: length bytes or ChunkedBody, at most limit bytes.
// With expects, the client waits for 100 Continue, which is sent when the body is first read.
func (c *ClientConn) ExpectBody(length, limit int64, expects bool) {
	c.length, c.limit, c.expects = length, limit, expects && length != 0
	c.failed = nil
	c.left = max(0, length)
	c.chunked = Chunked{}
}

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
			if err := c.write(goOn); err != nil {
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
	if c.took += int64(n); c.took > c.limit {
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
	return n, nil
}

func (c *ClientConn) readForBody(p []byte) (int, error) {
	if err := c.reads.extend(Now(), c.listener.idleTime(), c.Conn.SetReadDeadline); err != nil {
		return 0, ErrBodyCut
	}
	if c.interrupted.Load() || c.stopped.Load() {
		return 0, ErrBodyCut
	}
	n, err := c.Conn.Read(p)
	if n > 0 {
		return n, nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && !c.interrupted.Load() {
		return 0, ErrBodyTimeout
	}
	return 0, ErrBodyCut
}

// Receive reads what the client sends once HTTP is over on this connection, waiting at most the given time. What came
// behind the head comes first.
func (c *ClientConn) Receive(p []byte, wait time.Duration) (int, error) {
	if len(c.rest) > 0 {
		n := copy(p, c.rest)
		c.consume(n)
		return n, nil
	}
	c.release()
	if err := c.reads.extend(Now(), wait, c.Conn.SetReadDeadline); err != nil {
		return 0, err
	}
	// Looked at after the deadline is set: an interruption in between has set its own, which is lost now.
	if c.interrupted.Load() {
		return 0, net.ErrClosed
	}
	return c.Conn.Read(p)
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

// Write takes what fasthttp writes: its own answers as they are, and nothing once [ClientConn.Send] has
// answered.
func (c *ClientConn) Write(p []byte) (int, error) {
	if c.answered {
		return len(p), nil
	}
	if err := c.write(p); err != nil {
		return 0, err
	}
	c.sent += int64(len(p))
	return len(p), nil
}

// Send writes a part of the answer past fasthttp, and makes it the answer: what fasthttp writes until the
// next request is dropped. A client that takes no byte for the idle time ends it.
func (c *ClientConn) Send(p []byte) error {
	c.answered = true
	err := c.write(p)
	if err == nil {
		c.sent += int64(len(p))
	}
	return err
}

// Mute drops what fasthttp writes until the next request, as Send does.
func (c *ClientConn) Mute() { c.answered = true }

// Answered tells whether a byte of the answer may have gone out by Send.
func (c *ClientConn) Answered() bool { return c.answered }

// Sent is how many bytes of the answer to the current request were taken by the kernel.
func (c *ClientConn) Sent() int64 { return c.sent }

func (c *ClientConn) write(p []byte) error {
	if c.tls != nil {
		_, err := c.tls.Write(p)
		return err
	}
	_, err := c.writes.write(&c.socket, p, c.listener.idleTime())
	return err
}

// Linger makes Close wait a moment for a client that is still sending, so that a reset does not overtake
// the answer. RFC 9112 §9.6.
func (c *ClientConn) Linger() {
	c.EndAfter()
	c.ending.CompareAndSwap(endLast, endLinger)
}

// Reset makes Close reset the connection: what was sent is not whole and must not look so.
func (c *ClientConn) Reset() { c.ending.Store(endReset) }

// EndAfter tells that the connection ends with the current answer, by the gateway's or the client's wish.
func (c *ClientConn) EndAfter() { c.ending.CompareAndSwap(endPlain, endLast) }

// EndPlainly takes Linger and Reset back.
func (c *ClientConn) EndPlainly() { c.ending.Store(endPlain) }

// StopBody wakes whoever reads the body: nobody wants the rest of it. The connection can still be written
// to, and must be closed then.
func (c *ClientConn) StopBody() {
	c.Linger()
	c.stopped.Store(true)
	_ = c.Conn.SetReadDeadline(longAgo)
}

// Close ends the connection as Linger or Reset asked.
func (c *ClientConn) Close() error {
	if c.serving.CompareAndSwap(servesOne, servesLast) {
		return nil // whoever serves ends it, and fasthttp closes it again
	}
	c.listener.forget(c)
	switch c.ending.Load() {
	case endReset:
		c.resetOnClose()
		return c.kernel().Close() // without the close_notify of TLS, which says that all is there
	case endLast:
		if len(c.rest) > 0 || c.readable() {
			c.linger()
		}
	case endLinger:
		c.linger()
	}
	c.closing.Store(true)
	return c.Conn.Close()
}

// resetOnClose makes the kernel reset the connection however it is closed, also by the end of the process.
func (c *ClientConn) resetOnClose() {
	if t, ok := c.kernel().(interface{ SetLinger(int) error }); ok {
		_ = t.SetLinger(0)
	}
}

// Bounds of linger: enough for an honest client that sends on without looking to see a 413, little for
// anybody else. Reading to nowhere is cheap; the time is what counts.
const (
	lingerTime  = time.Second
	lingerBytes = 64 << 20
)

func (c *ClientConn) linger() {
	if c.CloseWrite() != nil {
		return
	}
	_ = c.Conn.SetReadDeadline(time.Now().Add(lingerTime))
	b := GetBuffer(SmallBuffer)
	defer b.Put()
	for left := lingerBytes; left > 0; {
		n, err := c.kernel().Read(b.B)
		if err != nil {
			return
		}
		left -= n
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

// keepRest puts aside what follows the head. p is fasthttp's buffer, which the next Read overwrites.
func (c *ClientConn) keepRest(p []byte) {
	if len(p) > 0 {
		c.buffer = GetBuffer(len(p))
		c.rest = c.buffer.B[:copy(c.buffer.B, p)]
	}
}

func (c *ClientConn) consume(n int) { c.rest = c.rest[n:] }

// release gives the buffer back while nothing is in it, so that a silent connection holds none.
func (c *ClientConn) release() {
	if c.buffer != nil && len(c.rest) == 0 {
		c.buffer.Put()
		c.buffer, c.rest = nil, nil
	}
}
