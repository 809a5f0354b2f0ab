package proxy

import (
	"aigateway/gateway/wire"
)

// A Meter decides whether a request goes to an upstream, and sees what it costs there. It is asked when no place is taken yet and no
// upstream has been looked for.
type Meter interface {
	// Admit is asked once. A fault is what Forward returns then, and nothing else is called. It may add to x.Fields.
	Admit(x *Exchange) Fault

	// Response sees the head of the response that is passed on or taken.
	Response(head *wire.ResponseHead)

	// Body sees a piece of its body, decoded, before anybody else gets it.
	Body(piece []byte)

	// Settle is told the end, once, whatever it is: None if the response was whole. Of one that was taken, [Proxy.Receive] tells it.
	// x.Upstream is nil if the request was never sent.
	Settle(x *Exchange, f Fault)
}

// A Filter takes something out of an event stream that passes.
type Filter interface {
	// Pass appends to dst what goes on, now that the next piece has come.
	Pass(dst, piece []byte) []byte

	// End appends what is left at the stream's end.
	End(dst []byte) []byte
}

// Forward sends x's request to an upstream, and passes its response to x.Client or x.Taker. A fault means that the client has
// no response yet, so that the caller replies, unless x.Client.Answered(): then the connection is at its end.
func (p *Proxy) Forward(x *Exchange) Outcome {
	if x.Meter == nil {
		return p.forward(x)
	}
	if f := x.Meter.Admit(x); f != None {
		x.free()
		return Outcome(f)
	}
	ended := BrokenResponse // a panic is none of the client's doing
	defer func() {
		if !x.taken {
			x.Meter.Settle(x, ended)
		}
	}()
	o := p.forward(x)
	ended = o.Fault()
	return o
}

// metered shows the meter a piece of the response's body.
func (x *Exchange) metered(piece []byte) {
	if x.Meter != nil && len(piece) > 0 {
		x.Meter.Body(piece)
	}
}

// filters tells whether something is to be taken out of the response. Who asked for what is in the way here did so for a stream that is not
// coded; another one passes as it is.
func (x *Exchange) filters() bool {
	return x.Filter != nil && x.response.Status == 200 && x.response.EventStream() && !x.response.Coded
}

// relayFiltered is relayStream for a response out of which something is taken: what goes on is copied, in chunks of its own.
func (p *Proxy) relayFiltered(x *Exchange, length int64) Fault {
	s := x.begin(length)
	x.leaveOpen(s)
	outLength := int64(wire.ChunkedBody)
	if !s.rechunk {
		outLength = wire.UntilClose
		x.Client.EndAfter()
	}
	x.dirty = x.dirty || length == wire.UntilClose
	p.endClient(x)
	x.response.ContentLength = -1
	x.head = appendReplyHead(x.head[:0], x, outLength)
	if x.Client.Send(x.head) != nil {
		return x.clientGone()
	}
	if !s.rechunk {
		x.Client.Reset() // until the end is there, a close must not look like it
	}
	silence := x.silence()
	for from, to := x.body, x.end; ; {
		data, ok := s.held, true
		if !s.ahead {
			data, ok = s.take(&x.attempt, from, to)
		}
		s.ahead = false
		piece := x.part(from, data)
		x.tapBody(piece)
		if !p.sendFiltered(x, s, piece) {
			return x.clientGone()
		}
		if !ok {
			return x.cut(BrokenResponse)
		}
		if s.ended {
			break
		}
		from = x.from
		n, err := x.receiveLate(from, wire.SmallBuffer, silence)
		to = from + n
		if err == nil {
			continue
		}
		if s.ended = x.isEnd(err, length); !s.ended {
			return x.cut(x.readFault(err, TimeoutIdle))
		}
		to = from
	}
	if !s.rechunk {
		x.Client.Complete()
	}
	p.finish(x)
	return None
}

// sendFiltered sends what goes on of a piece.
func (p *Proxy) sendFiltered(x *Exchange, s *stream, piece []byte) (sent bool) {
	out := wire.GetBuffer(wire.LargeBuffer)
	defer out.Put()
	b := x.Filter.Pass(out.B[:wire.ChunkRoom], piece)
	if s.ended {
		b = x.Filter.End(b)
	}
	from, to := wire.ChunkRoom, len(b)
	s.tail.Pass(b[from:to])
	if s.rechunk {
		b = append(b, make([]byte, wire.ChunkTail)...)
		if from, to = wire.FrameChunk(b, from, to); s.ended {
			to = wire.FrameEnd(b, to)
		}
	}
	return from == to || x.Client.Send(b[from:to]) == nil
}
