package proxy

import (
	"time"

	"aigateway/gateway/wire"

	"github.com/valyala/fasthttp"
)

// headRoom bounds what the gateway adds to a head, next to copies of what the head held before.
const headRoom = 1024

// appendRequestHead appends the head that goes to the upstream, but for its framing and the empty line. Target and Host are the
// gateway's own; the client's fields follow byte for byte, and then what a proxy has to say.
func appendRequestHead(dst []byte, r *Request, u *Upstream) []byte {
	h := r.Head
	dst = append(append(dst, h.Method...), ' ')
	dst = append(r.appendTarget(dst), " HTTP/1.1\r\n"...)
	dst = wire.AppendField(dst, "Host: ", u.host)
	from := len(dst)
	if r.Lines != nil {
		dst = append(dst, r.Lines...)
	} else {
		dst = h.AppendKept(dst)
	}
	if r.Identity {
		dst = plainly(dst, from)
	}
	if r.Tunnel != nil { // messages are to be read here: RFC 6455 §9
		dst = without(dst, from, extensions)
	}
	dst = r.dress(dst, from, u.owner.Load().credential)
	dst = appendForwarded(dst, r)
	dst = append(dst, u.via[h.Minor]...)
	dst = wire.AppendField(dst, "X-Request-ID: ", r.RequestID)
	dst = wire.AppendField(dst, "traceparent: ", r.TraceParent)
	for _, v := range r.TraceStates {
		dst = wire.AppendField(dst, "tracestate: ", v)
	}
	return dst
}

// extensions is the field by which a WebSocket's two ends agree on what messages are beyond their bytes.
const extensions = "sec-websocket-extensions"

// plainly has the field lines at dst[from:] ask for a response without a coding: RFC 9110 §12.5.3.
func plainly(dst []byte, from int) []byte {
	return append(without(dst, from, "accept-encoding"), "Accept-Encoding: identity\r\n"...)
}

// without takes the field lines of that name, in lower case, out of those at dst[from:].
func without(dst []byte, from int, name string) []byte {
	kept := dst[:from]
	for rest := dst[from:]; len(rest) > 0; {
		field, _, behind, ok := wire.CutField(rest)
		if line := rest[:len(rest)-len(behind)]; ok && !(len(field) == len(name) && sameVariable(field, name)) {
			kept = append(kept, line...) // within dst: never behind what is still to be read
		}
		rest = behind
	}
	return kept
}

// appendFraming ends the request's head with what says how long its body is, or what it is to become.
func (x *Exchange) appendFraming(dst []byte) []byte {
	switch {
	case x.upgrades():
		dst = append(dst, switching...)
	case !x.Head.HasBody() && !carriesBody(x.Head.Method):
	case x.hold.whole:
		dst = wire.AppendLength(dst, x.hold.length(int64(x.hold.size)))
	case x.Head.ContentLength == wire.ChunkedBody:
		dst = wire.AppendLength(dst, wire.ChunkedBody)
	default:
		dst = wire.AppendLength(dst, x.hold.length(x.Head.ContentLength+x.hold.grown))
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
func appendForwarded(dst []byte, r *Request) []byte {
	h := r.Head
	dst = append(dst, "X-Forwarded-For: "...)
	if r.Trusted {
		for _, v := range h.ForwardedFor {
			if len(v) > 0 {
				dst = append(append(dst, v...), ", "...)
			}
		}
	}
	dst = append(append(dst, r.Peer...), "\r\n"...)
	if r.Trusted && len(h.ForwardedProto) > 0 {
		dst = wire.AppendField(dst, "X-Forwarded-Proto: ", h.ForwardedProto)
	} else if r.Secure {
		dst = append(dst, "X-Forwarded-Proto: https\r\n"...)
	} else {
		dst = append(dst, "X-Forwarded-Proto: http\r\n"...)
	}
	host := h.Host
	if r.Trusted && len(h.ForwardedHost) > 0 {
		host = h.ForwardedHost
	}
	if len(host) > 0 {
		dst = wire.AppendField(dst, "X-Forwarded-Host: ", host)
	}
	return dst
}

// appendReplyHead appends the head that goes to the client, for a body of length bytes (or ChunkedBody, or
// UntilClose for a client that knows no chunks).
func appendReplyHead(dst []byte, x *Exchange, length int64) []byte {
	a := &x.response
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
	dst = append(append(dst, x.Fields...), x.target().Fields...)
	if x.Attempts > 1 {
		dst = wire.AppendInt(dst, "X-Upstream-Attempts: ", int64(x.Attempts))
	}
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

// appendTiming appends what the gateway and the upstream took until now (W3C Server Timing, in milliseconds), for an
// answer whose head goes now.
func appendTiming(dst []byte, x *Exchange) []byte {
	if x.Began == 0 {
		return dst
	}
	now := wire.Now()
	upstream := x.UpstreamTime + now - x.began
	dst = append(dst, "Server-Timing: gateway;dur="...)
	dst = AppendMillis(dst, now-x.Began-upstream-x.ClientTime)
	if x.QueueTime > 0 {
		dst = AppendMillis(append(dst, ", queue;dur="...), x.QueueTime)
	}
	dst = append(dst, ", upstream;dur="...)
	return append(AppendMillis(dst, upstream-x.QueueTime), "\r\n"...)
}

// switching are the fields of a request that asks for WebSocket, and of the response that grants it. They are the
// gateway's own: hop by hop, RFC 9110 §7.8.
const switching = "Connection: Upgrade\r\nUpgrade: websocket\r\n"

// appendSwitchingHead appends the 101 that the client gets.
func appendSwitchingHead(dst []byte, x *Exchange) []byte {
	dst = wire.AppendStatusLine(dst, 101, "Switching Protocols")
	dst = x.response.AppendKept(dst)
	dst = wire.AppendVia(dst, x.response.Minor)
	dst = wire.AppendField(dst, "X-Request-ID: ", x.RequestID)
	dst = append(append(dst, x.Fields...), x.target().Fields...)
	return append(dst, switching+"\r\n"...)
}

// appendInterimHead appends the head of a 1xx response as the client gets it.
func appendInterimHead(dst []byte, x *Exchange) []byte {
	dst = wire.AppendStatusLine(dst, x.response.Status, x.response.Reason)
	dst = x.response.AppendKept(dst)
	dst = wire.AppendVia(dst, x.response.Minor)
	return append(dst, "\r\n"...)
}
