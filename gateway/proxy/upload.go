package proxy

import (
	"time"

	"aigateway/gateway/wire"
)

// Collect reads the request's body, or the beginning of a long one, and as much more as x.Reader needs. The client's pace costs no
// upstream a place. Of the request, x.Head, x.Client, x.Reader and x.Room are set. [Proxy.Forward] does it for who has not.
func (p *Proxy) Collect(x *Exchange) Fault {
	x.collected = true
	h := &x.hold
	if h.whole = !x.Head.HasBody(); h.whole {
		return None
	}
	h.holds, h.reader = &p.holds, x.Reader
	h.room = headRoom + len(x.Head.Target) + len(x.Head.Method) + x.Client.HeadLen() + len(x.RequestID) + x.Room
	began := wire.Now()
	f := h.collect(x.Client, x.Head.ContentLength)
	x.ClientTime = wire.Now() - began
	if f == BodiesFull {
		x.RetryAfter = time.Second
	}
	return f
}

// message is the request as it is sent, or its head and the first part of its body: the pump sends the others.
func (x *Exchange) message() []byte {
	h := &x.hold
	if h.first != nil && x.Span.In == InBody {
		h.replace(&x.Span, x.target().With)
	}
	x.head = x.appendFraming(appendRequestHead(x.head[:0], &x.Request, x.upstream))
	if h.first == nil {
		return x.head
	}
	to := h.room + h.beginning()
	if !h.whole && x.Head.ContentLength == wire.ChunkedBody {
		x.head = wire.AppendChunkSize(x.head, int(h.length(int64(h.size))))
		if len(h.more) == 0 {
			to += copy(h.first.B[to:], "\r\n")
		}
	}
	from := h.room - len(x.head)
	if from < 0 { // a reload has brought a longer credential
		x.head = append(x.head, h.first.B[h.room:to]...)
		return x.head
	}
	copy(h.first.B[from:], x.head)
	return h.first.B[from:to]
}

// sendAhead sends as much of what is held behind the first part as the upstream takes at once, which for most bodies is all: nobody
// needs to stand by while it takes the rest. It returns how many bytes that were.
func (x *Exchange) sendAhead() (ahead int) {
	h := &x.hold
	if !h.whole || h.with != nil {
		return 0
	}
	for _, b := range h.more {
		part := b.B[:min(morePart, h.size-h.short-ahead)]
		n := x.conn.Offer(part, x.upstream.timeouts.Idle)
		if ahead += n; n < len(part) {
			break
		}
	}
	x.attempt.sent += ahead
	return ahead
}

// startPump begins to send what follows the first part, and so much behind that.
func (p *Proxy) startPump(x *Exchange, ahead int) {
	m := pumps.Get().(*pump)
	m.ahead = ahead
	m.client, m.conn, m.up, m.hold = x.Client, x.conn, x.upstream, &x.hold
	m.chunked = x.Head.ContentLength == wire.ChunkedBody
	m.again, m.reader = x.kept, x.Reader
	m.onPanic = p.options.OnPanic
	m.fault.Store(uint32(None))
	m.read.Store(x.hold.whole)
	m.stuck.Store(false)
	m.ended.Store(0)
	x.pump = m
	go m.start()
}

// uploading tells whether a part of the request's body is still to come.
func (x *Exchange) uploading() bool { return x.pump != nil && !x.pump.read.Load() }

// stuck tells whether the upstream did not take all of the request's body.
func (x *Exchange) stuck() bool { return x.pump != nil && x.pump.stuck.Load() }

// sendingEnds is how long a response waits for the last bytes of its request, which are all with the gateway,
// to go out.
const sendingEnds = 50 * time.Millisecond

// stopPump waits for the pump. If it is still at work, the rest of the body is not wanted: the upstream's
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
	m.client, m.conn, m.up, m.hold, m.reader = nil, nil, nil, nil, nil
	pumps.Put(m)
}
