package proxy

import (
	"io"

	"aigateway/gateway/wire"
)

// relay passes the answer on, whose head and perhaps more of it is in x.down.
func (p *Proxy) relay(x *Exchange) Fault {
	length := x.response.BodyLength(x.toHEAD())
	if length == 0 && (x.toHEAD() || x.response.Status == 204 || x.response.Status == 304) {
		// Some upstreams send a body here all the same, and late; nobody must get it.
		x.dirty = true
	}
	x.Status, x.HeadAt = x.response.Status, wire.Now()
	x.upstream.owner.Load().judgeHead(x.upstream, x.Status, x.began, x.HeadAt)
	if x.switched() {
		return p.tunnel(x)
	}
	if x.Taker != nil && x.Taker.Take(&x.response, length) {
		p.watch.Detach(&x.watched)
		x.attempted(None) // as far as the request goes; its body has a way of its own
		x.taken, x.length = true, length
		return None
	}
	x.tapResponse()
	if length >= 0 && length <= MaxWhole && !x.response.EventStream() {
		return p.relayWhole(x, int(length))
	}
	return p.relayStream(x, length)
}

func (x *Exchange) toHEAD() bool { return string(x.Head.Method) == "HEAD" }

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
	x.dirty = x.dirty || end > to // bytes behind the answer belong to nobody
	p.endClient(x)
	p.finish(x)
	x.tapBody(b[body:to])
	x.head = appendReplyHead(x.head[:0], x, int64(length))
	return x.sendBehindHead(b, body, to)
}

// sendBehindHead puts x.head right before the body at b[body:to] and sends both.
func (x *Exchange) sendBehindHead(b []byte, body, to int) Fault {
	from := body - len(x.head)
	if from < 0 {
		panic("BUG: no room for the head")
	}
	copy(b[from:], x.head)
	if x.Client.Send(b[from:to]) != nil {
		return x.clientGone()
	}
	return None
}

// endClient ends the client's connection with this answer if what is left of a body that nobody wants would stand before the
// next request, or the gateway is on its way out.
func (p *Proxy) endClient(x *Exchange) {
	if x.uploading() || p.options.Draining() {
		x.Client.EndAfter()
	}
}

// clientGone notes that the client has clientGone in the middle of its answer.
func (x *Exchange) clientGone() Fault {
	x.watched.MarkGone()
	x.Client.Reset()
	return ClientGone
}

// A stream is an answer on its way through: read by read, each passed on at once.
type stream struct {
	left    int64 // bytes of a body with a length
	length  int64 // or ChunkedBody, UntilClose
	rechunk bool  // the client gets chunks
	in      wire.Chunked
	ended   bool
}

// relayStream passes the answer on as it arrives: a read is a write, so a slow client slows the upstream.
func (p *Proxy) relayStream(x *Exchange, length int64) Fault {
	s := stream{length: length, left: max(0, length), rechunk: length < 0 && x.Head.Minor > 0}
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
	for !s.ended {
		n, err := x.receive(x.down.B[x.from:len(x.down.B)-wire.ChunkTail], x.upstream.timeouts.Idle)
		// While the request is still being sent, its reset may have been reported to the sender already, and
		// what looks like an end here is none.
		if err == io.EOF && length == wire.UntilClose && !x.Gone() && !x.uploading() && !x.stuck() {
			s.ended = true
		} else if err != nil {
			return x.cut(x.readFault(err, TimeoutIdle))
		}
		data, ok := s.take(x, x.from, x.from+n)
		if !ok {
			return x.cut(BrokenResponse)
		}
		x.tapBody(x.down.B[x.from : x.from+data])
		a, b := s.frame(x.down.B, x.from, data)
		if a < b && x.Client.Send(x.down.B[a:b]) != nil {
			return x.clientGone()
		}
	}
	if untilClose {
		x.Client.Complete()
	}
	p.finish(x)
	return None
}

// first sends the head, with what has come behind it: headers do not wait for the first event.
func (s *stream) first(x *Exchange) Fault {
	data, ok := s.take(x, x.body, x.end)
	if !ok {
		return BrokenResponse // nobody has seen a byte: a clear error
	}
	to := x.body + data
	x.tapBody(x.down.B[x.body:to])
	if s.rechunk && data > 0 {
		x.head = wire.AppendChunkSize(x.head, data)
		to += copy(x.down.B[to:], "\r\n")
	}
	if s.rechunk && s.ended {
		to = wire.FrameEnd(x.down.B, to)
	}
	return x.sendBehindHead(x.down.B, x.body, to)
}

// take decodes what arrived in x.down.B[from:to], moves the body's bytes to from and returns how many.
// ok is false if the upstream's framing is broken.
func (s *stream) take(x *Exchange, from, to int) (data int, ok bool) {
	switch s.length {
	case wire.UntilClose:
		return to - from, true
	case wire.ChunkedBody:
	default:
		data = int(min(int64(to-from), s.left))
		s.left -= int64(data)
		s.ended = s.left == 0
		x.dirty = x.dirty || data < to-from
		return data, true
	}
	b := x.down.B
	for at := from; at < to && !s.in.Done(); {
		piece, used, v := s.in.Next(b[at:to])
		if v != wire.None {
			return 0, false
		}
		data += copy(b[from+data:], piece)
		if at += used; s.in.Done() {
			s.ended = true
			x.dirty = x.dirty || at < to
		}
	}
	return data, true
}

// frame makes a chunk of the data at b[from:] if the client gets chunks, in the room around it.
func (s *stream) frame(b []byte, from, data int) (int, int) {
	to := from + data
	if !s.rechunk {
		return from, to
	}
	if from, to = wire.FrameChunk(b, from, to); s.ended {
		to = wire.FrameEnd(b, to)
	}
	return from, to
}

// Arrived tells whether all of a held answer's body has come with its head.
func (x *Exchange) Arrived() bool { return x.length >= 0 && int64(x.end-x.body) >= x.length }

// Receive reads the body of an answer that was taken and gives it to sink, in pieces that are borrowed until it
// returns. None means that the body is whole; an error of the sink ends the exchange as [ClientGone].
func (p *Proxy) Receive(x *Exchange, sink func(piece []byte) error) Fault {
	f := p.receiveAll(x, sink)
	x.taken = false
	if f == None {
		p.finish(x)
	} else {
		p.abandon(x)
	}
	p.observe(x, f)
	if f != None {
		x.upstream.owner.Load().judge(x.upstream, f, x.response.Status, x.began)
	}
	x.upstream.release(x.pool)
	x.free()
	return f
}

func (p *Proxy) receiveAll(x *Exchange, sink func(piece []byte) error) Fault {
	s := stream{length: x.length, left: max(0, x.length), ended: x.length == 0}
	x.dirty = x.dirty || x.length == wire.UntilClose
	from, to := x.body, x.end
	for {
		data, ok := s.take(x, from, to)
		if !ok {
			return BrokenResponse
		}
		if data > 0 && sink(x.down.B[from:from+data]) != nil {
			return ClientGone
		}
		if s.ended {
			return None
		}
		from = x.from
		n, err := x.receive(x.down.B[from:], x.upstream.timeouts.Idle)
		if err == io.EOF && x.length == wire.UntilClose && !x.Gone() {
			return None
		}
		if err != nil {
			return x.readFault(err, TimeoutIdle)
		}
		to = from + n
	}
}

// cut ends an answer that has no end: the client's connection is reset, so that nobody takes it for whole.
func (x *Exchange) cut(f Fault) Fault {
	x.Client.Reset()
	if f == ClientGone {
		return f
	}
	return Truncated
}
