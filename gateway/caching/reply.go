package caching

import (
	"slices"
	"time"

	"aigateway/gateway/cache"
	"aigateway/gateway/proxy"
	"aigateway/gateway/wire"

	"github.com/valyala/fasthttp"
)

// A client is a request as its own reader.
type client Request

func (c *client) prepare(f *proxy.Exchange) { c.Client.Prepare(f) }
func (c *client) owns() bool                { return true }
func (c *client) readRecord(now int64)      { (*Request)(c).reply(now) }

func (c *client) readFlight(f *Flight) {
	if c.waiter.Gone() { // while it led
		c.Fault = proxy.ClientGone
		return
	}
	a := f.Response()
	p := c.caching.proxy
	defer p.Unwatch(&c.watched)
	if !a.Whole && !c.reads { // else the proxy watches
		p.Watch(&c.watched, c.Conn, c.waiter)
	}
	(*Request)(c).replyArriving(f, &a)
}

// longestWait is how long a request waits for a piece of another one's response: the fetch has deadlines of its own.
const longestWait = time.Hour

// reply replies with the record in r.full. Nothing of it is of use afterwards: its head is moved, over what
// stands before it, to make room for the new lines.
func (r *Request) reply(now int64) {
	m := &r.stored.Meta
	size := len(r.stored.Body)
	if r.request.NotModified(m) {
		r.replyNotModified(storedLines(&r.stored), m, now)
		return
	}
	from, to, ranged := r.request.Range(m, int64(size))
	switch ranged {
	case cache.Whole:
		if m.Status == fasthttp.StatusNoContent { // which has no length: RFC 9110 §8.6
			h := append(r.statusLine(m.Status), storedLines(&r.stored)...)
			r.send(m.Status, append(r.appendOwn(h, m, now), "\r\n"...))
			return
		}
		line := r.statusLine(m.Status)
		r.scratch = r.appendOwn(line, m, now)
		if r.request.Head {
			size = 0
		}
		r.sendRecord(m.Status, r.around(r.scratch[:len(line)], r.scratch[len(line):], size))
	case cache.Part:
		h := append(r.statusLine(fasthttp.StatusPartialContent), storedLines(&r.stored)...)
		h = append(r.appendOwn(h, m, now), "Content-Range: "...)
		h = append(cache.AppendContentRange(h, from, to, int64(size)), "\r\n"...)
		r.scratch = append(wire.AppendInt(h, lengthName, to-from), "\r\n"...)
		r.sendRecord(fasthttp.StatusPartialContent, r.before(r.scratch, r.stored.Start+len(r.stored.Head)+int(from), int(to-from)))
	default:
		h := r.appendOwn(r.statusLine(fasthttp.StatusRequestedRangeNotSatisfiable), m, now)
		h = cache.AppendContentRange(append(h, "Content-Range: "...), 0, 0, int64(size))
		r.send(fasthttp.StatusRequestedRangeNotSatisfiable, append(h, "\r\nContent-Length: 0\r\n\r\n"...))
	}
}

// replyNotModified replies that the client has it already.
func (r *Request) replyNotModified(lines []byte, m *cache.Meta, now int64) {
	h := cache.AppendNotModified(r.statusLine(fasthttp.StatusNotModified), lines, m)
	r.send(fasthttp.StatusNotModified, append(r.appendOwn(h, m, now), "\r\n"...))
}

// statusLine begins a head in the request's scratch memory.
func (r *Request) statusLine(status int) []byte {
	return wire.AppendStatusLine(r.scratch[:0], status, fasthttp.StatusMessage(status))
}

// appendOwn appends the lines that are new with every reply. They stand behind the stored ones: in Via and
// Cache-Status, who is nearer to the client comes later (RFC 9110 §7.6.3, RFC 9211 §2).
func (r *Request) appendOwn(dst []byte, m *cache.Meta, now int64) []byte {
	// RFC 9111 §5.1: a response that was not validated with this request shows its age.
	if age := m.Age(now); r.status.Forward == cache.NotForwarded || r.outcome == outcomeStale || age > 0 {
		dst = wire.AppendInt(dst, "Age: ", age)
	}
	if r.posts {
		dst = append(dst, r.post.own...)
	}
	return r.Client.AppendOwn(dst)
}

