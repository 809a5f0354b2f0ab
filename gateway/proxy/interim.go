package proxy

import "aigateway/gateway/wire"

// interim deals with a 1xx response, whose head is in x.answer. RFC 9110 §15.2 has a proxy pass them on, but 100 to a
// client that did not ask this upstream for it, and never to one that speaks HTTP/1.0. A 101 that was not asked for would
// be a protocol that nobody chose.
func (x *Exchange) interim() Fault {
	switch x.answer.Status {
	case 101:
		return BrokenAnswer
	case 100: // the gateway's own, sent when the body was first read
		return None
	}
	if x.Client == nil || x.Head.Minor == 0 || x.Gone() {
		return None
	}
	x.head = appendInterimHead(x.head[:0], x)
	if x.Client.SendInterim(x.head) != nil && x.Taker == nil {
		return x.left()
	}
	return None
}

// appendInterimHead appends the head of a 1xx response as the client gets it.
func appendInterimHead(dst []byte, x *Exchange) []byte {
	dst = wire.AppendStatusLine(dst, x.answer.Status, x.answer.Reason)
	dst = x.answer.AppendKept(dst)
	dst = wire.AppendVia(dst, x.answer.Minor)
	return append(dst, "\r\n"...)
}
