package server

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"runtime/debug"

	"aigateway/gateway/caching"
	"aigateway/gateway/inference"
	"aigateway/gateway/models"
	"aigateway/gateway/proxy"
	"aigateway/gateway/ratelimit"
	"aigateway/gateway/routing"
	"aigateway/gateway/wire"

	"github.com/valyala/fasthttp"
)

// handle is a request's way. Each step answers, or leaves the request to the next. It tells whether the connection
// ends with the reply.
func (g *Gateway) handle(x *exchange) (ended bool) {
	defer func() { ended = g.end(x, recover()) }()
	if g.check(x) || g.resolve(x) || g.loop(x) || g.authenticate(x) || g.limitTenant(x) || g.limit(x) || g.measure(x) || g.ask(x) || g.reserve(x) || g.recall(x) || g.replyItself(x) {
		return false
	}
	g.fetch(x)
	return false
}

// serveHead takes a request whose head has come whole. fasthttp does not see it.
func (g *Gateway) serveHead(c *wire.ClientConn, head []byte) wire.Handled {
	line, ok := wire.CutRequestLine(head)
	if !ok {
		return wire.Passed // fasthttp says what is wrong with it
	}
	x := g.begin(c, g.plan.Load())
	x.line = line
	if g.handle(x) {
		return wire.Ended
	}
	return wire.Served
}

// openAIPrefix begins the paths whose faults have OpenAI's shape.
var openAIPrefix = []byte("/v1/")

// begin takes an exchange for the request from the pool.
func (g *Gateway) begin(c *wire.ClientConn, p *plan) *exchange {
	x := g.exchanges.Get().(*exchange)
	x.conn, x.plan = c, p
	x.epoch = g.epoch.Load()
	g.open[x.epoch].Add(1)
	x.began = wire.Now()
	return x
}

// check applies the request policy, and gives the request its identity. A refusal closes the connection:
// where such a message ends is anybody's guess.
func (g *Gateway) check(x *exchange) (done bool) {
	l := &x.line
	x.conn.TakeHead()
	v := x.head.Scan(l.Method, l.Target, l.Proto, l.Block)
	x.identify()
	g.joinTrace(x)
	if v != wire.None {
		x.openAI = bytes.HasPrefix(x.head.Target, openAIPrefix)
		x.route = x.plan.routes.Exact(routing.PathOf(x.head.Target)) // whose the refusal is
		x.conn.Linger()
		f := ofViolation(v)
		g.replyFault(x, &f)
		return true
	}
	x.conn.ExpectBody(x.head.ContentLength, x.plan.settings.MaxBodyBytes)
	if x.head.Expect {
		x.conn.ExpectContinue()
	}
	if x.head.Close || g.draining.Load() {
		x.conn.EndAfter()
	}
	return false
}

// resolve finds the route, and answers what has none.
func (g *Gateway) resolve(x *exchange) (done bool) {
	path := routing.PathOf(x.head.Target)
	if x.route = x.plan.routes.Exact(path); x.route == nil {
		x.route = x.plan.routes.Match(path)
		if f := x.strays(path); f != nil {
			g.replyFault(x, f)
			return true
		}
	}
	r := x.route
	x.openAI = r.openAI
	if r.LeavesOrigin(x.head.Target) {
		g.replyFault(x, &outsideRoute)
		return true
	}
	if r.missing != nil {
		g.replyFault(x, r.missing)
		return true
	}
	if g.crossOrigin(x) {
		return true
	}
	if !r.Takes(x.head.Method) {
		x.say("Allow", r.allow)
		g.replyFault(x, &badMethod)
		return true
	}
	return false
}

// strays says what is wrong with a path that no exact route has: it has none, leaves the one it has, or has another one in
// a reading of somebody behind.
func (x *exchange) strays(path []byte) *fault {
	if x.route == nil {
		return &noRoute
	}
	x.openAI = x.route.openAI
	if (!x.head.Plain || x.plan.routes.LooksAtAll()) && x.leadsElsewhere(path) {
		return &otherRoute
	}
	if routing.Climbs(path[len(x.route.Prefix):]) {
		return &outsideRoute
	}
	return nil
}

// leadsElsewhere tells whether the path is another route's than x's to anybody behind.
func (x *exchange) leadsElsewhere(path []byte) (elsewhere bool) {
	x.scratch, elsewhere = x.plan.routes.Elsewhere(x.scratch, path, &x.route.Route)
	return elsewhere
}

