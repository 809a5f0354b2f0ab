package proxy

import (
	"aigateway/gateway/wire"
)

// A stream is a response on its way through: read by read, each passed on at once.
type stream struct {
	left     int64 // bytes of a body with a length
	length   int64 // or ChunkedBody, UntilClose
	rechunk  bool  // the client gets chunks
	in       wire.Chunked
	ended    bool
	events   bool // server-sent
	telling  bool // and the client can be told in one of them why it ends
	ahead    bool // some of it has been read before the client gets a byte
	held     int  // bytes of the body that have, decoded
	received bool // by Receive, which has begun
	tail     Tail
	fault    Fault // why nothing more of it is wanted
}

// take decodes what arrived in a.down.B[from:to], moves the body's bytes to from and returns how many.
// ok is false if the framing is broken behind them.
func (s *stream) take(a *attempt, from, to int) (data int, ok bool) {
	switch s.length {
	case wire.UntilClose:
		return to - from, true
	case wire.ChunkedBody:
	default:
		data = int(min(int64(to-from), s.left))
		s.left -= int64(data)
		s.ended = s.left == 0
		a.dirty = a.dirty || data < to-from
		return data, true
	}
	b := a.down.B
	for at := from; at < to && !s.in.Done(); {
		piece, used, v := s.in.Next(b[at:to])
		if v != wire.None {
			return data, false
		}
		data += copy(b[from+data:], piece)
		if at += used; s.in.Done() {
			s.ended = true
			a.dirty = a.dirty || at < to
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
