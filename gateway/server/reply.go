package server

import (
	"math"
	"time"

	"aigateway/gateway/inference"
	"aigateway/gateway/routing"
	"aigateway/gateway/wire"

	"github.com/valyala/fasthttp"
)

// Answers of the gateway's own. They are written into the exchange's memory and sent at once, as what is passed on is.

// replyFault answers with a fault as JSON: the gateway's shape, or that of the dialect where one is spoken.
func (g *Gateway) replyFault(x *exchange, f *fault) {
	g.replyError(x, inference.Error{Status: f.status, Code: f.code, Message: f.message})
}

// replyError is replyFault for what may be about a field of the request.
func (g *Gateway) replyError(x *exchange, e inference.Error) {
	b := x.scratch[:0]
	if x.openAI {
		b = inference.DialectOf(routing.PathOf(x.head.Target)).AppendError(b, e)
	} else {
		b = inference.AppendPlainError(b, e, x.id)
	}
	x.scratch = append(b, '\n')
	if n := x.cached.Forward.Attempts; n > 1 {
		x.sayInt("X-Upstream-Attempts", int64(n))
	}
	if e.Status == fasthttp.StatusServiceUnavailable {
		x.sayInt("Retry-After", max(1, int64(math.Ceil(x.cached.Forward.RetryAfter.Seconds())))) // RFC 9110 §10.2.3: whole seconds
	}
	g.replyJSON(x, e.Status, x.scratch)
}

// replyJSON answers with a JSON body.
func (g *Gateway) replyJSON(x *exchange, status int, body []byte) {
	g.reply(x, status, "application/json", body)
}

// say adds a line to the reply.
func (x *exchange) say(name, value string) {
	x.extra = wire.AppendField(append(append(x.extra, name...), ": "...), "", value)
}

func (x *exchange) sayInt(name string, value int64) {
	x.extra = wire.AppendInt(append(append(x.extra, name...), ": "...), "", value)
}

// reply answers with a body. A request's body that was not read would stand before the next request.
func (g *Gateway) reply(x *exchange, status int, contentType string, body []byte) {
	if g.draining.Load() {
		x.conn.EndAfter()
	}
	if !x.conn.KeepsAlive() {
		x.conn.Linger()
	}
	x.status = status
	b := wire.AppendStatusLine(x.out[:0], status, fasthttp.StatusMessage(status))
	b = wire.AppendField(b, "Date: ", g.date.at(time.Now()))
	if status != statusNoContent {
		b = wire.AppendField(b, "Content-Type: ", contentType)
	}
	b = append(b, x.extra...)
	if x.route != nil && !x.route.ops {
		b = x.appendTiming(b)
	}
	b = wire.AppendField(x.appendCORS(x.appendLimits(b)), "X-Request-ID: ", x.id)
	if status != statusNoContent { // which has no length: RFC 9110 §8.6
		b = wire.AppendLength(b, int64(len(body)))
	}
	b = append(x.conn.AppendConnection(b, x.head.Minor), "\r\n"...)
	if string(x.line.Method) != "HEAD" {
		b = append(b, body...)
	}
	x.out = b
	if x.conn.Send(b) != nil {
		x.conn.EndAfter()
	}
	if cap(x.out) > mostKept {
		x.out = nil // a page may be long, and exchanges are many
	}
}

const statusNoContent = fasthttp.StatusNoContent

// mostKept is how much memory an exchange keeps for its next reply.
const mostKept = 16 << 10
