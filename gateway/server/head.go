package server

import "aigateway/gateway/wire"

// AppendOwn implements [caching.Client]: the lines that the gateway adds to a reply it does not make itself.
func (x *exchange) AppendOwn(dst []byte) []byte {
	dst = wire.AppendField(wire.AppendVia(dst, 1), "X-Request-ID: ", x.id)
	dst = x.appendTiming(x.cached.AppendOutcome(dst))
	dst = x.appendCORS(x.appendLimits(dst))
	if n := x.cached.Forward.Attempts; n > 1 {
		dst = wire.AppendInt(dst, "X-Upstream-Attempts: ", int64(n))
	}
	if x.gateway.draining.Load() {
		x.conn.EndAfter()
	}
	return x.conn.AppendConnection(dst, x.head.Minor)
}

// appendLimits appends what the client may still ask, if its route is limited, or it is.
func (x *exchange) appendLimits(dst []byte) []byte { return x.appendRates(x.appendBudgets(dst)) }

func (x *exchange) appendRates(dst []byte) []byte {
	if len(x.rateLimit) == 0 {
		return dst
	}
	dst = wire.AppendField(dst, "RateLimit-Policy: ", x.route.policy)
	return wire.AppendField(dst, "RateLimit: ", x.rateLimit)
}

// appendCORS appends what the page that asks may do with the reply.
func (x *exchange) appendCORS(dst []byte) []byte {
	if x.route == nil {
		return dst
	}
	return x.route.cors.AppendReply(dst, x.page)
}
