package server

import (
	"aigateway/gateway/cache"
	"aigateway/gateway/caching"
	"aigateway/gateway/proxy"
	"aigateway/gateway/telemetry"
	"aigateway/gateway/wire"
)

// Parts are what a gateway is made of, as it is now, for the tests above this room: they wait for what no client can see.
type Parts struct {
	Proxy    *proxy.Proxy
	Store    *cache.Store // nil: there is no cache
	Caching  *caching.Caching
	Metrics  *telemetry.Metrics
	Listener *wire.Listener // nil before Serve

	Paths    []string // that lead somewhere, as routes have them: "/v1/*" is all that begin so; sorted
	Via      string   // what it writes into Via of the requests that it passes on
	Draining bool
	Open     int64 // requests under way that began before a shutdown
	Late     int64 // and those that began after
	Clients  int   // connections that fasthttp has not given up
}

// Parts are the gateway's.
func (g *Gateway) Parts() Parts {
	g.mu.Lock()
	defer g.mu.Unlock()
	return Parts{
		Paths: g.plan.Load().routes.Paths(),
		Proxy: g.proxy, Store: g.store, Caching: g.caching, Metrics: g.metrics, Listener: g.listener,
		Via: viaName(g.token), Draining: g.draining.Load(), Open: g.open[0].Load(), Late: g.open[1].Load(),
		Clients: int(g.server.GetOpenConnectionsCount()),
	}
}
