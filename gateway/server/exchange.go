package server

import (
	"time"

	"aigateway/gateway/proxy"
	"aigateway/gateway/wire"

	"github.com/valyala/fasthttp"
)

// An exchange is one request and its answer, from the handler's first line to its last. It is pooled; each
// field says which step sets it.
type exchange struct {
	gateway *Gateway

	// begin
	ctx   *fasthttp.RequestCtx
	conn  *wire.ClientConn
	plan  *plan
	route *route // resolve completes it for prefix routes
	epoch uint32
	began time.Duration // as wire.Now

	// check
	head        wire.RequestHead
	id          []byte // the request's id
	trace       []byte // traceparent
	traceStates [][]byte
	random      [24]byte
	last        bool // the client's connection ends with this answer
	openAI      bool // faults have OpenAI's shape

	// limit
	key       []byte // what the limiter knows the client by
	rateLimit []byte // the RateLimit field, if the route is limited

	// recall
	cached cached

	// refresh: in place of what a client's connection says
	raw     []byte // the head
	peer    []byte
	trusted bool
	secure  bool

	// fetch
	target  []byte
	forward *proxy.Exchange
	fault   proxy.Fault
	fields  []byte // lines that the gateway adds to an upstream's answer
	scratch []byte
}

func (x *exchange) reset() {
	x.forward.Reset()
	x.ctx, x.conn, x.plan, x.route = nil, nil, nil, nil
	x.traceStates, x.id, x.trace = nil, x.id[:0], x.trace[:0]
	x.head.Reset()
	x.rateLimit = x.rateLimit[:0]
	x.cached.reset()
	x.last, x.openAI, x.fault = false, false, proxy.None
}
