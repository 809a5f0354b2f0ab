package proxy

import (
	"errors"
	"slices"

	"aigateway/gateway/wire"
)

// Arrived tells whether all of a held response's body has come with its head.
func (x *Exchange) Arrived() bool { return x.length >= 0 && int64(x.end-x.body) >= x.length }

// ErrLater is what a sink returns to have [Proxy.Receive] return. The piece that it was given is taken.
var ErrLater = errors.New("proxy: the rest is received later")

// Receive reads the body of a response that was taken and gives it to sink, in pieces that are borrowed until it
// returns. The first one is what has come with the head; a piece may be empty. Relayed means that the body is whole, Taken that the rest
// is to be read by another Receive, perhaps in another goroutine: the sink wants it later, or the client has left to whom the exchange is attached and
// others are still there. Another error of the sink ends the exchange as [ClientGone].
func (p *Proxy) Receive(x *Exchange, sink func(piece []byte) error) Outcome {
	if x.Meter == nil {
		return p.receiveTaken(x, sink)
	}
	ended := Outcome(BrokenResponse) // a panic is none of the client's doing
	defer func() {
		if ended != Taken {
			x.Meter.Settle(x, ended.Fault())
		}
	}()
	ended = p.receiveTaken(x, sink)
	return ended
}

// receiveTaken is Receive of a response that nobody meters.
func (p *Proxy) receiveTaken(x *Exchange, sink func(piece []byte) error) Outcome {
	if !x.flow.received {
		x.filtering = x.filters() // now: the head is gone when more has come
	}
	o := p.receiveAll(x, x.filtered(sink))
	if o == Taken {
		return o
	}
	f := o.Fault()
	if f == None && x.filtering {
		x.piece.set(x.Filter.End(x.piece.room()))
		if err := sink(x.piece.bytes()); err != nil && err != ErrLater {
			f = ClientGone
		}
	}
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
	x.leavePlace()
	x.free()
	return Outcome(f)
}

// filtered is the sink of a response out of which something is taken.
func (x *Exchange) filtered(sink func([]byte) error) func([]byte) error {
	if !x.filtering {
		return sink
	}
	return func(piece []byte) error {
		x.piece.set(x.Filter.Pass(x.piece.room(), piece))
		return sink(x.piece.bytes())
	}
}

// A framed piece is one of a body with room for what it gets around it.
type framed struct {
	b        []byte
	from, to int
	own      []byte // memory for what lies in no buffer of the exchange
}

// room is memory for a piece, with the room before it.
func (p *framed) room() []byte {
	if p.own == nil {
		p.own = make([]byte, responseRoom, responseRoom+wire.SmallBuffer)
	}
	return p.own[:responseRoom]
}

// set sets the piece that was appended to room.
func (p *framed) set(b []byte) {
	p.own = slices.Grow(b, wire.ChunkTail)
	p.b, p.from, p.to = p.own[:cap(p.own)], responseRoom, len(b)
}

func (p *framed) bytes() []byte { return p.b[p.from:p.to] }

// Message is the piece that a sink has as a client gets it: in a chunk, if that is how, and behind a head, if there is one. It lies where the
// piece lies, and is as long borrowed; empty if there is nothing to send.
func (x *Exchange) Message(head []byte, length int64) []byte {
	p := &x.piece
	from, to := p.from, p.to
	if length == wire.ChunkedBody {
		from, to = wire.FrameChunk(p.b, from, to)
	}
	if len(head) > from {
		return append(head, p.b[from:to]...)
	}
	from -= copy(p.b[from-len(head):], head)
	return p.b[from:to]
}

func (p *Proxy) receiveAll(x *Exchange, sink func([]byte) error) Outcome {
	s := &x.flow
	first := !s.received
	data, ok := x.beginning()
	for from, silence := x.body, x.silence(); ; {
		if !ok {
			return Outcome(BrokenResponse)
		}
		if first || data > 0 {
			first = false
			piece := x.down.B[from : from+data]
			x.metered(piece)
			x.piece.b, x.piece.from, x.piece.to = x.down.B, from, from+data
			switch err := sink(piece); {
			case err == ErrLater:
				return Taken
			case err != nil:
				return Outcome(ClientGone)
			}
		}
		if s.ended {
			return Relayed
		}
		from = x.from
		n, err := x.receiveLate(from, wire.SmallBuffer-wire.ChunkTail, silence)
		if err == wire.ErrWoken {
			return Taken
		}
		if x.isEnd(err, x.length) {
			return Relayed
		}
		if err != nil {
			return Outcome(x.readFault(err, TimeoutIdle))
		}
		data, ok = s.take(&x.attempt, from, from+n)
	}
}

// beginning is how much of the body of a response that was taken has come with its head, decoded; nothing of one that is received
// already. ok is false if the framing is broken behind it.
func (x *Exchange) beginning() (data int, ok bool) {
	s := &x.flow
	if s.received {
		return 0, true
	}
	data, ok = s.held, true
	if !s.ahead {
		*s = stream{length: x.length, left: max(0, x.length), ended: x.length == 0}
		data, ok = s.take(&x.attempt, x.body, x.end)
	}
	s.ahead, s.received = false, true
	s.events = x.response.EventStream() // now: the head is gone when more has come
	x.dirty = x.dirty || x.length == wire.UntilClose
	return data, ok
}