// around puts a status line before the stored lines and own ones behind them, where the length and the body follow, of
// which size bytes are wanted. The stored lines are moved, the body stays where it is.
func (r *Request) around(status, own []byte, size int) []byte {
	lines := storedLines(&r.stored)
	behind := recordRoom + r.stored.Start + len(lines)
	end := recordRoom + r.stored.Start + len(r.stored.Head) + size
	start := behind - len(own) - len(lines) - len(status)
	if start < 0 {
		return slices.Concat(status, lines, own, r.full[behind:end])
	}
	copy(r.full[start+len(status):], lines)
	copy(r.full[behind-len(own):], own)
	copy(r.full[start:], status)
	return r.full[start:end]
}

// before puts a head before some bytes of the record, and returns both.
func (r *Request) before(head []byte, at, length int) []byte {
	at += recordRoom
	if len(head) > at {
		return slices.Concat(head, r.full[at:at+length])
	}
	copy(r.full[at-len(head):], head)
	return r.full[at-len(head) : at+length]
}

// send sends a reply that was written into the scratch memory.
func (r *Request) send(status int, message []byte) {
	r.scratch = message
	r.sendRecord(status, message)
}

// sendRecord sends a whole reply.
func (r *Request) sendRecord(status int, message []byte) {
	r.Status = status
	if r.Conn.Send(message) != nil {
		r.Fault = proxy.ClientGone
	}
}

// replyArriving is replyFlight for a response of which not everything may be there yet: what it takes then is the
// upstream's part, as with a response that is passed on without a cache. Of what this goroutine receives itself the proxy says so.
func (r *Request) replyArriving(f *Flight, a *Response) {
	if a.Whole {
		r.replyFlight(f, a)
		return
	}
	began := wire.Now()
	if r.replyFlight(f, a); r.fill == nil {
		r.Waited += wire.Now() - began
	}
}

// replyFlight replies with what a flight has found, as it arrives; a short body of known length when it is whole.
func (r *Request) replyFlight(f *Flight, a *Response) {
	if !a.Whole && !a.Live && a.Length >= 0 && a.Length <= proxy.MaxWhole {
		if r.reads {
			r.receive(r.fill.sink)
		}
		if err := f.Drain(r.waiter); err != nil {
			r.cut(err)
			return
		}
		*a = f.Response()
	}
	now := time.Now().UnixMilli()
	if r.posts && a.Whole && !r.status.Collapsed {
		r.status.Stored, r.status.Detail = a.Record != nil && r.caching.store.Keeps(now), a.Why
	}
	if a.Whole && a.Record != nil {
		if r.full = f.Claim(); r.full == nil {
			if r.buffer == nil {
				r.buffer = wire.GetBuffer(wire.LargeBuffer)
			}
			r.full = append(r.buffer.B[:recordRoom], a.Record...)
		}
		r.stored, _ = cache.Decode(r.full[recordRoom:])
		r.pass(r.stored.Body)
		r.reply(now)
		r.full, r.stored = nil, cache.Entry{} // they may be the flight's
		return
	}
	if r.request.NotModified(&a.Meta) {
		r.replyNotModified(a.Lines, &a.Meta, now)
		return
	}
	r.stream(f, a, now)
}