// crossOrigin notes which page asks, and replies to its preflight, which needs neither a limit nor a key.
func (g *Gateway) crossOrigin(x *exchange) (done bool) {
	c := x.route.cors
	page, asks := c.Page(&x.head)
	if !asks {
		return false
	}
	x.page = page
	if _, is := routing.Preflight(&x.head); !is {
		return false
	}
	x.extra = c.AppendPreflight(x.extra, page, &x.head)
	g.reply(x, statusNoContent, "", nil)
	return true
}

// limit spends the request's tokens, or refuses it, before its body is read.
func (g *Gateway) limit(x *exchange) (done bool) {
	l := x.route.limit
	if l == nil {
		return false
	}
	x.key = x.clientKey()
	if x.tenant.Key.LimitsRequests() { // by its own rate, and not by that of clients
		v := l.AdmitGlobal(x.began, x.route.cost)
		return !v.OK && g.refused(x, l, v)
	}
	return g.refused(x, l, l.Admit(x.began, x.key, x.route.cost))
}

// refused replies to a request that a limit does not let in, and tells whether that is so.
func (g *Gateway) refused(x *exchange, l ratelimit.Limit, v ratelimit.Verdict) (done bool) {
	x.rateLimit = l.AppendLimit(x.rateLimit, v)
	if v.OK {
		return false
	}
	x.observed.refused = v.Scope
	if x.tenant.Key != nil {
		g.ledger.Refuse(x.tenant.label(), v.Scope.String())
	}
	x.say("RateLimit-Scope", v.Scope.String())
	x.sayInt("RateLimit-Remaining", v.Remaining)
	x.sayInt("Retry-After", v.RetryAfter())
	if x.openAI {
		g.replyFault(x, &tooMany)
	} else {
		g.replyJSON(x, tooMany.status, tooManyBody)
	}
	return true
}

// measure refuses a body that announces to be too long, before a byte of it is read or 100 Continue is sent.
func (g *Gateway) measure(x *exchange) (done bool) {
	if most := x.route.maxBody; most > 0 {
		x.conn.LimitBody(most)
		if x.head.ContentLength <= most {
			return false
		}
	} else if x.head.ContentLength <= x.plan.settings.MaxBodyBytes { // of a page
		return false
	}
	g.replyFault(x, &tooLong)
	return true
}

// recall replies from the cache, or from what it fetches for the cache. It leaves a request in which the cache has no
// part to the next step.
func (g *Gateway) recall(x *exchange) (done bool) {
	c := &x.cached
	if c.Rule = x.route.caching; c.Rule == nil || x.head.WebSocket { // what comes behind a 101 is no response to be kept
		return false
	}
	c.Conn, c.Origin, c.Began = x.conn, x.origin(), x.began
	if c.Rule.Post != nil {
		c.Asked.Dialect, c.Asked.Tenant = inference.DialectOf(routing.PathOf(x.head.Target)), x.tenant.ID
		if first := x.asked.First(); first != nil {
			c.Asked.Model = first
		}
	}
	switch g.caching.Serve(c) {
	case caching.Passed:
		return false
	case caching.NotStored:
		g.replyFault(x, &notCached)
	case caching.Panicked:
		g.replyFault(x, &internal)
	case caching.Done:
		g.conclude(x, c.Fault, c.Status)
	}
	return true
}

// replyItself replies to what the gateway answers itself.
func (g *Gateway) replyItself(x *exchange) (done bool) {
	if x.route.reply == nil {
		return false
	}
	x.extra = x.cached.AppendOutcome(x.extra)
	x.route.reply(x)
	return true
}

// fetch has an upstream answer.
func (g *Gateway) fetch(x *exchange) {
	f := x.cached.Forward
	x.Prepare(f)
	f.Fields = x.cached.AppendOutcome(f.Fields)
	outcome := g.proxy.Forward(f)
	g.conclude(x, outcome.Fault(), f.Status)
}

