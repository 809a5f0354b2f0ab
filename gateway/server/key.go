package server

import (
	"time"

	"aigateway/gateway/config"
	"aigateway/gateway/keys"
	"aigateway/gateway/wire"
)

// A guard says who may pass to a route. The zero guard lets everybody pass, and is that of all routes where there are no keys.
type guard uint8

const (
	unguarded  guard = iota
	byKey            // who has a key of KEYS_FILE, or a token of its issuer
	byOperator       // who has ADMIN_TOKEN
	byChoice         // everybody, and who shows a key is known by it
)

// A tenant is who asks, where keys are needed: what limits, queues, caches and lines go by. Without keys it is the zero tenant.
type tenant struct {
	ID  []byte // of Key; borrowed for as long as the gateway runs
	Key *keys.Key
}

// close puts the guards of a plan's routes in their places, if it has keys.
func (p *plan) close() {
	if p.keys == nil {
		return
	}
	for r := range p.routes.All() {
		r.guard = p.guardOf(r)
	}
}

// guardOf is who may pass to a route of a plan with keys.
func (p *plan) guardOf(r *route) guard {
	switch {
	case !p.settings.Keys.Optional:
		return r.closed
	case r.closed == byKey:
		return byChoice
	}
	return unguarded
}

// strangers tells whether there are some: who has not shown who they are, where that matters.
func (p *plan) strangers() bool { return p.keys != nil && !p.settings.Keys.Optional }

// authenticate finds out who asks, or refuses the request before anything is spent on it.
func (g *Gateway) authenticate(x *exchange) (done bool) {
	switch x.route.guard {
	case byKey:
		return g.admitTenant(x)
	case byChoice:
		if shown, why := keys.Shown(&x.head); why == keys.Granted {
			if a, why := x.plan.keys.Find(shown, time.Now()); why == keys.Granted {
				x.admit(a)
			}
		}
	case byOperator:
		if g.ops.ShowsToken(x.head.Field) {
			return false
		}
		g.refuseKey(x, keys.NotOperator)
		return true
	}
	return false
}

func (g *Gateway) admitTenant(x *exchange) (done bool) {
	shown, why := keys.Shown(&x.head)
	var a keys.Access
	switch t := x.plan.keys.Tokens(); {
	case why != keys.Granted:
	case t != nil && keys.IsToken(shown):
		if a, why = g.admitToken(x, shown); why == overLimit {
			return true
		}
	default:
		a, why = x.plan.keys.Find(shown, time.Now())
	}
	if why == keys.Granted && !x.admit(a) {
		why = keys.Unknown
	}
	if why != keys.Granted {
		g.refuseKey(x, why)
		return true
	}
	return false
}

// admit notes whose the request is, as long as that holds: it may be over between finding a key and holding it.
func (x *exchange) admit(a keys.Access) bool {
	x.conn.Hold(a.Grant.Revoked())
	if a.Grant.Revoked().Load() {
		x.conn.Hold(nil)
		return false
	}
	x.tenant = tenant{ID: a.Key.Tenant(), Key: a.Key}
	return true
}

// overLimit is no reason: the request has been refused for its address' limit.
const overLimit keys.Reason = 255

// admitToken finds out whose a token is. One that was not seen before costs a token of its address before its signature is worked
// on, which comes back if it is a good one.
func (g *Gateway) admitToken(x *exchange, shown []byte) (keys.Access, keys.Reason) {
	t, now := x.plan.keys.Tokens(), time.Now()
	if a, ok := t.Known(shown, now); ok {
		return a, keys.Granted
	}
	if a, why := x.plan.keys.Find(shown, now); why != keys.Unknown { // a key may look like one
		return a, why
	}
	l := x.plan.limits.Of(config.Rate{})
	if l != nil {
		x.key = x.addressKey()
		if g.refused(x, l, l.AdmitClient(x.began, x.key, 1)) {
			g.metrics.AuthFailure(int(keys.BadToken - keys.Missing))
			return keys.Access{}, overLimit
		}
	}
	a, why := t.Verify(shown, now)
	if l != nil { // a bad one pays when it is refused
		l.RefundClient(x.key, 1)
		x.rateLimit = x.rateLimit[:0]
	}
	return a, why
}

// refuseKey refuses who has not shown a key that opens the route. It costs a token of the address, if that has a limit: so many
// keys can be tried, and no more.
func (g *Gateway) refuseKey(x *exchange, why keys.Reason) {
	g.metrics.AuthFailure(int(why - keys.Missing))
	f := &wrongKey
	switch why {
	case keys.Missing:
		f = &noKey
	case keys.Ambiguous:
		f = &twoKeys
	case keys.NotOperator:
		f = &noOperator
	}
	if challenge := why.Challenge(); challenge != "" {
		x.say("WWW-Authenticate", challenge)
	}
	if l := x.plan.limits.Of(config.Rate{}); l != nil {
		x.key = x.addressKey()
		if g.refused(x, l, l.AdmitClient(x.began, x.key, 1)) {
			return
		}
	}
	g.replyFault(x, f)
}

// clientKey is what limits know by whose the request is: its tenant, or else its address. It is kept in x.key, where it goes.
func (x *exchange) clientKey() []byte {
	if x.tenant.Key != nil {
		return append(append(x.key[:0], tenantPrefix...), x.tenant.ID...)
	}
	return x.addressKey()
}

// tenantPrefix makes a tenant's id longer than any address.
const tenantPrefix = "tenant: "

func (x *exchange) addressKey() []byte {
	return wire.AppendClientKey(x.key[:0], x.client())
}

// useKeys makes the keys of a plan, after those of the one before, which may be nil.
func (p *plan) useKeys(old *plan, onFault func(error)) {
	var before *keys.Set
	if old != nil {
		before = old.keys
	}
	if old != nil && old.settings.Keys == p.settings.Keys {
		p.keys = before
		return
	}
	p.keys = keys.New(p.settings.Keys, before, keys.TokenOptions{OnFault: onFault})
}

// changeKeys ends what goes on by keys that are not in the new plan, and says which ids have changed.
func (g *Gateway) changeKeys(old, now *plan) {
	if old.keys == now.keys {
		return
	}
	if old.keys.Revoke(now.keys) {
		g.endRevoked()
	}
	old.keys.Close(now.keys)
	if c := old.keys.Changes(now.keys); !c.None() {
		g.log.Info("the keys have changed", c.Attrs()...)
	}
}

// ExpireKeys ends what goes on by keys whose time is over. It is to be called a few times a second.
func (g *Gateway) ExpireKeys(now time.Time) {
	g.reloading.Lock()
	defer g.reloading.Unlock()
	if g.plan.Load().keys.Expire(now) {
		g.endRevoked()
	}
}

// endRevoked ends what goes on by permits that were taken back. What is between two steps is found the second time.
func (g *Gateway) endRevoked() {
	g.revoking.Go(func() {
		for _, pause := range [...]time.Duration{0, 50 * time.Millisecond, 200 * time.Millisecond} {
			time.Sleep(pause)
			g.mu.Lock()
			l := g.listener
			g.mu.Unlock()
			if l != nil {
				l.ResetRevoked()
			}
			g.proxy.Revoke()
		}
	})
}
