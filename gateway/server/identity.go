package server

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"

	"aigateway/gateway/cache"
	"aigateway/gateway/telemetry"
	"aigateway/gateway/wire"
)

// origin is whom the client meant to ask, as the upstream will be told.
func (x *exchange) origin() cache.Origin {
	o := cache.Origin{Secure: x.conn.Secure(), Host: x.head.Host, Client: x, Keyed: x.tenant.Key != nil}
	if !x.route.caching.Shared {
		o.Tenant = x.tenant.ID
	}
	if len(x.head.ForwardedProto) == 0 && len(x.head.ForwardedHost) == 0 || !x.plan.trusts(x.conn.Peer()) {
		return o
	}
	if len(x.head.ForwardedProto) > 0 {
		o.Secure = string(x.head.ForwardedProto) == "https"
	}
	if len(x.head.ForwardedHost) > 0 {
		o.Host = x.head.ForwardedHost
	}
	return o
}

// HasAddress implements [cache.Client].
func (x *exchange) HasAddress(text []byte) bool {
	if len(text) == 0 {
		return false
	}
	addr, ok := wire.ParseHop(text)
	return ok && addr == x.client()
}

// identify gives the request its id and its place in a trace: those that the client brings, or new ones.
func (x *exchange) identify() {
	binary.BigEndian.PutUint64(x.random[:8], rand.Uint64())
	binary.BigEndian.PutUint64(x.random[8:16], rand.Uint64()|1) // never all zero
	binary.BigEndian.PutUint64(x.random[16:], rand.Uint64()|1)
	x.id = telemetry.AppendID(x.id[:0], x.head.RequestID, &x.random)
	var continued bool
	x.traceStates = nil
	if x.trace, continued = telemetry.AppendTraceParent(x.trace[:0], x.head.TraceParent, &x.random); continued {
		x.traceStates = x.head.TraceStates
	}
}

// client is the address that the request counts for.
func (x *exchange) client() netip.Addr {
	return x.plan.proxies().Client(x.conn.Peer(), x.head.ForwardedFor)
}

// proxies are those that may speak for clients.
func (p *plan) proxies() wire.Proxies { return p.settings.TrustedProxies }

// trusts tells whether the peer may speak for a client.
func (p *plan) trusts(peer netip.Addr) bool { return p.proxies().Trusts(peer) }
