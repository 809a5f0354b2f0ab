package ops

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net"
	"net/http/pprof"
	"sync"
	"time"

	"aigateway/gateway/wire"

	"github.com/fasthttp/router"
	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttpadaptor"
	"github.com/valyala/fasthttp/pprofhandler"
)

// An admin is the listener for operators: it answers the operations pages apart from the traffic, where clients cannot reach
// it. It is a server of its own, because pages must answer while the other one is at its limits, and plain fasthttp.
type admin struct {
	mu     sync.Mutex
	server *fasthttp.Server
	ended  bool
}

// Times of the admin listener. A profile is written for as long as it was asked for, which is before the time to write begins.
const (
	adminReadTime  = 10 * time.Second
	adminWriteTime = time.Minute
	adminIdleTime  = 75 * time.Second
	adminMaxBody   = 4 << 10
)

// ServeAdmin answers the operations pages on ln until Close, and then returns nil.
func (o *Ops) ServeAdmin(ln net.Listener) error {
	s := &fasthttp.Server{
		Handler:               o.adminHandler(),
		ErrorHandler:          refuse,
		ReadTimeout:           adminReadTime,
		WriteTimeout:          adminWriteTime,
		IdleTimeout:           adminIdleTime,
		ReadBufferSize:        o.options.HeadSize,
		MaxRequestBodySize:    adminMaxBody,
		CloseOnShutdown:       true,
		NoDefaultServerHeader: true,
		SecureErrorLogMessage: true,
		Logger:                silent{},
	}
	o.admin.mu.Lock()
	o.admin.server = s
	ended := o.admin.ended
	o.admin.mu.Unlock()
	if ended {
		return ln.Close()
	}
	return s.Serve(wire.NewPatient(ln, o.options.MakeRoom, func(err error) {
		o.options.Log.Warn("cannot accept a connection on ADMIN_ADDR, trying again", "error", err.Error())
	}))
}

// Close ends what New began, and the admin listener, after the traffic: somebody may be watching.
func (o *Ops) Close() {
	o.closing.Do(func() { close(o.ended) })
	o.behind.Wait()
	o.admin.mu.Lock()
	s := o.admin.server
	o.admin.ended = true
	o.admin.mu.Unlock()
	if s == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = s.ShutdownWithContext(ctx) // a page that is still being read ends with the process
}

func (o *Ops) adminHandler() fasthttp.RequestHandler {
	r := router.New()
	r.RedirectTrailingSlash = false
	r.RedirectFixedPath = false
	r.HandleMethodNotAllowed = false
	r.HandleOPTIONS = false
	r.SaveMatchedRoutePath = false
	for _, page := range append(o.Pages(), o.AdminPages()...) {
		r.ANY(page.Path, func(ctx *fasthttp.RequestCtx) { write(ctx, reply(ctx, &page)) })
	}
	r.GET("/debug/pprof/", fasthttpadaptor.NewFastHTTPHandlerFunc(pprof.Index)) // which fasthttp's handler takes for nothing
	r.GET("/debug/pprof/{profile:*}", pprofhandler.PprofHandler)
	r.NotFound = func(ctx *fasthttp.RequestCtx) {
		write(ctx, faulty(404, Fault{"not_found", "there is nothing at this path"}))
	}
	return r.Handler
}

// reply asks a page, if it answers the method.
func reply(ctx *fasthttp.RequestCtx, page *Route) Page {
	if !page.Takes(string(ctx.Method())) {
		p := faulty(405, Fault{"method_not_allowed", "this path does not answer that method; see the Allow field"})
		p.Fields = []Field{{"Allow", Allow(page.Methods)}}
		return p
	}
	h := &ctx.Request.Header
	return page.Reply(&Request{
		Method: h.Method(), Target: h.RequestURI(), Operator: true,
		Field: func(lower string) ([]byte, bool) {
			v := h.Peek(lower)
			return v, v != nil
		},
	})
}

// refuse answers what fasthttp cannot read; the connection ends with it.
func refuse(ctx *fasthttp.RequestCtx, err error) {
	p := faulty(400, Fault{"bad_request", "the request is not well-formed HTTP/1.1"})
	var late net.Error
	switch {
	case errors.As(err, new(*fasthttp.ErrSmallBuffer)):
		p = faulty(431, Fault{"header_too_large", "the request header exceeds the limit"})
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		p = faulty(413, Fault{"body_too_large", "the request body exceeds the limit"})
	case errors.As(err, &late) && late.Timeout():
		p = faulty(408, Fault{"timeout_request", "the request did not arrive in time"})
	}
	write(ctx, p)
}

// write writes a page to an operator.
func write(ctx *fasthttp.RequestCtx, p Page) {
	var id [16]byte
	_, _ = rand.Read(id[:])
	name := hex.EncodeToString(id[:])
	ctx.Response.Header.Set("X-Request-ID", name)
	for _, f := range p.Fields {
		ctx.Response.Header.Set(f.Name, f.Value)
	}
	ctx.SetStatusCode(p.Status)
	if p.Fault != nil {
		p.Type, p.Body = "application/json", appendFault(nil, p.Fault, p.Status, name)
	}
	ctx.SetContentType(p.Type)
	ctx.SetBody(p.Body)
}

// appendFault appends a fault as the gateway tells it outside of OpenAI's API.
func appendFault(dst []byte, f *Fault, status int, requestID string) []byte {
	kind := "invalid_request_error"
	if status >= 500 {
		kind = "server_error"
	}
	type words struct {
		Message string `json:"message"`
		Type    string `json:"type"`
		Code    string `json:"code"`
	}
	return append(dst, marshal(struct {
		Error     words  `json:"error"`
		RequestID string `json:"request_id"`
	}{words{f.Message, kind, f.Code}, requestID})...)
}

// silent drops what fasthttp has to say: it is about connections, and none of it needs an operator.
type silent struct{}

func (silent) Printf(string, ...any) {}
