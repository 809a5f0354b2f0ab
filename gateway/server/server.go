// Package server is a request's way through the gateway, and the only room that sees it whole.
//
// Its door is [New], [Gateway.Serve] and [Gateway.Shutdown]; the way itself is the list in handle.go.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"time"

	"aigateway/gateway/caching"
	"aigateway/gateway/charging"
	"aigateway/gateway/config"
	"aigateway/gateway/inference"
	"aigateway/gateway/ops"
	"aigateway/gateway/proxy"
	"aigateway/gateway/ratelimit"
	"aigateway/gateway/telemetry"
	"aigateway/gateway/wire"

	"github.com/valyala/fasthttp"
)

// Limits that no operator needs to set. nginx's defaults are of the same order.
const (
	headTime       = 10 * time.Second
	maxConnections = 65536
	writeBuffer    = 2 << 10 // for the gateway's own short answers; what is proxied does not go through it
)

// New makes a gateway from settings that were checked. It begins to probe the upstreams; Close or Shutdown
// ends it.
func New(s *config.Settings, o Options) (*Gateway, error) {
	g := &Gateway{settings: s, log: o.Log, started: time.Now(), token: newToken(), bodyWindow: o.BodyWindow}
	g.exchanges.New = func() any { return newExchange(g) }
	limits, err := g.limitsOf(s, ratelimit.Routes{})
	if err != nil {
		return nil, err
	}
	if err = g.openCache(); err != nil {
		return nil, err
	}
	if !o.Blind {
		g.makeMetrics(o.Version)
		g.ledger = telemetry.NewLedger(g.metrics)
	}
	g.proxy, err = proxy.New(s.Pools, proxy.Options{
		MaxHeadBytes: s.MaxHeaderBytes,
		OnPanic:      g.panicked,
		Dial:         o.Dial,
		Via:          viaName(g.token),
		MakeRoom:     g.makeRoom,
		Draining:     g.draining.Load,
		Observe:      g.observe,
		OnRetry:      g.noteRetry,
		OnWaited:     g.noteWait,
		OnWake:       g.noteWake,
		OnHealth:     g.noteHealth,
		ParseModels:  inference.ParseCatalogue,
		ReadLoad:     readLoad,
		OnModels:     func(names []string) { g.metrics.GenAI().List(names) },

		BodyBuffer: s.BodyBuffer, BodyBufferTotal: s.BodyBufferTotal,
	})
	if err != nil {
		limits.CloseUnless(ratelimit.Routes{})
		return nil, err
	}
	g.caching = caching.New(caching.Options{
		Store: g.store, MaxBody: s.Cache.MaxBodyBytes, Memory: max(s.Cache.MemoryBytes, s.Cache.MaxBodyBytes), Proxy: g.proxy, Metrics: g.metrics.Cache(), Draining: g.draining.Load, OnPanic: g.panicked,
	})
	g.charging = charging.New(s, charging.Options{Log: g.log, Metrics: g.metrics, Ledger: g.ledger, OnPanic: g.panicked})
	g.upstreams.Store(g.upstreamSeries(s))
	g.openTelemetry(o.Lines, o.Version)
	g.ops = ops.New(ops.Options{
		Started: g.started, Version: o.Version, Draining: g.draining.Load, Inflight: g.inflight, Cache: s.Cache, Store: g.store,
		Metrics: g.metrics, Usage: g.charging.Usage, Tenants: g.tenants, Log: g.log, HeadSize: s.MaxHeaderBytes, MakeRoom: g.makeRoom,
	})
	g.ops.Look(g.view(s))
	g.plan.Store(g.newPlan(s, limits))
	g.secure(s.TLS)
	// A body of a megabyte must not stay with a connection that carried it once.
	fasthttp.SetBodySizePoolLimit(64<<10, 64<<10)
	g.server = g.newServer()
	g.server.Handler = func(ctx *fasthttp.RequestCtx) { // what serveHead has passed on
		g.refuse(ctx, wire.BadLine)
		ctx.SetConnectionClose()
	}
	return g, nil
}

