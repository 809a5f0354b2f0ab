package proxy

import (
	"errors"
	"os"

	"aigateway/gateway/wire"
)

// await reads the head of the final response, with whatever has come behind it, within the upstream's time for it.
func (p *Proxy) await(x *Exchange) Fault {
	w := x.waitForHead(p.options.MaxHeadBytes, x.upstream.timeouts.Response)
	if after := x.hedgeAfter(); after > 0 {
		w.hedges, w.wait = true, min(w.wait, after)
	}
	for {
		f, err := x.readHead(&w)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && p.waitOn(x, &w):
			continue
		case err != nil:
			return x.readFault(err, TimeoutResponse)
		case f != None, x.response.Status >= 200, x.switched():
			return f
		}
		if f = x.interim(); f != None {
			return f
		}
		x.dropHead(&w)
	}
}

// waitOn tells whether to go on waiting for a response of which nothing came in time: beside a hedge, or because the request
// itself was not out.
func (p *Proxy) waitOn(x *Exchange, w *headWait) bool {
	if w.hedges && !x.heard {
		w.hedges = false
		if w.wait = w.by - wire.Now(); w.wait > 0 && !x.Gone() {
			p.startHedge(x)
			return true
		}
	}
	// The time for the response begins when the request is sent, all of it.
	if x.pump != nil && x.end == x.from {
		if w.wait = x.pump.remains(w.within); w.wait > 0 {
			w.by = wire.Now() + w.wait
			return true
		}
	}
	return false
}

// readFault says why nothing more comes from the upstream; timeout names the phase.
func (x *Exchange) readFault(err error, timeout Fault) Fault {
	if x.Gone() {
		return ClientGone
	}
	if x.pump != nil {
		if f := Fault(x.pump.fault.Load()); f != None {
			return f
		}
	}
	return readFault(err, timeout)
}

// interim deals with a 1xx response, whose head is in x.response. RFC 9110 §15.2 has a proxy pass them on, but 100 to a
// client that did not ask this upstream for it, and never to one that speaks HTTP/1.0. A 101 that was not asked for would
// be a protocol that nobody chose.
func (x *Exchange) interim() Fault {
	switch x.response.Status {
	case 101:
		return BrokenResponse
	case 100: // the gateway's own, sent when the body was first read
		return None
	}
	if x.Client == nil || x.Head.Minor == 0 || x.Gone() {
		return None
	}
	x.head = appendInterimHead(x.head[:0], x)
	if x.Client.SendInterim(x.head) != nil && x.Taker == nil {
		return x.clientGone()
	}
	return None
}

// appendInterimHead appends the head of a 1xx response as the client gets it.
func appendInterimHead(dst []byte, x *Exchange) []byte {
	dst = wire.AppendStatusLine(dst, x.response.Status, x.response.Reason)
	dst = x.response.AppendKept(dst)
	dst = wire.AppendVia(dst, x.response.Minor)
	return append(dst, "\r\n"...)
}
