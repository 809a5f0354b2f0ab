package server

import (
	"bytes"
	_ "embed"
	"time"
)

//go:embed index.html
var index []byte

// page is an operations page, as a route.
func page(path string, answer func(*exchange), methods ...string) *route {
	return &route{path: path, methods: methods, allow: allow(methods), answer: answer, ops: true}
}

// adminPages are those that ADMIN_ADDR moves to a listener of their own. There, who asks may purge.
func (g *Gateway) adminPages(mayPurge bool) []*route {
	return append(g.dashboardPages(),
		page("/metrics", func(x *exchange) {
			var b bytes.Buffer
			g.metrics.WritePrometheus(&b)
			g.reply(x, 200, "text/plain; version=0.0.4; charset=utf-8", b.Bytes())
		}, "GET"),
		page("/cachez", func(x *exchange) { g.cachez(x, mayPurge) }, "GET", "DELETE"),
	)
}

// pages are the operations pages that clients may see.
func (g *Gateway) pages() []*route {
	return []*route{
		page("/", func(x *exchange) { g.reply(x, 200, "text/html; charset=utf-8", index) }, "GET"),
		page("/healthz", func(x *exchange) { g.replyPage(x, 200, g.ops.Health(time.Now())) }, "GET"),
		page("/livez", func(x *exchange) { g.replyPage(x, 200, g.ops.Live()) }, "GET"),
		page("/readyz", func(x *exchange) {
			status := 503
			ready, body := g.ops.Ready()
			if ready {
				status = 200
			}
			g.replyPage(x, status, body)
		}, "GET"),
	}
}

// doors are where engines say that they live, and clients look before they begin. They are routes: a file's route of that
// path, or its "/*", wins.
func (g *Gateway) doors() []*route {
	live := func(x *exchange) { g.replyPage(x, 200, g.ops.Live()) }
	return []*route{page("/health", live, "GET"), page("/ping", live, "GET")}
}

// replyPage answers with the state of this moment.
func (g *Gateway) replyPage(x *exchange, status int, body []byte) {
	x.say("Cache-Control", "no-store")
	g.replyJSON(x, status, body)
}
