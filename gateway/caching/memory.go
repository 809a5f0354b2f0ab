package caching

import (
	"aigateway/gateway/cache"
	"aigateway/gateway/wire"
)

// A memory is where what a flight shares lies: all who hold the flight may read it, and when the last one has let go, it is used for
// another one.
type memory struct {
	lines   []byte // Response.Lines, and behind them, where no reader looks, the end of a record's head
	text    []byte // of the URL's key
	names   []byte
	variant []byte
	etag    []byte

	small, large *wire.Buffer // the body lies in one of them, unless it is longer than either; the other one is still read
	whole        []byte       // the one with the body, or what is longer
	front        int          // where in whole the body begins: what a record and a reply have before it is written there
	start        int          // where in whole the record begins; 0: it does not lie there
}

const (
	keptMemory = 8 << 10 // bytes of each text that stay with a memory that is not in use
	noteRoom   = 32      // for a note without pieces
	headEnd    = 48      // for the end of a record's head
)

// begin makes room for a body of that length, less than 0 if nobody knows, of a response whose texts are here.
func (m *memory) begin(length int64) (body []byte) {
	e := cache.Entry{Key: m.text, Variant: m.variant, Head: m.lines}
	e.ETag = m.etag
	m.front = recordRoom + e.Front() + noteRoom + headEnd
	return m.take(int(max(length, 0)))
}

func (m *memory) take(length int) (body []byte) {
	switch size := m.front + length; {
	case m.large == nil && m.small == nil && size <= wire.SmallBuffer:
		m.small = wire.GetBuffer(wire.SmallBuffer)
		m.whole = m.small.B
	case m.large == nil && size <= wire.LargeBuffer:
		m.large = wire.GetBuffer(size)
		m.whole = m.large.B
	default:
		m.whole = make([]byte, size)
	}
	return m.whole[m.front:m.front]
}

// cost is what a body and n bytes more take of the memory for all.
func (m *memory) cost(body []byte, n int) int64 {
	if total := len(body) + n; m.small != nil && m.large == nil && total > cap(body) {
		return int64(max(total, wire.LargeBuffer))
	}
	return int64(len(body) + n)
}

// widen moves the body to where there is room for n bytes more. Those who read it go on where it was.
func (m *memory) widen(body []byte, n int) []byte {
	length := len(body) + n
	if m.front+length > wire.LargeBuffer {
		length *= 2
	}
	return append(m.take(length), body...)
}

// recordOf makes a record of e, around its body if that lies here.
func (m *memory) recordOf(e *cache.Entry) []byte {
	if n := len(e.Body); n > 0 && m.front+n <= len(m.whole) && &m.whole[m.front] == &e.Body[0] {
		whole := m.whole[:m.front+n]
		if start, ok := cache.EntryAround(whole, m.front, e); ok {
			m.start = start
			return whole[start:]
		}
	}
	return cache.AppendEntry(nil, e)
}

// around is the record with the room for a reply before it; nil if it does not lie here.
func (m *memory) around(record []byte) []byte {
	if m.start < recordRoom {
		return nil
	}
	return m.whole[m.start-recordRoom : m.start+len(record)]
}

// reset readies m for another flight.
func (m *memory) reset() {
	if m.small != nil {
		m.small.Put()
	}
	if m.large != nil {
		m.large.Put()
	}
	*m = memory{lines: kept(m.lines), text: kept(m.text), names: kept(m.names), variant: kept(m.variant), etag: kept(m.etag)}
}

func kept(b []byte) []byte {
	if cap(b) > keptMemory {
		return nil
	}
	return b[:0]
}
