package proxy

import (
	"io"
	"sync/atomic"

	"aigateway/gateway/wire"
)

// Holds bounds the memory in which requests' bodies wait until they are whole, or long enough to be sent as they come.
type Holds struct {
	each, total atomic.Int64
	held        atomic.Int64 // bytes, of all requests
}

// Set says how much of one body is held, and how much of all together.
func (h *Holds) Set(each, total int64) {
	h.each.Store(max(each, MaxWhole))
	h.total.Store(total)
}

// Held is how many bytes are held now.
func (h *Holds) Held() int64 { return h.held.Load() }

// tight tells whether more than half of the memory for all is taken.
func (h *Holds) tight() bool { return h != nil && 2*h.held.Load() > h.total.Load() }

// shortShare is the part of the total that bodies of at most MaxWhole may have beyond it: uploads must not keep
// ordinary requests out.
const shortShare = 8

// reserve makes room for n bytes more, if there is.
func (h *Holds) reserve(n, limit int64) bool {
	if h.held.Add(n) <= limit {
		return true
	}
	h.held.Add(-n)
	return false
}

// A hold is the part of a request's body that is in memory: all of it, or its beginning. It can be sent again as
// long as it is not released.
type hold struct {
	holds *Holds
	first *wire.Buffer   // the body's beginning, at most MaxWhole; nil: there is none
	room  int            // where the body begins in first; the head is put before it
	short int            // bytes of the body in first
	more  []*wire.Buffer // what follows, morePart bytes each but the last
	size  int            // bytes in all
	taken int64          // of holds
	whole bool           // there is nothing else

	reader BodyReader // nil: none

	grown  int64  // bytes by which replacing has made it longer
	beyond Span   // what with stands for: it does not lie in first alone
	with   []byte // nil: nothing is replaced on its way
}

// morePart is how much of a body a buffer of hold.more has; there is room for the end of a chunk behind it.
const morePart = wire.LargeBuffer - wire.ChunkTail

// collect reads the request's body: all of one that is not longer than is held, the beginning of another.
func (h *hold) collect(c *wire.ClientConn, announced int64) Fault {
	long := announced > MaxWhole
	limit := h.holds.total.Load()
	if long && h.holds.held.Load()+MaxWhole > limit {
		return BodiesFull // and the client is not told to go on
	}
	want := MaxWhole
	if !long {
		limit += limit / shortShare
		if announced >= 0 {
			want = int(announced)
		}
	}
	h.first = wire.GetBuffer(h.firstSize(announced))
	for h.short < want && !c.BodyDone() {
		space := h.first.B[h.room+h.short : min(len(h.first.B)-wire.ChunkTail, h.room+want)]
		if len(space) < min(want-h.short, tooLittle) {
			if !h.grow(want, limit) {
				return BodiesFull
			}
			continue
		}
		n, err := c.ReadBody(space)
		if f := h.see(space[:n], err); f != None {
			return f
		}
		h.short += n
	}
	h.size = h.short
	if h.whole = c.BodyDone(); h.whole {
		return h.end()
	}
	return h.collectMore(c)
}

// firstSize is the buffer that a body begins in: what the client announces costs nothing before it is there.
func (h *hold) firstSize(announced int64) int {
	size := h.room + wire.ChunkTail
	if announced >= 0 && announced <= int64(wire.TinyBuffer-size) {
		return wire.TinyBuffer
	}
	return max(size+1, wire.SmallBuffer)
}

// tooLittle is room in a buffer that is not worth a system call of its own: a body that has filled the rest of it gets a larger one.
const tooLittle = wire.SmallBuffer / 4

// see shows the reader what was read.
func (h *hold) see(piece []byte, err error) Fault {
	if f := bodyFault(err); f != None || h.reader == nil {
		return f
	}
	return h.reader.Read(piece)
}

// end tells the reader that the body is whole.
func (h *hold) end() Fault {
	if h.reader == nil {
		return None
	}
	return h.reader.End()
}

// grow makes first large enough for so much of the body.
func (h *hold) grow(want int, limit int64) bool {
	if !h.reserve(int64(want), limit) {
		return false
	}
	larger := wire.GetBuffer(h.room + want + wire.ChunkTail)
	copy(larger.B[h.room:], h.first.B[h.room:h.room+h.short])
	h.first.Put()
	h.first = larger
	return true
}

// collectMore reads what does not fit first: so much as is held of each body, and beyond it as long as the reader does not
// know enough.
func (h *hold) collectMore(c *wire.ClientConn) Fault {
	each := int(h.holds.each.Load())
	for at := morePart; !c.BodyDone(); {
		if h.size >= each {
			if h.reader == nil || !h.reader.Open() {
				return None
			}
			room := morePart - at // in the last buffer
			if room == 0 {
				room = morePart
			} else if !h.reserve(int64(room), h.holds.total.Load()) {
				return BodiesFull
			}
			each = h.size + room // the body's own limit ends it
		}
		if at == morePart {
			if !h.reserve(int64(min(morePart, each-h.size)), h.holds.total.Load()) {
				return BodiesFull
			}
			h.more = append(h.more, wire.GetBuffer(wire.LargeBuffer))
			at = 0
		}
		space := h.more[len(h.more)-1].B[at:min(morePart, at+each-h.size)]
		n, err := c.ReadBody(space)
		if f := h.see(space[:n], err); f != None {
			return f
		}
		at += n
		h.size += n
	}
	h.whole = true
	return h.end()
}

func (h *hold) reserve(n, limit int64) bool {
	if !h.holds.reserve(n, limit) {
		return false
	}
	h.taken += n
	return true
}

// release gives the memory back: the body will not be sent again.
func (h *hold) release() {
	if h.first == nil {
		return
	}
	h.first.Put()
	for i, b := range h.more {
		b.Put()
		h.more[i] = nil
	}
	if h.taken > 0 {
		h.holds.held.Add(-h.taken)
	}
	h.first, h.more, h.taken = nil, h.more[:0], 0
	h.reader = nil
}

// MaxWhole is the longest body, in bytes, that is held whole: a request's, so that it can be sent at once
// and its client's pace is not the upstream's; a response's, so that the upstream's connection is free again
// before a slow client has read it, and a cut becomes a clear error. Longer ones stream.
const MaxWhole = 64 << 10

func bodyFault(err error) Fault {
	switch err {
	case nil, io.EOF:
		return None
	case wire.ErrBodyTooLarge:
		return BodyTooLarge
	case wire.ErrBodyMalformed:
		return BodyMalformed
	case wire.ErrBodyTimeout:
		return BodyTimeout
	case wire.ErrBodySlow:
		return BodySlow
	}
	return ClientGone
}
