package server

import (
	"aigateway/gateway/cache"
	"aigateway/gateway/wire"
)

// refresh renews a stale answer behind the request that got it: RFC 5861 §3. The request's bytes belong to its
// connection, so it is copied.
func (g *Gateway) refresh(x *exchange) {
	if g.draining.Load() {
		return
	}
	y := g.exchanges.Get().(*exchange)
	if !y.copy(x) {
		y.reset()
		g.exchanges.Put(y)
		return
	}
	c := &y.cached
	if c.seat == nil {
		c.seat = cache.NewWaiter()
	}
	c.stamp = g.store.Stamp(c.primary)
	f, leads := g.flights.Join(c.key, c.stamp, c.seat)
	if !leads { // somebody is at it
		f.Leave(c.seat)
		y.reset()
		g.exchanges.Put(y)
		return
	}
	g.behind.Add(1)
	go func() {
		defer g.behind.Done()
		defer func() {
			if r := recover(); r != nil {
				g.panicked(r)
			}
			f.Leave(c.seat)
			y.reset()
			g.exchanges.Put(y)
		}()
		if g.foundFresh(y) { // it was renewed in between; else, this was for the validators
			c.share(f, false)
			return
		}
		g.lead(y, f)
	}()
}

// detached tells whether nobody in particular waits for the exchange.
func (x *exchange) detached() bool { return x.conn == nil }

// copy makes y a request like x's, without its client.
func (y *exchange) copy(x *exchange) (ok bool) {
	l := &x.line
	y.raw = append(append(append(append(y.raw[:0], l.method...), l.target...), l.proto...), l.block...)
	method, rest := y.raw[:len(l.method)], y.raw[len(l.method):]
	target, rest := rest[:len(l.target)], rest[len(l.target):]
	proto, block := rest[:len(l.proto)], rest[len(l.proto):]
	if y.head.Scan(method, target, proto, block) != wire.None {
		return false
	}
	y.plan, y.route, y.began = x.plan, x.route, wire.Now()
	y.id, y.trace = append(y.id[:0], x.id...), append(y.trace[:0], x.trace...)
	y.peer = append(y.peer[:0], x.conn.PeerText()...)
	y.trusted, y.secure = x.plan.trusts(x.conn.Peer()), x.conn.Secure()
	c := &y.cached
	c.request.Read(&y.head, x.gateway.origin(x))
	c.text, c.url = append(c.text[:0], x.cached.text...), x.cached.url
	c.names = append(c.names[:0], x.cached.names...)
	c.primary, c.key = x.cached.primary, x.cached.key
	return true
}
