package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"

	"aigateway/bench/upstream"

	"github.com/VictoriaMetrics/fastcache"
	"github.com/valyala/fasthttp"
)

// play is this program as a process of the comparison: the upstream, or one of the proxies that are written in a page.
func play(role, listen, service string) error {
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	switch role {
	case "upstream":
		f, err := ln.(*net.TCPListener).File()
		if err != nil {
			return err
		}
		return upstream.Serve(f)
	case "fasthttp":
		return serveFasthttp(ln, service)
	case "httputil":
		p := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: service})
		p.ErrorLog = log.New(io.Discard, "", 0) // a client that leaves at the end of a run is not news
		return http.Serve(ln, p)
	}
	return fmt.Errorf("there is no role %q", role)
}

// serveFasthttp is the proxy that fasthttp's documentation leads to, with fastcache in front of it: what the parts of
// the gateway can do without any of what makes a gateway of them. Its cache keeps a body for ever under its target.
func serveFasthttp(ln net.Listener, service string) error {
	whole := &fasthttp.HostClient{Addr: service, MaxConns: 4096}
	streamed := &fasthttp.HostClient{Addr: service, MaxConns: 4096, StreamResponseBody: true}
	cache := fastcache.New(64 << 20)
	s := &fasthttp.Server{
		ReadBufferSize: 16 << 10,
		Handler: func(ctx *fasthttp.RequestCtx) {
			target := ctx.RequestURI()
			if ctx.IsGet() {
				body := ctx.Response.SwapBody(nil)
				if body = cache.Get(body[:0], target); len(body) > 0 {
					ctx.Response.SetBodyRaw(body)
					ctx.SetContentType("application/json")
					return
				}
			}
			c := whole
			if strings.HasPrefix(string(ctx.Path()), "/v1/events/") {
				c = streamed
			}
			ctx.Request.Header.SetHost(service)
			if err := c.Do(&ctx.Request, &ctx.Response); err != nil {
				ctx.Error("bad gateway", fasthttp.StatusBadGateway)
				return
			}
			if ctx.IsGet() && ctx.Response.StatusCode() == fasthttp.StatusOK && len(ctx.Response.Header.Peek("Cache-Control")) > 0 {
				cache.Set(target, ctx.Response.Body())
			}
		},
	}
	return s.Serve(ln)
}
