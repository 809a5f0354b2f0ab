package proxy

import (
	"bytes"
	"time"

	"aigateway/gateway/wire"
)

// Collected tells whether Collect has read the request's body, or its beginning.
func (x *Exchange) Collected() bool { return x.collected }

// Held is how many bytes of the request's body are held, and whether that is all of it.
func (x *Exchange) Held() (n int, whole bool) { return x.hold.size, x.hold.whole }

// HeldInOne is what is held of the request's body if it lies in one piece. It is borrowed until Forward.
func (x *Exchange) HeldInOne() (body []byte, ok bool) {
	h := &x.hold
	if h.first == nil || len(h.more) > 0 {
		return nil, false
	}
	return h.first.B[h.room : h.room+h.short], true
}

// HeldPart is a part of the request's body, as far as that is held: borrowed until Forward if it lies in one piece, else a copy. The part
// is at most MaxWhole long, and nil if it is not held.
func (x *Exchange) HeldPart(from, to int64) []byte {
	h := &x.hold
	if h.first == nil || from < 0 || from > to || to > int64(h.size) || to-from > MaxWhole {
		return nil
	}
	n := int(to - from)
	if piece := h.until(int(to)); len(piece) >= n {
		return piece[len(piece)-n:]
	}
	part := make([]byte, n)
	for end := int(to); n > 0; {
		piece := h.until(end)
		k := min(n, len(piece))
		copy(part[n-k:n], piece[len(piece)-k:])
		n, end = n-k, end-k
	}
	return part
}

// AppendHeld appends what is held of the request's body.
func (x *Exchange) AppendHeld(dst []byte) []byte {
	h := &x.hold
	if h.first == nil {
		return dst
	}
	dst = append(dst, h.first.B[h.room:h.room+h.short]...)
	left := h.size - h.short
	for _, b := range h.more {
		n := min(left, morePart)
		dst = append(dst, b.B[:n]...)
		left -= n
	}
	return dst
}

// TargetFields are the lines for a response from the target that answered.
func (x *Exchange) TargetFields() []byte { return x.target().Fields }

// ModelAsked is what the last target that was asked calls the model; nil: there was none.
func (x *Exchange) ModelAsked() []byte {
	if len(x.Targets) == 0 {
		return nil
	}
	return x.target().Model
}

// OtherModel tells whether the target that answered has another model than the first one.
func (x *Exchange) OtherModel() bool {
	return !bytes.Equal(x.target().Model, x.Targets[0].Model)
}

// Hold gives x a body to send, a copy, instead of one that its client sends; what may replace a part of it has room bytes.
func (p *Proxy) Hold(x *Exchange, body []byte, room int) Fault {
	h := &x.hold
	h.holds = &p.holds
	h.room = headRoom + len(x.Head.Target) + room
	size := h.room + len(body) + wire.ChunkTail
	if !h.reserve(int64(size), h.holds.total.Load()) {
		x.RetryAfter = time.Second
		return BodiesFull
	}
	h.first = wire.GetBuffer(size)
	h.short = copy(h.first.B[h.room:], body)
	h.size, h.whole, x.collected = h.short, true, true
	return None
}
