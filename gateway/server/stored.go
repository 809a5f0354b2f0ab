package server

import (
	"strconv"
	"time"

	"aigateway/gateway/cache"
	"aigateway/gateway/proxy"
	"aigateway/gateway/wire"

	"github.com/valyala/fasthttp"
)

// longestWait is how long a request waits for a piece of another one's answer: the fetch has deadlines of its own.
const longestWait = time.Hour

// maxWhole is the longest body, in bytes, that is sent only when all of it is there, so that a cut is a clear error:
// as for what is passed on without a cache.
const maxWhole = 64 << 10

// serve answers with the record in c.full. Nothing of it is of use afterwards: its head is moved, over what
// stands before it, to make room for the new lines.
func (g *Gateway) serve(x *exchange, now int64) {
	c := &x.cached
	m := &c.stored.Meta
	size := len(c.stored.Body)
	if c.request.NotModified(m) {
		g.sendNotModified(x, storedLines(&c.stored), m, now)
		return
	}
	from, to, ranged := c.request.Range(m, int64(size))
	switch ranged {
	case cache.Whole:
		if m.Status == fasthttp.StatusNoContent { // which has no length: RFC 9110 §8.6
			h := append(appendStatusLine(x.scratch[:0], m.Status), storedLines(&c.stored)...)
			g.send(x, m.Status, append(x.appendOwn(h, m, now), "\r\n"...))
			return
		}
		line := appendStatusLine(x.scratch[:0], m.Status)
		x.scratch = x.appendOwn(line, m, now)
		if c.request.Head {
			size = 0
		}
		g.sendNow(x, m.Status, c.around(x.scratch[:len(line)], x.scratch[len(line):], size))
	case cache.Part:
		h := append(appendStatusLine(x.scratch[:0], fasthttp.StatusPartialContent), storedLines(&c.stored)...)
		h = append(x.appendOwn(h, m, now), "Content-Range: "...)
		h = cache.AppendContentRange(h, from, to, int64(size))
		h = appendInt(append(h, "\r\nContent-Length: "...), int(to-from))
		h = append(h, "\r\n\r\n"...)
		x.scratch = h
		g.sendNow(x, fasthttp.StatusPartialContent, c.before(h, c.stored.Start+len(c.stored.Head)+int(from), int(to-from)))
	default:
		h := x.appendOwn(appendStatusLine(x.scratch[:0], fasthttp.StatusRequestedRangeNotSatisfiable), m, now)
		h = cache.AppendContentRange(append(h, "Content-Range: "...), 0, 0, int64(size))
		g.send(x, fasthttp.StatusRequestedRangeNotSatisfiable, append(h, "\r\nContent-Length: 0\r\n\r\n"...))
	}
}

// sendNotModified answers that the client has it already.
func (g *Gateway) sendNotModified(x *exchange, lines []byte, m *cache.Meta, now int64) {
	h := cache.AppendNotModified(appendStatusLine(x.scratch[:0], fasthttp.StatusNotModified), lines, m)
	g.send(x, fasthttp.StatusNotModified, append(x.appendOwn(h, m, now), "\r\n"...))
}

// around puts a status line before the stored lines and own ones behind them, where the length and the body follow, of
// which size bytes are wanted. The stored lines are moved, the body stays where it is.
func (c *cached) around(status, own []byte, size int) []byte {
	lines := storedLines(&c.stored)
	behind := recordRoom + c.stored.Start + len(lines)
	end := recordRoom + c.stored.Start + len(c.stored.Head) + size
	start := behind - len(own) - len(lines) - len(status)
	if start < 0 {
		panic("BUG: no room for the head")
	}
	copy(c.full[start+len(status):], lines)
	copy(c.full[behind-len(own):], own)
	copy(c.full[start:], status)
	return c.full[start:end]
}

// before puts a head before some bytes of the record, and returns both.
func (c *cached) before(head []byte, at, length int) []byte {
	at += recordRoom
	if len(head) > at {
		panic("BUG: no room for the head")
	}
	copy(c.full[at-len(head):], head)
	return c.full[at-len(head) : at+length]
}

// send sends an answer that was written into scratch.
func (g *Gateway) send(x *exchange, status int, message []byte) {
	x.scratch = message
	g.sendNow(x, status, message)
}

// sendNow sends a whole answer.
func (g *Gateway) sendNow(x *exchange, status int, message []byte) {
	x.forward.Status = status
	if x.conn.Send(message) != nil {
		g.left(x)
	}
}

func appendStatusLine(dst []byte, status int) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = appendInt(dst, status)
	dst = append(append(dst, ' '), fasthttp.StatusMessage(status)...)
	return append(dst, "\r\n"...)
}

