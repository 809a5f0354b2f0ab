package proxy

import "aigateway/gateway/wire"

// replace puts with in the place of a part of the body, which it follows when that moves: a request may be rewritten for one target
// after the other. What does not lie in the first buffer alone is replaced when it is sent.
func (h *hold) replace(s *Span, with []byte) {
	if with == nil {
		return
	}
	if s.To > int64(h.short) {
		if h.with = nil; !h.replaceInLast(s, with) {
			h.beyond, h.with = *s, with
		}
		return
	}
	from, to := int(s.From), int(s.To)
	longer := len(with) - (to - from)
	b, end := h.first.B, h.room+h.short
	if h.short-to <= from && end+longer <= len(b)-wire.ChunkTail {
		copy(b[h.room+to+longer:], b[h.room+to:end])
	} else { // what stands before it moves into the room of the head, or out of it
		copy(b[h.room-longer:], b[h.room:h.room+from])
		h.room -= longer
	}
	copy(b[h.room+from:], with)
	h.short += longer
	h.size += longer
	h.grown += int64(longer)
	s.To = s.From + int64(len(with))
}

// replaceInLast is replace in the last of the buffers behind the first, where SDKs have the model of a long body: if there is room, sending it
// takes no write more.
func (h *hold) replaceInLast(s *Span, with []byte) bool {
	last := len(h.more) - 1
	if last < 0 {
		return false
	}
	began := int64(h.short) + int64(last)*int64(morePart)
	n, longer := h.size-int(began), len(with)-int(s.To-s.From)
	if s.From < began || s.To > int64(h.size) || n+longer > morePart {
		return false
	}
	b, from, to := h.more[last].B, int(s.From-began), int(s.To-began)
	copy(b[to+longer:], b[to:n])
	copy(b[from:], with)
	h.size += longer
	h.grown += int64(longer)
	s.To = s.From + int64(len(with))
	return true
}

// Splice puts with in the place of a part of the body, for good and for all targets: if that is held, and nothing behind
// its beginning is replaced on its way. x.Span follows if it lies behind that.
func (x *Exchange) Splice(from, to int64, with []byte) bool {
	h := &x.hold
	if h.first == nil || from < 0 || from > to || to > int64(h.size) || int64(h.room) < int64(len(with))-(to-from) {
		return false
	}
	before := h.grown
	if to <= int64(h.short) {
		h.replace(&Span{From: from, To: to}, with)
	} else if h.with != nil || !h.spread(int(from), int(to), with) {
		return false
	}
	if longer := h.grown - before; x.Span.In == InBody && x.Span.From >= to {
		x.Span.From, x.Span.To = x.Span.From+longer, x.Span.To+longer
	}
	return true
}

// spread is replace of what does not lie in first alone, where nothing is replaced on its way: what follows moves on. With is filled up with
// white space if it is the shorter one.
func (h *hold) spread(from, to int, with []byte) bool {
	longer := max(0, len(with)-(to-from))
	if longer > len(h.more)*morePart-(h.size-h.short) {
		if !h.reserve(int64(morePart), h.holds.total.Load()) {
			return false
		}
		h.more = append(h.more, wire.GetBuffer(wire.LargeBuffer))
	}
	for end := h.size; longer > 0 && end > to; {
		piece := h.until(end)
		piece = piece[max(0, len(piece)-(end-to)):]
		h.fill(end+longer, piece)
		end -= len(piece)
	}
	for end := to; end > from+len(with); end-- {
		h.fill(end, []byte{' '})
	}
	h.fill(from+len(with), with)
	h.size += longer
	h.grown += int64(longer)
	return true
}

// fill writes what ends there.
func (h *hold) fill(end int, text []byte) {
	for len(text) > 0 {
		space := h.until(end)
		n := min(len(space), len(text))
		copy(space[len(space)-n:], text[len(text)-n:])
		end, text = end-n, text[:len(text)-n]
	}
}

// until is what lies in one piece up to there.
func (h *hold) until(end int) []byte {
	if end <= h.short {
		return h.first.B[h.room : h.room+end]
	}
	last := end - h.short - 1
	return h.more[last/morePart].B[:last%morePart+1]
}

// length is how long what has n bytes will be when it is sent.
func (h *hold) length(n int64) int64 {
	if h.with == nil || n < 0 {
		return n
	}
	return n - (h.beyond.To - h.beyond.From) + int64(len(h.with))
}

// beginning is how much of first goes out with the head.
func (h *hold) beginning() int {
	if h.with == nil {
		return h.short
	}
	return int(min(int64(h.short), h.beyond.From))
}

// appendTarget appends the target as the upstream gets it.
func (r *Request) appendTarget(dst []byte) []byte {
	if with := r.target().With; r.Span.In == InTarget && with != nil {
		dst = append(append(dst, r.Target[:r.Span.From]...), with...)
		return append(dst, r.Target[r.Span.To:]...)
	}
	return append(dst, r.Target...)
}
