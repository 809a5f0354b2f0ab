package wire

import (
	"crypto/tls"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// ClientOptions bound what a client's connection may take. Durations are all rolling except HeadTimeout.
type ClientOptions struct {
	HeadTimeout time.Duration // from the first byte of a head to its last, and for a new connection to begin
	KeepAlive   time.Duration // silence between two requests
	Idle        time.Duration // silence inside a body, and a reader that takes nothing
	BodyRate    int64         // bytes a second that a body must bring in any BodyWindow; 0: none
	BodyWindow  time.Duration // 0: 20s
	Linger      time.Duration // for a client that still sends behind its last reply, in all; 0: 30s
	LingerIdle  time.Duration // silence of one that does; 0: 5s
	TLS         *tls.Config   // nil: without

	MaxConns  int                       // near which those that are idle make room; 0: no limit
	PerClient func(peer netip.Addr) int // how many a client may have open; 0, and nil: any number
	Room      func() bool               // makes room elsewhere, if no connection here can; may be nil
	OnRoom    func(n int)               // told how many were closed to make room for others; may be nil
	OnRefused func(peer netip.Addr)     // told of a client that had all that it may have; may be nil

	// Handle, if not nil, gets every request head that has come whole, before fasthttp does, and may answer it. The
	// head is borrowed until it returns.
	Handle func(c *ClientConn, head []byte) Handled

	MaxHead int // bytes of a head; a longer one is cut there, for fasthttp to refuse. 0: 16 KB
}

// Handled is what became of a request head.
type Handled uint8

// What Handle returns.
const (
	Passed Handled = iota // nothing: fasthttp has it now
	Served                // it is answered, and the connection waits for the next one
	Ended                 // it is answered, and the connection is at its end
)

// A ClientConn is a client's connection as fasthttp.Server sees it. It reads one request head at a time, whole, and offers it
// to Handle; what follows stays here until [ClientConn.ReadBody] or the next head asks for it. So every head is parsed once,
// every body is framed by one strict decoder, and a request is answered before its body is read. fasthttp gets what Handle
// passes on, and heads that do not come whole, to refuse them.
//
// It is used by one goroutine, apart from Close and [ClientConn.Interrupt].
type ClientConn struct {
	socket
	listener *Listener
	tls      *tls.Conn // nil: without
	shaken   bool      // the TLS handshake is done
	closing  atomic.Bool
	records  *transport // below tls
	peer     netip.Addr
	peerText []byte

	state   clientState
	headLen int   // of the current head, once it is whole
	cutBy   error // why no head comes any more
	skipped int   // bytes of empty lines before it

	rest   []byte  // bytes read but not handed out, in buffer
	buffer *Buffer // nil while there are none
	head   *Buffer // of the current head, once it is whole: what came with it is soon handed out, and a request may take long
	passed []byte  // what fasthttp is to get, before cutBy

	length  int64 // of the body, or ChunkedBody
	left    int64 // of a body with a length
	limit   int64
	taken   int64 // of the body so far
	chunked Chunked
	failed  error       // why the body has no end; it stays until the next head
	stopped atomic.Bool // the rest of the body is not wanted
	expects bool        // 100 Continue is still owed before the body is read
	pace    pace        // of the body

	replied   bool // the reply to the current request went out by Send; fasthttp's own is dropped
	sent      int64
	begun     atomic.Bool // a byte has arrived since accept
	silence   silence
	headSince time.Duration // when the first byte of a head came that is not whole, as Now
	crowd     *crowd        // that the listener counts it in; nil: none. It is the listener's
	serving   atomic.Int32
	ending    atomic.Int32

	permit atomic.Pointer[atomic.Bool] // of the request under way: true once it is taken back; nil: it needs none
}

// Hold ties the request under way to a permit, or with nil to none: once that turns true and [Listener.ResetRevoked] was called,
// the request is at its end. Who holds a permit looks at it once more afterwards: it may have turned true just before.
func (c *ClientConn) Hold(revoked *atomic.Bool) { c.permit.Store(revoked) }

// revoked tells whether the request under way has lost its permit.
func (c *ClientConn) revoked() bool {
	p := c.permit.Load()
	return p != nil && p.Load()
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
	servesOver = iota - 1 // and none will be: Close has done its part, or is about to
	servesNone
	servesOne
	servesLast // fasthttp wanted to close the connection
)

// Peer is the address at the other end, unmapped; the zero Addr if it has none.
func (c *ClientConn) Peer() netip.Addr { return c.peer }

// PeerText is Peer as text, made once a connection. Borrowed.
func (c *ClientConn) PeerText() []byte { return c.peerText }

// Write takes what fasthttp writes: its own replies as they are, and nothing once [ClientConn.Send] has
// answered.
func (c *ClientConn) Write(p []byte) (int, error) {
	if c.replied {
		return len(p), nil
	}
	if err := c.write(p); err != nil {
		return 0, err
	}
	c.sent += int64(len(p))
	return len(p), nil
}

// Send writes a part of the reply past fasthttp, and makes it the reply: what fasthttp writes until the
// next request is dropped. A client that takes no byte for the idle time ends it.
func (c *ClientConn) Send(p []byte) error {
	c.replied = true
	err := c.write(p)
	if err == nil {
		c.sent += int64(len(p))
	}
	return err
}

// Offer is Send of as much as the client takes at once, and returns how much that is: where Send would wait, Offer does not.
func (c *ClientConn) Offer(p []byte) (n int, err error) {
	c.replied = true
	n, err = c.offer(p)
	c.sent += int64(n)
	return n, err
}

func (c *ClientConn) offer(p []byte) (int, error) {
	if c.tls == nil {
		if n, ok, err := c.writes.offer(&c.socket, p, c.listener.idleTime()); ok {
			return n, err
		}
	}
	if len(p) > mostOffered || !c.ready(unix.POLLOUT) {
		return 0, nil
	}
	if err := c.write(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// mostOffered is how many bytes a socket takes for sure that says it can be written to: what Linux hands on in one piece.
const mostOffered = 20 << 10

// SendInterim writes a 1xx response, which is no reply yet: RFC 9110 §15.2.
func (c *ClientConn) SendInterim(p []byte) error { return c.write(p) }

// Mute drops what fasthttp writes until the next request, as Send does.
func (c *ClientConn) Mute() { c.replied = true }

// Replied tells whether a byte of the reply may have gone out by Send.
func (c *ClientConn) Replied() bool { return c.replied }

// Sent is how many bytes of the reply to the current request were taken by the kernel.
func (c *ClientConn) Sent() int64 { return c.sent }

func (c *ClientConn) write(p []byte) error {
	if c.tls != nil {
		return c.writeTLS(p)
	}
	if c.serving.Load() > servesNone && !c.interrupted.Load() { // nobody closes it meanwhile: see Close
		n := c.direct.now(c.fd, p)
		if p = p[n:]; len(p) == 0 {
			return nil
		}
	}
	_, err := c.writes.write(&c.socket, p, c.listener.idleTime())
	return err
}

func (c *ClientConn) consume(n int) { c.rest = c.rest[n:] }
