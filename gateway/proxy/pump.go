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
		// Told before the last bytes go out: the response to them may be there before this goroutine runs again.
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
