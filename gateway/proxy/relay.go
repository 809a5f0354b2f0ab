package proxy

import (
	"io"

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
	if x.switched() {
		return p.tunnel(x)
	}
	for _, prefix := range x.Drop {
		x.response.Drop(prefix)
	}
	if x.Meter != nil {
		x.Meter.Response(&x.response)
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
		data, ok := s.take(&x.attempt, x.from, x.from+n)
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
	data, ok := s.take(&x.attempt, x.body, x.end)
	if !ok {
		return BrokenResponse // the client has not got a byte: a clear error
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

// cut ends a response that has no end: the client's connection is reset, so that the client does not take it for whole.
func (x *Exchange) cut(f Fault) Fault {
	x.Client.Reset()
	if f == ClientGone {
		return f
	}
	return Truncated
}
