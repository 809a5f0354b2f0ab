package server

import (
	"strconv"

	"github.com/valyala/fasthttp"
)

// replyFault answers with a fault as JSON: the gateway's shape, or OpenAI's below /v1.
func (g *Gateway) replyFault(x *exchange, f *fault) {
	b := append(x.scratch[:0], `{"error":{"message":`...)
	b = strconv.AppendQuote(b, f.message)
	b = append(append(append(b, `,"type":"`...), f.kind()...), '"')
	if x.openAI {
		b = append(b, `,"param":null`...)
	}
	b = append(append(append(b, `,"code":"`...), f.code...), `"}`...)
	if !x.openAI {
		b = append(append(append(b, `,"request_id":"`...), x.id...), '"')
	}
	x.scratch = append(b, "}\n"...)
	if f.status == fasthttp.StatusServiceUnavailable {
		x.ctx.Response.Header.Set("Retry-After", "1")
	}
	g.replyJSON(x, f.status, x.scratch)
}

// replyJSON answers with a JSON body, which is copied.
func (g *Gateway) replyJSON(x *exchange, status int, body []byte) {
	r := &x.ctx.Response
	r.SetStatusCode(status)
	r.Header.SetContentType("application/json")
	r.SetBody(body)
	g.sign(x)
}

// sign puts what every answer of the gateway's own carries on it, and decides whether the connection ends
// with it: a body that was not read stands before the next request.
func (g *Gateway) sign(x *exchange) {
	h := &x.ctx.Response.Header
	if len(x.rateLimit) > 0 {
		h.SetBytesV("RateLimit-Policy", x.route.policy)
		h.SetBytesV("RateLimit", x.rateLimit)
	}
	h.SetBytesV("X-Request-ID", x.id)
	if x.last || g.ops.Draining() {
		x.conn.EndAfter()
		x.ctx.SetConnectionClose()
	}
	if !x.conn.KeepsAlive() {
		x.ctx.SetConnectionClose()
		x.conn.Linger()
	}
}
