package server

import (
	"time"

	"aigateway/gateway/inference"
	"aigateway/gateway/proxy"
	"aigateway/gateway/ratelimit"
	"aigateway/gateway/routing"
	"aigateway/gateway/telemetry"
	"aigateway/gateway/wire"
)

// What a request tells of itself beside its counters: a line in the access log, spans, and what passes of its reply.

// openTelemetry starts the access log and the tracer that the settings want. Lines may be nil.
func (g *Gateway) openTelemetry(lines *telemetry.Lines, version string) {
	s := g.settings
	if s.AccessLog.Enabled && lines != nil {
		g.access = telemetry.NewAccessLog(telemetry.AccessLogOptions{Lines: lines, Sample: s.AccessLog.Sample})
	}
	if t := s.Tracing; t.Endpoint != nil {
		o := telemetry.TracerOptions{
			Endpoint: t.Endpoint, Headers: make(map[string]string), Service: t.Service, Version: version, Ratio: t.Ratio,
			OnFault: func(err error) { g.log.Warn("cannot deliver spans", "error", err.Error()) },
		}
		for _, f := range t.Headers {
			o.Headers[f.Name] = f.Value
		}
		g.tracer = telemetry.NewTracer(o)
	}
	g.metrics.Watch(lines, g.access, g.tracer)
	g.genAI = g.metrics.GenAI()
}

// closeTelemetry ends the tracer, when the last request has.
func (g *Gateway) closeTelemetry() { g.tracer.Close() }

// joinTrace gives a request that is sampled its spans' ids. Without a tracer a trace passes as it came.
func (g *Gateway) joinTrace(x *exchange) {
	if g.tracer != nil {
		x.trace = g.tracer.Join(&x.observed.trace, x.trace, x.head.TraceParent)
	}
}

// A tap is an exchange as the proxy shows it what passes.
type tap exchange

// Attempted implements [proxy.Tap]: a sampled request has a span for each attempt.
func (t *tap) Attempted(u *proxy.Upstream, f proxy.Fault, status int, began time.Duration) {
	x := (*exchange)(t)
	if !x.observed.trace.Sampled {
		return
	}
	s := telemetry.Span{
		Client: true, Began: began, Took: wire.Now() - began,
		Method: telemetry.MethodName(x.head.Method), URL: u.URL, Status: status, Fault: f.String(),
	}
	x.gateway.tracer.RecordAttempt(&x.observed.trace, x.trace, &s)
}

// Response implements [proxy.Tap].
func (t *tap) Response(h *wire.ResponseHead) (body bool) {
	x := (*exchange)(t)
	s := &x.observed
	if s.stream = h.EventStream(); s.stream {
		x.gateway.metrics.BeginStream()
	}
	if x.route.openAI {
		path, model := routing.PathOf(x.head.Target), x.modelName()
		x.gateway.genAI.Begin(&s.generation, telemetry.OperationOf(path), x.began, model)
		s.charged = model != "" && x.readsAll()
		if s.stream {
			s.dialect = inference.DialectOf(path)
		}
	}
	return s.stream || s.generation.Active() && !s.charged
}

// readsAll tells whether the charge reads all that the client gets: what comes from the cache, or is taken for it, is not read, or goes on
// for others.
func (x *exchange) readsAll() bool {
	return x.charge.Reads() && (x.cached.Rule == nil || x.cached.Rule.Post == nil)
}

// Body implements [proxy.Tap].
func (t *tap) Body(piece []byte) {
	s := &t.observed
	if s.stream {
		s.events.Pass(piece)
	}
	if s.dialect.Streams() && !s.content.Over {
		s.content.Pass(s.dialect, piece, wire.Now())
	}
	if s.generation.Active() && !s.charged {
		t.gateway.genAI.Pass(&s.generation, piece)
	}
}

// modelName is the model that the request is for, by its name in the settings or as an upstream lists it; "": none that is known.
func (x *exchange) modelName() string {
	if x.route == nil {
		return ""
	}
	return x.route.models.Called(x.asked)
}

