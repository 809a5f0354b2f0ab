package server

import (
	"time"

	"aigateway/gateway/caching"
	"aigateway/gateway/charging"
	"aigateway/gateway/inference"
	"aigateway/gateway/models"
	"aigateway/gateway/proxy"
	"aigateway/gateway/ratelimit"
	"aigateway/gateway/telemetry"
	"aigateway/gateway/wire"
)

// An exchange is one request and its reply, from the handler's first line to its last. It is pooled; each
// field says which step sets it.
type exchange struct {
	gateway *Gateway

	// begin
	conn  *wire.ClientConn
	line  wire.RequestLine
	plan  *plan
	route *route // check, of what it refuses; resolve
	epoch uint32
	began time.Duration // as wire.Now

	// an answer of the gateway's own
	extra  []byte // lines for it
	out    []byte // all of it
	status int    // of the reply; 0: none yet

	// check
	head        wire.RequestHead
	id          []byte // the request's id
	trace       []byte // traceparent
	traceStates [][]byte
	random      telemetry.Random
	openAI      bool // faults have OpenAI's shape

	// resolve
	page []byte // the origin of the page that asks, if it may; nil: none

	// authenticate
	tenant tenant

	// limitTenant, reserve
	account *ratelimit.Account // the tenant's; nil: it has no limits
	charge  *charging.Charge   // nil: nothing is charged

	// limit
	key       []byte // what the limiter knows the client by
	rateLimit []byte // the RateLimit field, if the route is limited

	// ask
	asked *models.Asked // kept for the next request; nil: none has asked yet

	// check, limit, fetch
	observed observation

	// recall; fetch
	cached caching.Request // with the proxy's exchange
	target []byte
	speech models.Speech
	fault  proxy.Fault

	worked  time.Duration // on a reply of its own that stands for an upstream's
	scratch []byte
}

func newExchange(g *Gateway) *exchange {
	x := &exchange{gateway: g}
	x.cached.Client, x.cached.Head, x.cached.Forward = x, &x.head, new(proxy.Exchange)
	return x
}

// upstreamTime is the part of the request's time that is not the gateway's or the client's own.
func (x *exchange) upstreamTime() time.Duration {
	return x.cached.Forward.UpstreamTime + x.cached.Waited + x.worked
}

func (x *exchange) reset() {
	x.cached.Forward.Reset()
	x.conn, x.line, x.plan, x.route = nil, wire.RequestLine{}, nil, nil
	x.extra, x.rateLimit, x.status = x.extra[:0], x.rateLimit[:0], 0
	x.traceStates, x.id, x.trace = nil, x.id[:0], x.trace[:0]
	x.head.Reset()
	x.cached.Reset()
	x.worked, x.account, x.charge = 0, nil, nil
	x.observed.reset()
	x.asked.Reset()
	x.openAI, x.page, x.fault = false, nil, proxy.None
	x.tenant = tenant{}
}

// observation is what is noted of a request while it is on its way, part of its exchange.
type observation struct {
	refused ratelimit.Scope // whose limit refused it
	budget  string          // the name of the budget that refused it

	trace telemetry.Trace

	stream     bool // its reply is an event stream
	events     telemetry.Events
	generation telemetry.Generation
	charged    bool              // its usage is what the charge reads
	dialect    inference.Dialect // of the reply, if it is a stream of one
	content    inference.FirstContent
}

// reset readies o for another request; it keeps its memory.
func (o *observation) reset() {
	content, generation := o.content, o.generation
	content.Reset()
	generation.Reset()
	*o = observation{content: content, generation: generation}
}