// stream passes the body of a flight on, piece by piece.
func (r *Request) stream(f *Flight, a *Response, now int64) {
	length := r.lengthOf(a.Length)
	h := r.appendOwn(append(r.statusLine(a.Meta.Status), a.Lines...), &a.Meta, now)
	if a.Meta.Status != fasthttp.StatusNoContent {
		h = wire.AppendLength(h, length)
	}
	r.scratch = append(h, "\r\n"...)
	r.Status, r.length = a.Meta.Status, length
	if !r.begin() {
		return
	}
	if r.buffer == nil {
		r.buffer = wire.GetBuffer(wire.SmallBuffer)
	}
	for more := true; more; {
		var piece []byte
		var err error
		if piece, more, err = f.Next(r.waiter, longestWait); err != nil {
			if err == ErrBroken && f.Response().Told {
				r.Conn.AwaitTaken(cutTaken)
			}
			r.cut(err)
			return
		}
		r.pass(piece)
		if err = r.sendPiece(piece); err == nil && !more {
			err = r.sendEnd()
		}
		if err != nil {
			r.Fault = proxy.ClientGone
			return
		}
	}
}

// sendPiece sends a piece of a body of r.length.
func (r *Request) sendPiece(piece []byte) error {
	switch {
	case r.length == wire.ChunkedBody:
		return r.passChunks(piece)
	case len(piece) > 0:
		return r.Conn.Send(piece)
	}
	return nil
}

// sendEnd ends a body of r.length, all of which has been sent.
func (r *Request) sendEnd() error {
	switch r.length {
	case wire.ChunkedBody:
		return r.Conn.Send(lastChunk)
	case wire.UntilClose:
		r.Conn.Complete()
	}
	return nil
}

// lengthOf is the length of the reply that passes on a body of this length, or of one that is not known: less than 0. Until the end of a reply
// is there, a close must not look like it.
func (r *Request) lengthOf(length int64) int64 {
	switch {
	case length >= 0:
		return length
	case r.Head.Minor == 0: // a client that knows no chunks
		r.Conn.EndAfter()
		r.Conn.Reset()
		return wire.UntilClose
	}
	return wire.ChunkedBody
}

// begin sends the head in the scratch memory, and tells whether to go on. If the response is still to be received, it does that, and the client
// gets what comes as long as it takes that at once.
func (r *Request) begin() (goOn bool) {
	unsent := r.scratch
	if r.reads {
		r.pending = r.scratch
		r.receive(r.fill.relays)
		if r.pending != nil { // nothing has come, and nothing will
			r.Status = 0
			return true
		}
		unsent = r.owed
	}
	if len(unsent) > 0 && r.Conn.Send(unsent) != nil {
		r.Fault = proxy.ClientGone
	}
	return r.Fault == proxy.None
}

// offer sends the piece that the fill has, if it is one, behind the head if that has not gone, as far as the client takes it at once. It tells whether
// that is all; the rest is owed.
func (r *Request) offer(piece []byte) (all bool) {
	message := r.pending
	r.pending = nil
	if len(piece) > 0 {
		r.pass(piece)
		message = r.Forward.Message(message, r.length)
	}
	if len(message) == 0 {
		return true
	}
	n, err := r.Conn.Offer(message)
	if err == nil && n == len(message) {
		return true
	}
	if r.buffer == nil {
		r.buffer = wire.GetBuffer(wire.SmallBuffer)
	}
	r.owed = append(r.buffer.B[:0], message[n:]...)
	return false
}

// cutTaken is how long a client may take to get the event that tells of a cut.
const cutTaken = time.Second

var lastChunk = []byte(wire.LastChunk)

// passChunks sends a piece of a body in chunks.
func (r *Request) passChunks(piece []byte) error {
	b := r.buffer.B
	for len(piece) > 0 {
		n := copy(b[wire.ChunkRoom:len(b)-wire.ChunkTail], piece)
		piece = piece[n:]
		from, to := wire.FrameChunk(b, wire.ChunkRoom, wire.ChunkRoom+n)
		if err := r.Conn.Send(b[from:to]); err != nil {
			return err
		}
	}
	return nil
}

// cut ends a reply that has no end.
func (r *Request) cut(err error) {
	switch {
	case err == ErrNobody:
		r.Fault = proxy.ClientGone
	case !r.Conn.Replied():
		r.Fault = proxy.BrokenResponse
	default:
		r.Fault = proxy.Truncated
	}
}