// newServer makes a fasthttp server that reads from wire's connections, without its handler.
func (g *Gateway) newServer() *fasthttp.Server {
	return &fasthttp.Server{
		ErrorHandler:          g.refuse,
		HeaderReceived:        hideBody,
		ReadBufferSize:        g.settings.MaxHeaderBytes, // the longest head; a longer one is 431
		ReduceMemoryUsage:     true,                      // it has its buffer only for heads that wire.ClientConn does not take
		WriteBufferSize:       writeBuffer,
		Concurrency:           maxConnections,
		CloseOnShutdown:       true,
		NoDefaultServerHeader: true,
		// Fields are read from the wire and written as they are named here: nobody needs them recased.
		DisableHeaderNamesNormalizing: true,
		NoDefaultContentType:          true,
		DisablePreParseMultipartForm:  true,
		SecureErrorLogMessage:         true,
		Logger:                        fasthttpLog{g.log},
		// No timeouts here: fasthttp's are absolute. wire.ClientConn has one for each phase.
	}
}

// hideBody makes fasthttp leave the body to [wire.ClientConn.ReadBody], the answer to an expectation to the
// handler, so that the request is judged before a byte of its body is read, and the end of the connection to
// [wire.RequestHead.Scan], which reads all Connection fields.
func hideBody(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
	h.ResetConnectionClose()
	if h.ContentLength() != 0 {
		h.SetContentLength(0)
	}
	if len(h.Peek("Expect")) > 0 {
		h.Del("Expect")
	}
	return fasthttp.RequestConfig{}
}

// addRoutes provisions what the paths of a plan lead to.
func (g *Gateway) addRoutes(p *plan) {
	for _, c := range p.settings.Routes {
		p.add(g.newRoute(p, c))
	}
	g.addPages(p)
	p.routes.Seal()
}

func (p *plan) add(r *route) { p.routes.Add(&r.Route, r) }

// view is what the operations pages look at.
func (g *Gateway) view(s *config.Settings) ops.View {
	_, urls := measured(s)
	return ops.View{Pools: g.poolsByName(s), Required: g.requiredPools(s), URLs: urls, Token: s.Admin.Token}
}

// inflight is how many requests are under way, but the one that asks.
func (g *Gateway) inflight() int64 {
	n := g.open[0].Load() + g.open[1].Load()
	if g.settings.Admin.Addr == "" {
		n--
	}
	return n
}

// ServeAdmin answers the operations pages on ln until Shutdown, and then returns nil.
func (g *Gateway) ServeAdmin(ln net.Listener) error { return g.ops.ServeAdmin(ln) }

func (g *Gateway) poolsByName(s *config.Settings) []*proxy.Pool {
	var pools []*proxy.Pool
	for _, c := range s.Pools {
		pools = append(pools, g.proxy.Pool(c.Name))
	}
	return pools
}

// requiredPools lists the groups of pools of which one must be healthy: each pool that the operator has
// named and a route leads to, with the fallback that would stand in for it.
func (g *Gateway) requiredPools(s *config.Settings) [][]*proxy.Pool {
	var groups [][]*proxy.Pool
	for _, c := range s.Routes {
		pool := g.proxy.Pool(c.Pool)
		if pool == nil || !pool.Explicit {
			continue
		}
		group := []*proxy.Pool{pool}
		f := g.fallback(s, c)
		if pool.Patient() || f.Patient() {
			continue // requests wait rather than fail
		}
		if f != nil {
			group = append(group, f)
		}
		groups = append(groups, group)
	}
	var engines []*proxy.Pool // of which some may be away: their models are then not listed
	for _, m := range s.Models {
		engines = append(engines, g.proxy.Pool(m.Pool))
	}
	if len(engines) > 0 {
		groups = append(groups, engines)
	}
	return groups
}