// observeEnd is what a request leaves behind at its end, beside its counters: own is the gateway's part of the total.
func (g *Gateway) observeEnd(x *exchange, total, own time.Duration) {
	s, code, now := &x.observed, x.status, x.began+total
	how := telemetry.Whole
	if s.stream {
		how = telemetry.WholeStream
		g.metrics.EndStream(now-x.cached.Forward.HeadAt, s.events.N)
	}
	if code >= 400 || x.fault != proxy.None {
		how = telemetry.Failed
	}
	ended := telemetry.Ended{How: how, At: now, First: s.content.At}
	if s.charged {
		if in, out, told := x.charge.Told(); told {
			ended.Tell(in, out)
		}
	}
	g.genAI.End(&s.generation, &ended)
	if g.access.Wants(x.plan.settings.LogLevel, code, x.fault.String()) {
		a := g.accessOf(x, code)
		a.Total, a.Gateway = total, own
		a.TokensIn, a.TokensOut = ended.Input, ended.Output
		g.access.Log(&a)
	}
	if s.trace.Sampled {
		g.recordSpan(x, code, total)
	}
}

// accessOf is a request as the access log tells of it.
func (g *Gateway) accessOf(x *exchange, code int) telemetry.Access {
	a := telemetry.Access{
		Time: time.Now(), ID: x.id, Client: x.client(), Method: x.head.Method, Path: routing.ShownPath(x.head.Target),
		Status: code, Bytes: x.conn.Sent(), Upstream: x.upstreamTime(), Cache: x.cached.Outcome(), Limit: x.limitOutcome(), Fault: x.fault.String(),
	}
	if x.route != nil {
		a.Route = x.route.Path
	}
	if k := x.tenant.Key; k != nil {
		a.Key = k.ID
	}
	f := x.cached.Forward
	if a.Attempts = f.Attempts; f.Upstream != nil {
		a.Pool, a.URL = f.Upstream.Pool, f.Upstream.URL
	}
	if a.Model = x.modelName(); a.Model != "" && f.Upstream != nil {
		a.UpstreamModel = f.ModelAsked()
	}
	if at := x.observed.content.At; at > 0 {
		a.FirstContent = at - x.began
	}
	return a
}

// limitOutcome is what the limiter said: whose limit refused the request, or that it was let in.
func (x *exchange) limitOutcome() string {
	switch {
	case x.observed.refused != ratelimit.None:
		return x.observed.refused.String()
	case len(x.rateLimit) > 0:
		return "admitted"
	}
	return ""
}

// recordSpan leaves the span of the request.
func (g *Gateway) recordSpan(x *exchange, code int, total time.Duration) {
	s := telemetry.Span{
		Trace: x.observed.trace.ID, ID: x.observed.trace.Span, Parent: x.observed.trace.Parent, Began: x.began, Took: total,
		Method: telemetry.MethodName(x.head.Method), Status: code, Fault: x.fault.String(),
		Peer: x.client(), Cache: x.cached.Outcome(), Limit: x.limitOutcome(),
	}
	if k := x.tenant.Key; k != nil {
		s.Key = k.ID
	}
	s.SetPath(routing.ShownPath(x.head.Target))
	if x.route != nil {
		s.Route = x.route.Path
	}
	g.tracer.Record(&s)
}

// appendTiming appends where the time of a request went until now, for a reply that does not come straight from an
// upstream (W3C Server Timing, in milliseconds), if the settings want it.
func (x *exchange) appendTiming(dst []byte) []byte {
	if !x.plan.settings.ServerTiming {
		return dst
	}
	f, upstream := x.cached.Forward, x.upstreamTime()
	dst = proxy.AppendMillis(append(dst, "Server-Timing: gateway;dur="...), wire.Now()-x.began-upstream-f.ClientTime)
	if f.QueueTime > 0 {
		dst = proxy.AppendMillis(append(dst, ", queue;dur="...), f.QueueTime)
	}
	if upstream > 0 {
		dst = proxy.AppendMillis(append(dst, ", upstream;dur="...), upstream-f.QueueTime)
	}
	if outcome := x.cached.Outcome(); outcome != "" {
		dst = append(append(append(dst, `, cache;desc="`...), outcome...), '"')
	}
	return append(dst, "\r\n"...)
}

// logRefusal leaves a line about a request that could not be read.
func (g *Gateway) logRefusal(x *exchange, status int) {
	if !g.access.Wants(g.plan.Load().settings.LogLevel, status, "") {
		return
	}
	g.access.Log(&telemetry.Access{
		Time: time.Now(), ID: x.id, Client: x.conn.Peer(), Status: status, Bytes: x.conn.Sent(),
	})
}
