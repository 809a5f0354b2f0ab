package proxy

import (
	"time"

	"aigateway/gateway/wire"
)

// collect reads the request's body, or the beginning of a long one. The client's pace costs no upstream a place.
func (p *Proxy) collect(x *Exchange) Fault {
	h := &x.hold
	if h.whole = !x.Head.HasBody(); h.whole {
		return None
	}
	h.holds = &p.holds
	h.room = headRoom + len(x.Target) + len(x.Head.Method) + x.Client.HeadLen() + len(x.RequestID) + x.Pool.credentialRoom() + x.Fallback.credentialRoom()
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
	if from < 0 { // a reload has brought a longer credential
		x.head = append(x.head, h.first.B[h.room:to]...)
		return x.head
	}
	copy(h.first.B[from:], x.head)
	return h.first.B[from:to]
}

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
	m.client, m.conn, m.up, m.hold = nil, nil, nil, nil
	pumps.Put(m)
}
