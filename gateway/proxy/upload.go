package proxy

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"aigateway/gateway/wire"
)

// MaxWhole is the longest body, in bytes, that is held whole: a request's, so that it can be sent at once
// and its client's pace is not the upstream's; a response's, so that the upstream's connection is free again
// before a slow client has read it, and a cut becomes a clear error. Longer ones stream.
const MaxWhole = 64 << 10

// collect reads the request's body, or the beginning of a long one. The client's pace costs no upstream a place.
func (p *Proxy) collect(x *Exchange) Fault {
	h := &x.hold
	if h.whole = !x.Head.HasBody(); h.whole {
		return None
	}
	h.holds = &p.holds
	h.room = headRoom + len(x.Target) + len(x.Head.Method) + x.Client.HeadLen() + len(x.RequestID)
	began := wire.Now()
	f := h.collect(x.Client, x.Head.ContentLength)
	x.ClientTime = wire.Now() - began
	if f == BodiesFull {
		x.RetryAfter = time.Second
	}
	return f
}

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

// message is the request as it is sent, or its head and the first part of its body: the pump sends the others.
func (x *Exchange) message() []byte {
	h := &x.hold
	x.head = x.appendFraming(appendRequestHead(x.head[:0], &x.Request, x.upstream))
	if h.first == nil {
		return x.head
	}
	to := h.room + h.short
	if !h.whole && x.Head.ContentLength == wire.ChunkedBody {
		x.head = wire.AppendChunkSize(x.head, h.size)
		if len(h.more) == 0 {
			to += copy(h.first.B[to:], "\r\n")
		}
	}
	from := h.room - len(x.head)
	copy(h.first.B[from:], x.head)
	return h.first.B[from:to]
}

// A pump sends the rest of a long body while the exchange waits for the answer, which may come before the
// body's end: first what is held of it, then the rest as it comes.
type pump struct {
	client  *wire.ClientConn
	conn    *wire.UpstreamConn
	up      *Upstream
	hold    *hold // the pump's until it has ended
	chunked bool
	again   bool // what is held may be sent again
	onPanic func(any)

	fault atomic.Uint32 // why the body has no end, as a Fault
	read  atomic.Bool   // the last of the body has been read; the client's connection is the exchange's again
	stuck atomic.Bool   // the upstream did not take all of it
	ended atomic.Int64  // when the sending ended, as wire.Now; 0 while it goes on
	done  chan struct{} // receives one value when run has returned
	timer *time.Timer   // of stopPump
	start func()        // run, bound once: `go m.run()` would allocate
}

var pumps = sync.Pool{New: func() any {
	m := &pump{done: make(chan struct{}, 1), timer: time.NewTimer(time.Hour)}
	m.timer.Stop()
	m.start = m.run
	return m
}}

// startPump begins to send what follows the first part.
func (p *Proxy) startPump(x *Exchange) {
	m := pumps.Get().(*pump)
	m.client, m.conn, m.up, m.hold = x.Client, x.conn, x.upstream, &x.hold
	m.chunked = x.Head.ContentLength == wire.ChunkedBody
	m.again = x.repeatable()
	m.onPanic = p.options.OnPanic
	m.fault.Store(uint32(None))
	m.read.Store(x.hold.whole)
	m.stuck.Store(false)
	m.ended.Store(0)
	x.pump = m
	go m.start()
}

func (m *pump) run() {
	defer func() {
		if r := recover(); r != nil {
			m.onPanic(r)
			m.stop(BrokenResponse)
		}
		m.ended.Store(int64(wire.Now()))
		m.done <- struct{}{}
	}()
	if !m.sendHeld() || m.hold.whole {
		return
	}
	b := wire.GetBuffer(wire.LargeBuffer)
	defer b.Put()
	for {
		n, err := m.client.ReadBody(b.B[wire.ChunkRoom : len(b.B)-wire.ChunkTail])
		if f := bodyFault(err); f != None {
			m.stop(f)
			return
		}
		// Told before the last bytes go out: the answer to them may be there before this goroutine runs again.
		last := m.client.BodyDone()
		m.read.Store(last)
		from, to := wire.ChunkRoom, wire.ChunkRoom+n
		if m.chunked {
			if from, to = wire.FrameChunk(b.B, from, to); last {
				to = wire.FrameEnd(b.B, to)
			}
		}
		if !m.send(b.B[from:to]) || last {
			return
		}
	}
}

// sendHeld sends what is held of the body but its first part, which has been sent, and gives it back.
func (m *pump) sendHeld() bool {
	h := m.hold
	left := h.size - h.short
	for _, b := range h.more {
		n := min(left, morePart)
		if left -= n; left == 0 && m.chunked && !h.whole {
			n += copy(b.B[n:], "\r\n")
		}
		if !m.send(b.B[:n]) {
			return false
		}
	}
	if !m.again {
		h.release() // an upload or a generation may take long
	}
	return true
}

// send writes a part of the body.
func (m *pump) send(b []byte) bool {
	_, err := m.conn.Send(b, m.up.timeouts.Idle)
	if err == nil {
		return true
	}
	// An upstream that has answered may refuse the rest: whoever waits for the answer will see.
	m.stuck.Store(true)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		m.stop(TimeoutIdle)
	}
	return false
}

// stop ends the upstream's request: what it has got must not look complete.
func (m *pump) stop(f Fault) {
	m.fault.Store(uint32(f))
	m.conn.Interrupt()
}

// remains is how much of a time that begins with the end of the sending remains: all of it while it goes on.
func (m *pump) remains(of time.Duration) time.Duration {
	ended := m.ended.Load()
	if ended == 0 {
		return of
	}
	return of - (wire.Now() - time.Duration(ended))
}

// uploading tells whether a part of the request's body is still to come.
func (x *Exchange) uploading() bool { return x.pump != nil && !x.pump.read.Load() }

// stuck tells whether the upstream did not take all of the request's body.
func (x *Exchange) stuck() bool { return x.pump != nil && x.pump.stuck.Load() }

// sendingEnds is how long an answer waits for the last bytes of its request, which are all with the gateway,
// to go out.
const sendingEnds = 50 * time.Millisecond

// stopPump waits for the pump. If it is still at work, nobody wants the rest of the body: the upstream's
// connection is interrupted, for good, and the reading of the client's.
func (x *Exchange) stopPump() {
	m := x.pump
	if m == nil {
		return
	}
	ended := false
	read := m.read.Load()
	if read {
		m.timer.Reset(sendingEnds)
		select {
		case <-m.done:
			ended = true
		case <-m.timer.C:
		}
		m.timer.Stop()
	}
	if !ended {
		x.dirty = true
		x.conn.Interrupt()
		if !read {
			x.Client.StopBody()
		}
		<-m.done
	}
	x.dirty = x.dirty || m.stuck.Load()
	x.pump = nil
	m.client, m.conn, m.up, m.hold = nil, nil, nil, nil
	pumps.Put(m)
}
