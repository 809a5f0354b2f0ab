package proxy

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"aigateway/gateway/wire"
)

// A hedge is a second attempt beside one whose upstream is slow to answer. It waits in a goroutine of its own for
// the head of its response, and no longer: the attempt whose good head is there first wins, and the goroutine of the first one
// goes on with that one. What the hedge sends is borrowed from the exchange, so that goroutine waits for its end: settle.
type hedge struct {
	attempt
	proxy   *Proxy
	request *Request
	first   *wire.UpstreamConn // of the first attempt
	within  time.Duration      // its response's head is to be there
	won     atomic.Uint32      // undecided, and then for good byFirst or bySecond
	stopped atomic.Bool        // its response is not wanted any more
	ctx     context.Context
	cancel  context.CancelFunc
	done    chan struct{} // closed when run has returned

	mu   sync.Mutex
	open *wire.UpstreamConn // conn, as long as stop may interrupt it; nil: not yet, or not any more
}

const (
	undecided uint32 = iota
	byFirst
	bySecond
)

// run makes the attempt, and ends it unless it wins.
func (h *hedge) run() {
	defer close(h.done)
	defer h.cancel()
	defer func() {
		if r := recover(); r != nil {
			h.proxy.options.OnPanic(r)
			h.end(ClientGone) // the upstream is not to blame
		}
	}()
	f := h.try()
	good := f == None && !unavailable(h.response.Status)
	switch {
	case good && h.won.CompareAndSwap(undecided, bySecond):
		h.first.Interrupt()
		return
	case good, f != None && h.won.Load() == byFirst:
		f = ClientGone // too late, or cut off
	}
	h.end(f)
}

// try sends the request and waits for the head of the response.
func (h *hedge) try() Fault {
	if h.conn = h.upstream.takeIdle(wire.Now()); h.conn == nil {
		conn, err := h.upstream.connect(h.ctx)
		if err != nil {
			return dialFault(err)
		}
		h.conn = conn
	}
	h.interruptible(h.conn)
	if h.stopped.Load() {
		return ClientGone
	}
	h.used = h.conn.Used()
	f, _ := h.write(append(appendRequestHead(nil, h.request, h.upstream), "\r\n"...))
	if f == None {
		f = h.awaitFinal(h.proxy.options.MaxHeadBytes, h.within)
	}
	if h.stopped.Load() {
		return ClientGone
	}
	return f
}

// interruptible says what stop interrupts.
func (h *hedge) interruptible(conn *wire.UpstreamConn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open = conn
}

// end draws the conclusion from an attempt that did not win, and ends it.
func (h *hedge) end(f Fault) {
	h.interruptible(nil)
	h.proxy.lose(&h.attempt, f)
}

// stop ends the second attempt, as if the client had left.
func (h *hedge) stop() {
	h.stopped.Store(true)
	h.cancel()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open != nil {
		h.open.Interrupt()
	}
}

// Interrupt implements [wire.Interrupter]: neither response is wanted any more.
func (h *hedge) Interrupt() {
	h.first.Interrupt()
	h.stop()
}
