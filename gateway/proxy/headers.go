package proxy

import (
	"strconv"
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
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, u.host...)
	dst = append(dst, "\r\n"...)
	if x.Lines != nil {
		dst = append(dst, x.Lines...)
	} else {
		dst = h.AppendKept(dst)
	}
	dst = appendForwarded(dst, x)
	dst = append(dst, u.via[h.Minor]...)
	dst = appendField(dst, "X-Request-ID: ", x.RequestID)
	dst = appendField(dst, "traceparent: ", x.TraceParent)
	for _, v := range x.TraceStates {
		dst = appendField(dst, "tracestate: ", v)
	}
	switch {
	case x.upgrades():
		dst = append(dst, switching...)
	case !h.HasBody() && !carriesBody(h.Method):
	case x.hold.whole:
		dst = appendLength(dst, int64(x.hold.size))
	case h.ContentLength == wire.ChunkedBody:
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	default:
		dst = appendLength(dst, h.ContentLength)
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
		dst = appendField(dst, "X-Forwarded-Proto: ", h.ForwardedProto)
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
		dst = appendField(dst, "X-Forwarded-Host: ", host)
	}
	return dst
}

// appendAnswerHead appends the head that goes to the client, for a body of length bytes (or ChunkedBody, or
// UntilClose for a client that knows no chunks).
func appendAnswerHead(dst []byte, x *Exchange, length int64) []byte {
	a := &x.answer
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(a.Status), 10)
	dst = append(dst, ' ')
	dst = append(dst, a.Reason...)
	dst = append(dst, "\r\n"...)
	dst = a.AppendKept(dst)
	if !a.HasDate {
		// RFC 9110 §6.6.1: a recipient with a clock adds what is missing.
		dst = append(dst, "Date: "...)
		dst = fasthttp.AppendHTTPDate(dst, time.Now())
		dst = append(dst, "\r\n"...)
	}
	dst = appendVia(dst, a.Minor)
	dst = appendField(dst, "X-Request-ID: ", x.RequestID)
	dst = append(dst, x.Fields...)
	dst = appendTiming(dst, x)
	switch {
	case length == wire.ChunkedBody:
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	case length > 0, a.ContentLength >= 0 && a.Status != 204:
		// For HEAD and 304 the field tells of a body that is not sent: RFC 9110 §8.6.
		dst = appendLength(dst, max(length, a.ContentLength))
	}
	dst = x.Client.AppendConnection(dst, x.Head.Minor)
	return append(dst, "\r\n"...)
}

// appendVia appends the Via field of an answer. RFC 9110 §7.6.3.
func appendVia(dst []byte, minor int) []byte {
	if minor == 0 {
		return append(dst, "Via: 1.0 "+wire.Name+"\r\n"...)
	}
	return append(dst, "Via: 1.1 "+wire.Name+"\r\n"...)
}

func appendField(dst []byte, nameColon string, value []byte) []byte {
	dst = append(dst, nameColon...)
	dst = append(dst, value...)
	return append(dst, "\r\n"...)
}

func appendLength(dst []byte, n int64) []byte {
	dst = append(dst, "Content-Length: "...)
	dst = strconv.AppendInt(dst, n, 10)
	return append(dst, "\r\n"...)
}
