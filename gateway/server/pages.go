package server

import (
	_ "embed"
	"time"
)

//go:embed index.html
var index []byte

// pages are the operations pages, as routes.
func (g *Gateway) pages() []*route {
	page := func(path string, answer func(*exchange)) *route {
		get := []string{"GET"}
		return &route{path: path, methods: get, allow: allow(get), answer: answer, ops: true}
	}
	return []*route{
		page("/", func(x *exchange) {
			x.ctx.Response.Header.SetContentType("text/html; charset=utf-8")
			x.ctx.Response.SetBody(index)
			g.sign(x)
		}),
		page("/healthz", func(x *exchange) { g.replyPage(x, 200, g.ops.Health(time.Now())) }),
		page("/metrics", func(x *exchange) {
			r := &x.ctx.Response
			r.Header.SetContentType("text/plain; version=0.0.4; charset=utf-8")
			g.metrics.WritePrometheus(r.BodyWriter())
			g.sign(x)
		}),
		page("/livez", func(x *exchange) { g.replyPage(x, 200, g.ops.Live()) }),
		page("/readyz", func(x *exchange) {
			status := 503
			ready, body := g.ops.Ready()
			if ready {
				status = 200
			}
			g.replyPage(x, status, body)
		}),
	}
}

// replyPage answers with the state of this moment.
func (g *Gateway) replyPage(x *exchange, status int, body []byte) {
	x.ctx.Response.Header.Set("Cache-Control", "no-store")
	g.replyJSON(x, status, body)
}