// appendOwn appends the lines that are new with every answer. They stand behind the stored ones: in Via and
// Cache-Status, who is nearer to the client comes later (RFC 9110 §7.6.3, RFC 9211 §2).
func (x *exchange) appendOwn(dst []byte, m *cache.Meta, now int64) []byte {
	// RFC 9111 §5.1: an answer that was not validated with this request shows its age.
	if age := m.Age(now); x.cached.status.Forward == cache.NotForwarded || x.cached.outcome == outcomeStale || age > 0 {
		dst = strconv.AppendInt(append(dst, "Age: "...), age, 10)
		dst = append(dst, "\r\n"...)
	}
	dst = append(dst, "Via: 1.1 aigateway\r\nX-Request-ID: "...)
	dst = append(append(dst, x.id...), "\r\n"...)
	dst = x.appendOutcome(dst)
	if x.plan.settings.ServerTiming {
		dst = append(x.appendTiming(append(dst, "Server-Timing: "...)), "\r\n"...)
	}
	if len(x.rateLimit) > 0 {
		dst = append(append(append(dst, "RateLimit-Policy: "...), x.route.policy...), "\r\nRateLimit: "...)
		dst = append(append(dst, x.rateLimit...), "\r\n"...)
	}
	if x.gateway.draining.Load() {
		x.conn.EndAfter()
	}
	return x.conn.AppendConnection(dst, x.head.Minor)
}

// appendOutcome appends what the cache has to say about the answer.
func (x *exchange) appendOutcome(dst []byte) []byte {
	c := &x.cached
	dst = append(append(dst, "X-Cache: "...), c.outcome...)
	dst = append(dst, "\r\nCache-Status: "...)
	return append(cache.AppendCacheStatus(dst, c.status), "\r\n"...)
}

func appendInt(dst []byte, n int) []byte { return strconv.AppendInt(dst, int64(n), 10) }

// serveArriving is serveFlight for an answer of which not everything may be there yet: what it takes then is the
// upstream's part, as with an answer that is passed on without a cache.
func (g *Gateway) serveArriving(x *exchange, f *cache.Flight) {
	whole, began := f.Answer().Whole, wire.Now()
	g.serveFlight(x, f)
	if !whole {
		x.forward.UpstreamTime += wire.Now() - began
	}
}

// serveFlight answers with what a flight has found, as it arrives; a short body of known length when it is whole.
func (g *Gateway) serveFlight(x *exchange, f *cache.Flight) {
	c := &x.cached
	a := f.Answer()
	if !a.Whole && !a.Live && a.Length >= 0 && a.Length <= maxWhole {
		if err := f.Read(c.seat); err != nil {
			g.cut(x, err)
			return
		}
		a = f.Answer()
	}
	now := time.Now().UnixMilli()
	if a.Whole && a.Record != nil {
		if c.buffer == nil {
			c.buffer = wire.GetBuffer(wire.LargeBuffer)
		}
		c.full = append(c.buffer.B[:recordRoom], a.Record...)
		c.stored, _ = cache.Decode(c.full[recordRoom:])
		g.serve(x, now)
		return
	}
	if c.request.NotModified(&a.Meta) {
		g.sendNotModified(x, a.Lines, &a.Meta, now)
		return
	}
	g.stream(x, f, &a, now)
}

// stream passes the body of a flight on, piece by piece.
func (g *Gateway) stream(x *exchange, f *cache.Flight, a *cache.Answer, now int64) {
	c := &x.cached
	chunked := a.Length < 0 && x.head.Minor > 0
	untilClose := a.Length < 0 && !chunked // for a client that knows no chunks
	if untilClose {
		x.conn.EndAfter()
	}
	h := x.appendOwn(append(appendStatusLine(x.scratch[:0], a.Meta.Status), a.Lines...), &a.Meta, now)
	switch {
	case chunked:
		h = append(h, "Transfer-Encoding: chunked\r\n"...)
	case !untilClose && a.Meta.Status != fasthttp.StatusNoContent:
		h = append(appendInt(append(h, contentLength...), int(a.Length)), "\r\n"...)
	}
	x.scratch = append(h, "\r\n"...)
	x.forward.Status = a.Meta.Status
	if x.conn.Send(x.scratch) != nil {
		g.left(x)
		return
	}
	if untilClose {
		x.conn.Reset() // until the end is there, a close must not look like it
	}
	for more := true; more; {
		var piece []byte
		var err error
		if piece, more, err = f.Next(c.seat, longestWait); err != nil {
			g.cut(x, err)
			return
		}
		if g.pass(x, piece, chunked, !more) != nil {
			g.left(x)
			return
		}
	}
	if untilClose {
		x.conn.Complete()
	}
}

// pass sends a piece of a body, in chunks if need be.
func (g *Gateway) pass(x *exchange, piece []byte, chunked, last bool) error {
	if !chunked {
		if len(piece) == 0 {
			return nil
		}
		return x.conn.Send(piece)
	}
	b := x.cached.buffer.B
	for {
		n := min(len(piece), len(b)-64)
		out := b[:0]
		if n > 0 {
			out = append(append(wire.AppendChunkSize(out, n), piece[:n]...), "\r\n"...)
		}
		if piece = piece[n:]; len(piece) == 0 && last {
			out = append(out, wire.LastChunk...)
		}
		if len(out) > 0 {
			if err := x.conn.Send(out); err != nil {
				return err
			}
		}
		if len(piece) == 0 {
			return nil
		}
	}
}

// cut ends an answer that has no end: an error as long as nothing was sent, else a reset, so that nobody takes it for
// whole.
func (g *Gateway) cut(x *exchange, err error) {
	switch {
	case err == cache.ErrNobody:
		g.left(x)
	case !x.conn.Answered():
		x.fault = proxy.BrokenAnswer
		g.replyFault(x, ofProxyFault(x.fault))
	default:
		x.fault = proxy.Truncated
		x.drop()
	}
}
