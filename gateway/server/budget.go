package server

import (
	"aigateway/gateway/charging"
	"aigateway/gateway/inference"
	"aigateway/gateway/keys"
	"aigateway/gateway/proxy"
	"aigateway/gateway/ratelimit"
	"aigateway/gateway/routing"
	"aigateway/gateway/wire"
)

// limitTenant spends a request of the tenant's own limits.
func (g *Gateway) limitTenant(x *exchange) (done bool) {
	k := x.tenant.Key
	if k == nil || x.route.ops {
		return false
	}
	x.account = x.plan.charging.Account(x.began, x.tenant.ID, &k.Limits)
	f := x.account.AdmitRequest(x.began)
	return f.Refused() && g.replyBudget(x, &f)
}

// reserve readies what a request to a model is to be charged, and refuses it if that can never be. The tokens themselves are taken
// when it goes to an upstream: what the cache has, or another request fetches, costs none.
func (g *Gateway) reserve(x *exchange) (done bool) {
	if x.plan.charging == nil || len(x.route.targets) == 0 && x.route.models == nil {
		return false
	}
	if !x.route.openAI && x.account == nil && x.asked.Dialect() == inference.Other {
		return false
	}
	if x.charge = x.beginCharge(); !x.charge.Limited() {
		return false
	}
	if f := x.charge.AdmitRequest(x.began); f.Refused() {
		return g.replyBudget(x, &f)
	}
	if field, exceeds := x.charge.Exceeds(); exceeds {
		e := charging.TokensExceed
		e.Param = field
		g.replyError(x, e)
		return true
	}
	return false
}

// beginCharge is the charge of a request whose body has been read as far as is needed.
func (x *exchange) beginCharge() *charging.Charge {
	r := charging.Request{
		Account: x.account, Tenant: x.tenant.ID, Label: x.tenant.label(), Tunnel: x.head.WebSocket,
		Size: inference.Size{Text: max(x.head.ContentLength, 0)},
	}
	if a := x.asked; a.Dialect() != inference.Other {
		r.Dialect, r.Model, r.Name, r.Said = a.Dialect(), a.Model(), x.modelName(), a.Said()
		r.Scan, r.Size = a.Scan(), a.Size(x.head.ContentLength)
	} else if x.route.openAI {
		r.Dialect = inference.DialectOf(routing.PathOf(x.head.Target))
	}
	return x.plan.charging.Begin(&r)
}

// label is what metrics call a tenant.
func (t *tenant) label() string {
	if t.Key == nil {
		return keys.Others
	}
	return t.Key.Label
}

// replyBudget refuses with the bucket that had not enough.
func (g *Gateway) replyBudget(x *exchange, f *ratelimit.Refusal) bool {
	x.observed.budget = f.Name()
	g.metrics.OverBudget(f.Name())
	g.ledger.Refuse(x.tenant.label(), f.Name())
	x.say("RateLimit-Scope", f.Name())
	x.sayInt("RateLimit-Remaining", f.Remaining)
	x.sayInt("Retry-After", f.RetryAfter())
	g.replyError(x, charging.ErrorOf(f))
	return true
}

// replyOverBudget refuses what its meter did not let go to an upstream, or that of the request whose fetch it waited for.
func (g *Gateway) replyOverBudget(x *exchange) {
	if c := x.charge; c != nil && c.Refusal().Refused() {
		g.replyBudget(x, c.Refusal())
		return
	}
	x.sayInt("Retry-After", 1)
	g.replyFault(x, ofProxyFault(proxy.OverBudget))
}

// meter has the proxy ask the charge.
func (x *exchange) meter(f *proxy.Exchange) {
	c := x.charge
	if c == nil {
		return
	}
	f.Meter, f.Tunnel = c, c.Tunnel()
	if c.Limited() {
		if f.Drop = limitFields; x.route.cors != nil {
			f.Drop = limitAndCORSFields
		}
	}
}

// limitFields are the lines that tell an upstream's limits: the gateway's replace them.
var (
	limitFields        = []string{charging.LimitPrefix}
	corsFields         = []string{routing.CORSPrefix} // and CORS
	limitAndCORSFields = append(limitFields[:1:1], corsFields...)
)

// appendBudgets appends what is left of the tenant's limits.
func (x *exchange) appendBudgets(dst []byte) []byte {
	switch c := x.charge; {
	case c != nil:
		return c.AppendStanding(dst, wire.Now())
	case x.account != nil:
		return charging.AppendStandingOf(x.account, dst, wire.Now())
	}
	return dst
}
