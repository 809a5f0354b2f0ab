package proxy

import (
	"time"

	"aigateway/gateway/wire"

	"github.com/valyala/fasthttp"
)

// headRoom bounds what the gateway adds to a head, next to copies of what the head held before.
const headRoom = 1024

// appendRequestHead appends the head that goes to the upstream. Target, Host and framing are the gateway's
// own; the client's fields follow byte for byte, and then what a proxy has to say.
func appendRequestHead(dst []byte, x *Exchange, u *Upstream) []byte {
	h := x.Head
	dst = append(dst, h.Method...)
	dst = append(dst, ' ')
	dst = append(dst, x.Target...)
	dst = append(dst, " HTTP/1.1\r\n"...)
	dst = wire.AppendField(dst, "Host: ", u.host)
	if x.Lines != nil {
		dst = append(dst, x.Lines...)
	} else {
		dst = h.AppendKept(dst)
	}
	dst = appendForwarded(dst, x)
	dst = append(dst, u.via[h.Minor]...)
	dst = wire.AppendField(dst, "X-Request-ID: ", x.RequestID)
	dst = wire.AppendField(dst, "traceparent: ", x.TraceParent)
	for _, v := range x.TraceStates {
		dst = wire.AppendField(dst, "tracestate: ", v)
	}
	switch {
	case x.upgrades():
		dst = append(dst, switching...)
	case !h.HasBody() && !carriesBody(h.Method):
	case x.hold.whole:
		dst = wire.AppendLength(dst, int64(x.hold.size))
	default:
		dst = wire.AppendLength(dst, h.ContentLength)
	}
	return append(dst, "\r\n"...)
}

// carriesBody tells whether a request of that method should say that its body is empty: RFC 9110 §8.6.
func carriesBody(method []byte) bool {
	switch string(method) {
	case "POST", "PUT", "PATCH":
		return true
	}
	return false
}

// appendForwarded appends the X-Forwarded fields: continued if the peer is trusted, begun anew if not.
func appendForwarded(dst []byte, x *Exchange) []byte {
	h := x.Head
	dst = append(dst, "X-Forwarded-For: "...)
	if x.Trusted {
		for _, v := range h.ForwardedFor {
			if len(v) > 0 {
				dst = append(append(dst, v...), ", "...)
			}
		}
	}
	dst = append(append(dst, x.Peer...), "\r\n"...)
	if x.Trusted && len(h.ForwardedProto) > 0 {
		dst = wire.AppendField(dst, "X-Forwarded-Proto: ", h.ForwardedProto)
	} else if x.Secure {
		dst = append(dst, "X-Forwarded-Proto: https\r\n"...)
	} else {
		dst = append(dst, "X-Forwarded-Proto: http\r\n"...)
	}
	host := h.Host
	if x.Trusted && len(h.ForwardedHost) > 0 {
		host = h.ForwardedHost
	}
	if len(host) > 0 {
		dst = wire.AppendField(dst, "X-Forwarded-Host: ", host)
	}
	return dst
}

// appendAnswerHead appends the head that goes to the client, for a body of length bytes (or ChunkedBody, or
// UntilClose for a client that knows no chunks).
func appendAnswerHead(dst []byte, x *Exchange, length int64) []byte {
	a := &x.answer
	dst = wire.AppendStatusLine(dst, a.Status, a.Reason)
	dst = a.AppendKept(dst)
	if !a.HasDate {
		// RFC 9110 §6.6.1: a recipient with a clock adds what is missing.
		dst = append(dst, "Date: "...)
		dst = fasthttp.AppendHTTPDate(dst, time.Now())
		dst = append(dst, "\r\n"...)
	}
	dst = wire.AppendVia(dst, a.Minor)
	dst = wire.AppendField(dst, "X-Request-ID: ", x.RequestID)
	dst = append(dst, x.Fields...)
	dst = appendTiming(dst, x)
	switch {
	case length == wire.ChunkedBody:
		dst = wire.AppendLength(dst, length)
	case length > 0, a.ContentLength >= 0 && a.Status != 204:
		// For HEAD and 304 the field tells of a body that is not sent: RFC 9110 §8.6.
		dst = wire.AppendLength(dst, max(length, a.ContentLength))
	}
	dst = x.Client.AppendConnection(dst, x.Head.Minor)
	return append(dst, "\r\n"...)
}
