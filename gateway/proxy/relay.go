package proxy

import (
	"cmp"
	"io"
	"time"

	"aigateway/gateway/wire"
)

// relay passes the response on, whose head and perhaps more of it is in x.down.
func (p *Proxy) relay(x *Exchange) Fault {
	if x.pump == nil {
		x.hold.release() // a generation may take a minute
	}
	length := x.response.BodyLength(x.Head.Method)
	if length == 0 && (x.toHEAD() || x.response.Status == 204 || x.response.Status == 304) {
		// Some upstreams send a body here all the same, and late; no other request must get it.
		x.dirty = true
	}
	x.Status, x.HeadAt = x.response.Status, wire.Now()
	x.upstream.owner.Load().judgeHead(x.upstream, x.Status, x.began, x.HeadAt)
	if x.pool.load.prefixes != nil && x.Status == 200 {
		x.pool.load.prefixes.note(x.Prefix, x.upstream.place)
	}
	for _, prefix := range x.Drop {
		x.response.Drop(prefix)
	}
	if x.switched() {
		return p.tunnel(x)
	}
	if x.Meter != nil {
		x.Meter.Response(&x.response)
	}
	if x.Taker != nil && x.Taker.Take(&x.response, length) {
		p.watch.Detach(&x.watched)
		x.attempted(None) // as far as the request goes; its body has a way of its own
		x.taken, x.length, x.flow.received = true, length, false
		return None
	}
	x.tapResponse()
	if length >= 0 && length <= MaxWhole && !x.response.EventStream() {
		return p.relayWhole(x, int(length))
	}
	if x.filters() {
		return p.relayFiltered(x, length)
	}
	return p.relayStream(x, length)
}

// relayWhole reads the whole body, frees the upstream's connection and answers with one write.
func (p *Proxy) relayWhole(x *Exchange, length int) Fault {
	b, body, end := x.down.B, x.body, x.end
	if body+length > len(b) {
		body = x.body - x.from + responseRoom
		x.large = wire.GetBuffer(body + length)
		b = x.large.B
		end = body + copy(b[body:], x.down.B[x.body:x.end])
	}
	to := body + length
	for end < to {
		n, err := x.receive(b[end:to], x.upstream.timeouts.Idle)
		end += n
		if err != nil {
			return x.readFault(err, TimeoutIdle)
		}
	}
	x.dirty = x.dirty || end > to // bytes behind the response are no part of it
	p.endClient(x)
	p.finish(x)
	x.tapBody(b[body:to])
	x.head = appendReplyHead(x.head[:0], x, int64(length))
	return x.sendBehindHead(b, body, to)
}

// endClient ends the client's connection with this response if what is left of a body that is not wanted would stand before the
// next request, or the gateway is on its way out.
func (p *Proxy) endClient(x *Exchange) {
	if x.uploading() || p.options.Draining() {
		x.Client.EndAfter()
	}
}

// relayStream passes the response on as it arrives: a read is a write, so a slow client slows the upstream.
func (p *Proxy) relayStream(x *Exchange, length int64) Fault {
	s := x.begin(length)
	if length < 0 {
		x.leaveOpen(s)
	}
	untilClose := length < 0 && !s.rechunk // for a client that knows no chunks
	outLength := length
	switch {
	case untilClose:
		outLength = wire.UntilClose
		x.Client.EndAfter()
	case s.rechunk:
		outLength = wire.ChunkedBody
	}
	x.dirty = x.dirty || length == wire.UntilClose
	p.endClient(x)
	x.head = appendReplyHead(x.head[:0], x, outLength)
	if f := s.first(x); f != None {
		return f
	}
	if untilClose {
		x.Client.Reset() // until the end is there, a close must not look like it
	}
	if !s.ended {
		p.watch.Guard(&x.watched, x.conn)
		if f := x.relayRest(); f != None {
			return f
		}
	}
	if untilClose {
		x.Client.Complete()
	}
	p.finish(x)
	return None
}