// Prepare implements [caching.Client]: it tells the proxy what to send where.
func (x *exchange) Prepare(f *proxy.Exchange) {
	r := x.route
	x.target = r.AppendTarget(x.target[:0], x.head.Target)
	f.Head, f.Target = &x.head, x.target
	f.RequestID, f.TraceParent, f.TraceStates = x.id, x.trace, x.traceStates
	f.Targets, f.Room, f.Generates = append(f.Targets[:0], r.targets...), r.room, r.openAI
	x.asked.Aim(f)
	f.Policy, f.Tap = r.retry, (*tap)(x)
	if r.openAI {
		x.speech = models.Speech{Head: &x.head, Asked: x.asked}
		f.Dialect = &x.speech
	}
	if x.plan.settings.ServerTiming {
		f.Began = x.began
	}
	f.Client, f.Peer = x.conn, x.conn.PeerText()
	if k := x.tenant.Key; k != nil {
		f.Anonymous = true
		f.Tenant, f.Weight, f.Class = x.tenant.ID, k.Weight, proxy.ClassOf(k.Priority)
	}
	f.Trusted, f.Secure = x.plan.trusts(x.conn.Peer()), x.conn.Secure()
	switch {
	case r.limit != nil: // which has asked already who it is
		f.ClientKey = x.key
	case r.byClient, f.Trusted && len(x.head.ForwardedFor) > 0, x.conn.Peer().Is6():
		x.key = x.clientKey()
		f.ClientKey = x.key
	} // else a queue knows the client well enough by its address
	f.Fields = x.appendCORS(x.appendRates(f.Fields[:0]))
	if r.cors != nil {
		f.Drop = corsFields
	}
	x.meter(f)
}

// conclude ends what the cache or the proxy has begun: a reply of that status has gone out, at least a part of it, or there
// is a fault to be told.
func (g *Gateway) conclude(x *exchange, fault proxy.Fault, status int) {
	x.fault, x.status = fault, status
	switch {
	case fault == proxy.None:
	case x.conn.Replied():
		x.drop()
	case fault == proxy.ClientGone:
		x.status = statusClientGone
		x.drop()
	case fault == proxy.OverBudget:
		g.replyOverBudget(x)
	case fault == proxy.BodyRefused:
		g.replyError(x, x.asked.Refused())
	default:
		g.replyFault(x, ofProxyFault(fault))
	}
}

// drop ends the connection without a further byte: what was sent must not look whole.
func (x *exchange) drop() {
	x.conn.Reset()
	x.conn.Mute()
}

// end gives the exchange back, and tells whether the connection ends. A panic costs this one request.
func (g *Gateway) end(x *exchange, panicked any) (ended bool) {
	if panicked != nil {
		g.panicked(panicked)
		x.cached.Abandon()
		x.charge.Abandon()
		if x.conn.Replied() {
			x.status = x.cached.Forward.Status
			x.drop()
		} else {
			x.conn.EndAfter()
			g.replyFault(x, &internal)
		}
	}
	g.record(x)
	if x.tenant.Key != nil {
		x.conn.Hold(nil)
	}
	g.open[x.epoch].Add(-1)
	ended = x.conn.Ends()
	x.reset()
	g.exchanges.Put(x)
	return ended
}

// panicked reports a panic with its stack.
func (g *Gateway) panicked(r any) {
	g.panics.Add(1)
	g.metrics.Panic()
	g.log.Error("panic", "value", fmt.Sprint(r), "stack", string(debug.Stack()))
}

// refuse answers what was not read: a head that did not come whole, and one that has no request line. The connection ends
// with it.
func (g *Gateway) refuse(ctx *fasthttp.RequestCtx, err error) {
	f := malformed
	var v wire.Violation
	var small *fasthttp.ErrSmallBuffer
	var timeout net.Error
	switch {
	case errors.As(err, &v):
		f = ofViolation(v)
	case errors.As(err, &small):
		f = headTooLong
	case errors.As(err, &timeout) && timeout.Timeout():
		f = headTimeout
	case errors.As(err, new(*net.OpError)): // a reset: there is nobody to answer, and no request to count
		ctx.Conn().(*wire.ClientConn).Mute()
		return
	}
	x := newExchange(g)
	x.openAI = bytes.HasPrefix(ctx.RequestURI(), openAIPrefix)
	x.conn = ctx.Conn().(*wire.ClientConn)
	x.identify()
	x.conn.Linger()
	g.replyFault(x, &f)
	g.noRoute.Done(nil, f.status, 0, 0)
	g.logRefusal(x, f.status)
}