// Serve answers the connections of ln until Shutdown, and then returns nil.
func (g *Gateway) Serve(ln net.Listener) error {
	l := wire.Listen(ln, wire.ClientOptions{
		HeadTimeout: headTime,
		KeepAlive:   g.plan.Load().settings.KeepAlive,
		Idle:        g.plan.Load().settings.IdleTimeout,
		BodyRate:    g.plan.Load().settings.BodyMinRate,
		BodyWindow:  g.bodyWindow,
		MaxConns:    maxConnections,
		PerClient:   g.connsOf,
		OnRoom:      g.noteRoom,
		OnRefused:   g.noteRefused,
		TLS:         g.tls,
		Handle:      g.serveHead,
		MaxHead:     g.settings.MaxHeaderBytes,
	}, func(err error) { g.log.Warn("cannot accept a connection, trying again", "error", err.Error()) })
	g.mu.Lock()
	g.listener = l
	ended := g.ended
	g.mu.Unlock()
	if ended {
		return ln.Close()
	}
	return g.server.Serve(l)
}

// AwaitModels waits, for no longer than within, until it is known which models the engines have.
func (g *Gateway) AwaitModels(within time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	g.proxy.AwaitModels(ctx)
}

// Leave accepts no more connections: another process has the listening socket. Those that are open are served as
// before. Serve must have begun.
func (g *Gateway) Leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.listener != nil {
		g.listener.HandOver()
	}
}

// lastWord is how long a client may keep silent behind Leave until it is told, with its next reply, to connect anew.
// Nothing waits for this process any more. A connection that is closed while its client is about to ask is a request
// lost, and there is no way to tell.
const lastWord = 5 * time.Second

// drained tells whether the time is over that a shutdown gives to clients and load balancers to notice.
func (g *Gateway) drained(since time.Duration) bool {
	g.mu.Lock()
	l := g.listener
	g.mu.Unlock()
	delay := g.plan.Load().settings.DrainDelay
	if l == nil || !l.HandedOver() {
		return since >= delay
	}
	return l.Open() == 0 || since >= max(delay, lastWord)
}

// Shutdown ends the gateway in order. /readyz says no, answers carry Connection: close, and new connections
// are still served while a request from before is open and for the DRAIN_DELAY, because a load balancer needs a
// moment to notice. When those requests have ended, or ctx has, the listener closes; what is open then ends, and at ctx's end
// is reset. It returns how many connections were.
func (g *Gateway) Shutdown(ctx context.Context) (cut int) {
	g.draining.Store(true)
	g.epoch.Store(1)
	began := wire.Now()
	g.await(ctx, func() bool { return g.open[0].Load() == 0 && g.drained(wire.Now()-began) }) // the requests from before
	g.mu.Lock()
	l := g.listener
	g.ended = true
	g.mu.Unlock()
	if l != nil {
		l.Drain()
	}
	if g.server.ShutdownWithContext(ctx) != nil && l != nil {
		cut = l.ResetAll()
		g.proxy.Cut()
		// What was cut notices now. fasthttp does not wait a second time: its listeners are closed.
		last, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		g.await(last, func() bool { return g.open[0].Load()+g.open[1].Load() == 0 })
	}
	if l != nil { // the end of the process would reset them, and take their answers back
		g.await(ctx, func() bool { return l.Lingering() == 0 })
		l.EndLingers()
	}
	g.Close()
	return cut
}

// await waits until the condition holds or ctx ends.
func (g *Gateway) await(ctx context.Context, condition func() bool) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Close ends what New began. Serve must have ended.
func (g *Gateway) Close() {
	g.ops.Close()
	g.reloading.Lock() // what a reload has begun is ended too
	defer g.reloading.Unlock()
	g.proxy.Cut() // what goes on behind requests; there are none
	g.caching.Wait()
	g.revoking.Wait()
	g.plan.Load().keys.Close(nil)
	g.proxy.Close()
	g.store.Close()
	g.closeTelemetry()
	g.plan.Load().limits.CloseUnless(ratelimit.Routes{})
	g.charging.Close()
}

// fasthttpLog takes what fasthttp has to say. It is about connections, and none of it needs an operator. Of what a client
// has sent, fasthttp's errors tell the first line, which may be anything: it is left out.
type fasthttpLog struct{ log *slog.Logger }

func (l fasthttpLog) Printf(format string, args ...any) {
	told := slices.Clone(args)
	for i, arg := range told {
		if err, ok := arg.(error); ok && !errors.As(err, new(*net.OpError)) {
			told[i] = "what was sent is no request"
		}
	}
	l.log.Debug("fasthttp", "message", fmt.Sprintf(format, told...))
}