// relayRest passes on what is still to come of the body.
func (x *Exchange) relayRest() Fault {
	s := &x.flow
	if x.onPiece == nil {
		x.onPiece = x.relayPiece
	}
	err := x.conn.ReceiveEach(wire.Late(&x.down, x.from, wire.SmallBuffer-wire.ChunkTail), x.silence(), x.onPiece)
	if x.isEnd(err, s.length) {
		s.ended = true
		x.needDown()
		x.relayPiece(0)
	} else if err != nil {
		return x.cut(x.readFault(err, TimeoutIdle))
	}
	if s.fault != None {
		return x.cut(s.fault)
	}
	return None
}

// relayPiece passes on n bytes that have come, and tells whether there is to be more.
func (x *Exchange) relayPiece(n int) (more bool) {
	s := &x.flow
	data, ok := s.take(&x.attempt, x.from, x.from+n)
	piece := x.down.B[x.from : x.from+data]
	x.tapBody(piece)
	s.tail.Pass(piece)
	a, b := s.frame(x.down.B, x.from, data)
	switch {
	case a < b && x.Client.Send(x.down.B[a:b]) != nil:
		s.fault = x.clientGone()
	case !ok:
		s.fault = BrokenResponse
	}
	return s.fault == None && !s.ended
}

// isEnd tells whether a read has found the end of a response that has no length. While the request is still being sent, a reset may have
// been told to the sender already, and what looks like an end then is none.
func (x *Exchange) isEnd(err error, length int64) bool {
	return err == io.EOF && length == wire.UntilClose && !x.Gone() && !x.uploading() && !x.stuck() && !x.conn.WasReset()
}

// begin readies x.flow for the response's body, unless some of it has been read ahead. What is to be known of the head is noted now:
// it is gone when the client has it.
func (x *Exchange) begin(length int64) *stream {
	s := &x.flow
	if !s.ahead {
		*s = stream{length: length, left: max(0, length)}
	}
	s.rechunk, s.telling, s.fault, s.events = false, false, None, x.response.EventStream()
	return s
}

// leaveOpen readies s for a client's body that has no length.
func (x *Exchange) leaveOpen(s *stream) {
	s.rechunk = x.Head.Minor > 0
	s.telling = s.events && x.Dialect != nil && !x.response.Coded
}

// silence is how long nothing may come of the response's body.
func (x *Exchange) silence() time.Duration {
	if !x.flow.events {
		return x.upstream.timeouts.Idle
	}
	return cmp.Or(x.target().InterToken, x.upstream.timeouts.InterToken, x.upstream.timeouts.Idle)
}

// first sends the head, with what has come behind it: headers do not wait for the first event.
func (s *stream) first(x *Exchange) Fault {
	data, ok := s.held, true
	if !s.ahead {
		data, ok = s.take(&x.attempt, x.body, x.end)
	}
	if !ok {
		return BrokenResponse // the client has not got a byte: a clear error
	}
	to := x.body + data
	x.tapBody(x.down.B[x.body:to])
	s.tail.Pass(x.down.B[x.body:to])
	if s.rechunk && data > 0 {
		x.head = wire.AppendChunkSize(x.head, data)
		to += copy(x.down.B[to:], "\r\n")
	}
	if s.rechunk && s.ended {
		to = wire.FrameEnd(x.down.B, to)
	}
	return x.sendBehindHead(x.down.B, x.body, to)
}

// cutTaken is how long a client may take to get the event that tells of a cut.
const cutTaken = time.Second

// cut ends a response that has no end: the client's connection is reset, so that the client does not take it for whole. Of a stream of
// events that has come to the end of one, a last event says why, and the reset waits until the client's side has it.
func (x *Exchange) cut(f Fault) Fault {
	if f == ClientGone {
		x.Client.Reset()
		return f
	}
	if s := &x.flow; s.telling && s.tail.Ends() && x.Dialect.Known() {
		x.needDown()
		b := x.Dialect.AppendCut(x.down.B[:0], f)
		if x.head = x.head[:0]; s.rechunk {
			x.head = append(append(wire.AppendChunkSize(x.head, len(b)), b...), "\r\n"...)
		} else {
			x.head = append(x.head, b...)
		}
		if x.Client.Send(x.head) == nil {
			x.Client.AwaitTaken(cutTaken)
		}
	}
	x.Client.Reset()
	return Truncated
}
