package proxy

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"aigateway/gateway/wire"
)

// maxWhole is the longest body, in bytes, that is held whole: a request's, so that it can be sent at once
// and its client's pace is not the upstream's; a response's, so that the upstream's connection is free again
// before a slow client has read it, and a cut becomes a clear error. Longer ones stream.
const maxWhole = 64 << 10

// Room around a chunk: its size line before, and its end with the last chunk after it.
const (
	chunkRoom = 16
	chunkTail = len("\r\n") + len(wire.LastChunk)
)

// collect reads the request's body: all of a short one, the beginning of a long one.
func (x *Exchange) collect() Fault {
	if x.whole = !x.Head.HasBody(); x.whole {
		return None
	}
	x.room = headRoom + len(x.Target) + len(x.Head.Method) + x.Client.HeadLen() + len(x.RequestID)
	want := x.Head.ContentLength
	long := want > maxWhole
	switch {
	case want == wire.ChunkedBody:
		want = maxWhole
	case long:
		want = wire.SmallBuffer / 2
	}
	x.up = wire.GetBuffer(x.room + int(want) + chunkTail)
	for x.filled < int(want) {
		n, err := x.Client.ReadBody(x.up.B[x.room+x.filled : x.room+int(want)])
		if err == io.EOF {
			break
		}
		if err != nil {
			return bodyFault(err)
		}
		x.filled += n
		if long {
			break
		}
	}
	x.whole = x.Client.BodyDone()
	return None
}

func bodyFault(err error) Fault {
	switch err {
	case wire.ErrBodyTooLarge:
		return BodyTooLarge
	case wire.ErrBodyMalformed:
		return BodyMalformed
	case wire.ErrBodyTimeout:
		return BodyTimeout
	}
	return ClientGone
}

// send writes the request, or its head and the first part of its body. clean tells that nothing was written.
func (x *Exchange) send(u *Upstream) (f Fault, clean bool) {
	x.head = appendRequestHead(x.head[:0], x, u)
	message := x.head
	if x.up != nil {
		to := x.room + x.filled
		if !x.whole && x.Head.ContentLength == wire.ChunkedBody {
			x.head = wire.AppendChunkSize(x.head, x.filled)
			to += copy(x.up.B[to:], "\r\n")
		}
		from := x.room - len(x.head)
		copy(x.up.B[from:], x.head)
		message = x.up.B[from:to]
	}
	n, err := x.conn.Send(message, u.timeouts.Idle)
	if err == nil {
		return None, false
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return TimeoutIdle, false
	}
	return BrokenAnswer, n == 0
}

// A pump sends the rest of a long body while the exchange waits for the answer, which may come before the
// body's end.
type pump struct {
	client  *wire.ClientConn
	conn    *wire.UpstreamConn
	up      *Upstream
	chunked bool
	onPanic func(any)

	fault atomic.Uint32 // why the body has no end, as a Fault
	whole atomic.Bool   // the body went out to its end
	done  chan struct{} // receives one value when run has returned
}

var pumps = sync.Pool{New: func() any { return &pump{done: make(chan struct{}, 1)} }}

// startPump begins to send what follows the first part.
func (p *Proxy) startPump(x *Exchange, u *Upstream) {
	m := pumps.Get().(*pump)
	m.client, m.conn, m.up = x.Client, x.conn.UpstreamConn, u
	m.chunked = x.Head.ContentLength == wire.ChunkedBody
	m.onPanic = p.options.OnPanic
	m.fault.Store(uint32(None))
	m.whole.Store(false)
	x.pump = m
	go m.run()
}

func (m *pump) run() {
	defer func() {
		if r := recover(); r != nil {
			m.onPanic(r)
			m.stop(BrokenAnswer)
		}
		m.done <- struct{}{}
	}()
	b := wire.GetBuffer(wire.LargeBuffer)
	defer b.Put()
	for {
		n, err := m.client.ReadBody(b.B[chunkRoom : len(b.B)-chunkTail])
		if err != nil && err != io.EOF {
			m.stop(bodyFault(err))
			return
		}
		from, to := m.frame(b.B, n, err == io.EOF)
		if _, werr := m.conn.Send(b.B[from:to], m.up.timeouts.Idle); werr != nil {
			// An upstream that has answered may refuse the rest: whoever waits for the answer will see.
			if errors.Is(werr, os.ErrDeadlineExceeded) {
				m.stop(TimeoutIdle)
			}
			return
		}
		if err == io.EOF {
			m.whole.Store(true)
			return
		}
	}
}

// frame puts n bytes of body at b[chunkRoom:] into a chunk if need be.
func (m *pump) frame(b []byte, n int, last bool) (from, to int) {
	from, to = chunkRoom, chunkRoom+n
	if !m.chunked {
		return from, to
	}
	if n > 0 {
		var line [chunkRoom]byte
		size := wire.AppendChunkSize(line[:0], n)
		from -= copy(b[from-len(size):], size)
		to += copy(b[to:], "\r\n")
	}
	if last {
		to += copy(b[to:], wire.LastChunk)
	}
	return from, to
}

// stop ends the upstream's request: what it has got must not look complete.
func (m *pump) stop(f Fault) {
	m.fault.Store(uint32(f))
	m.conn.Interrupt()
}

// uploading tells whether a part of the request's body has not been sent.
func (x *Exchange) uploading() bool { return x.pump != nil && !x.pump.whole.Load() }

// stopPump waits for the pump. If it is still at work, nobody wants the rest of the body: both connections
// are interrupted, the upstream's for good.
func (x *Exchange) stopPump() {
	if x.pump == nil {
		return
	}
	if x.uploading() {
		x.dirty = true
		x.conn.Interrupt()
		x.Client.StopBody()
	}
	<-x.pump.done
	m := x.pump
	x.pump = nil
	m.client, m.conn, m.up = nil, nil, nil
	pumps.Put(m)
}
