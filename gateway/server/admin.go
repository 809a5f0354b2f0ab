package server

import (
	"context"
	"net"
	"time"

	"aigateway/gateway/wire"

	"github.com/fasthttp/router"
	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/pprofhandler"
)

// The admin listener answers the operations pages apart from the traffic, where clients cannot reach it. It is
// a server of its own, because pages must answer while the other one is at its limits.

// adminServer is what answers there.
func (g *Gateway) adminServer() *fasthttp.Server {
	r := router.New()
	r.RedirectTrailingSlash = false
	r.RedirectFixedPath = false
	r.HandleMethodNotAllowed = false
	r.HandleOPTIONS = false
	r.SaveMatchedRoutePath = false
	for _, page := range append(g.pages(), g.adminPages(true)...) {
		r.ANY(page.path, func(ctx *fasthttp.RequestCtx) { g.serveParsed(ctx, page) })
	}
	r.GET("/debug/pprof/{profile:*}", func(ctx *fasthttp.RequestCtx) {
		pprofhandler.PprofHandler(ctx)
		ctx.SetConnectionClose() // it takes no head from the connection, which can carry no other one
	})
	nowhere := &route{missing: &noRoute, ops: true}
	r.NotFound = func(ctx *fasthttp.RequestCtx) { g.serveParsed(ctx, nowhere) }
	s := g.newServer()
	s.Handler = r.Handler
	return s
}

// ServeAdmin answers the operations pages on ln until Shutdown, and then returns nil.
func (g *Gateway) ServeAdmin(ln net.Listener) error {
	s := g.adminServer()
	g.mu.Lock()
	g.admin = s
	ended := g.ended
	g.mu.Unlock()
	if ended {
		return ln.Close()
	}
	return s.Serve(wire.Listen(ln, wire.ClientOptions{HeadTimeout: headTime, KeepAlive: adminKeepAlive, Idle: adminKeepAlive, Room: g.makeRoom},
		func(err error) {
			g.log.Warn("cannot accept a connection on ADMIN_ADDR, trying again", "error", err.Error())
		}))
}

// closeAdmin ends the admin listener, after the traffic: somebody may be watching.
func (g *Gateway) closeAdmin() {
	g.mu.Lock()
	s := g.admin
	g.ended = true
	g.mu.Unlock()
	if s == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = s.ShutdownWithContext(ctx) // a page that is still being read ends with the process
}
