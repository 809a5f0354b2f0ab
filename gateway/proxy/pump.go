package proxy

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"aigateway/gateway/wire"
)

// A pump sends the rest of a long body while the exchange waits for the response, which may come before the
// body's end: first what is held of it, then the rest as it comes.
type pump struct {
	client  *wire.ClientConn
	conn    *wire.UpstreamConn
	up      *Upstream
	hold    *hold // the pump's until it has ended
	ahead   int   // bytes of what is held behind its first part that are sent already
	chunked bool
	again   bool // what is held may be sent again
	reader  BodyReader
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
		last := m.client.BodyDone()
		if f := m.see(b.B[wire.ChunkRoom:wire.ChunkRoom+n], err); f != None {
			m.stop(f)
			return
		}
		// Told before the last bytes go out: the response to them may be there before this goroutine runs again.
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

// sendHeld sends what is held of the body but its beginning, which has been sent, and gives it back.
func (m *pump) sendHeld() bool {
	h := m.hold
	at, left, ahead := int64(h.short), h.size-h.short, m.ahead
	for _, b := range h.more {
		n := min(left, morePart)
		if left -= n; left == 0 && m.chunked && !h.whole {
			n += copy(b.B[n:], "\r\n")
		}
		from := min(ahead, n)
		if ahead -= from; from < n && !m.sendPart(b.B[from:n], at+int64(from)) {
			return false
		}
		at += int64(morePart)
	}
	if !m.again {
		h.release() // an upload or a generation may take long
	}
	return true
}

// sendPart sends a part of what is held that begins so far behind the body's beginning, with what stands in for some of it.
func (m *pump) sendPart(b []byte, at int64) bool {
	h := m.hold
	from, to, end := h.beyond.From, h.beyond.To, at+int64(len(b))
	if h.with == nil || end <= from || at >= to {
		return m.send(b)
	}
	if at < from && !m.send(b[:from-at]) {
		return false
	}
	if (at <= from || at == int64(h.short)) && !m.send(h.with) { // it may begin in the first part, which was sent up to there
		return false
	}
	return end <= to || m.send(b[to-at:])
}

// see shows the reader what was read.
func (m *pump) see(piece []byte, err error) Fault {
	f := bodyFault(err)
	if f != None || m.reader == nil {
		return f
	}
	if f = m.reader.Read(piece); f == None && m.client.BodyDone() {
		f = m.reader.End()
	}
	return f
}

// send writes a part of the body.
func (m *pump) send(b []byte) bool {
	_, err := m.conn.Send(b, m.up.timeouts.Idle)
	if err == nil {
		return true
	}
	// An upstream that has answered may refuse the rest: the goroutine that waits for the response will see.
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
