package server

import (
	"net/netip"
	"sync/atomic"
	"time"

	"aigateway/gateway/wire"
)

// connsOf is how many connections the peer may have open. Who may speak for clients has those of many.
func (g *Gateway) connsOf(peer netip.Addr) int {
	p := g.plan.Load()
	if p.settings.ClientConns == 0 || p.trusts(peer) {
		return 0
	}
	return p.settings.ClientConns
}

// makeRoom closes client connections that are idle, for want of descriptors elsewhere.
func (g *Gateway) makeRoom() bool {
	g.mu.Lock()
	l := g.listener
	g.mu.Unlock()
	return l != nil && l.MakeRoom()
}

// An throttledWarning is a warning that is worth a line now and then, with how often it was due.
type throttledWarning struct {
	n    atomic.Int64
	last atomic.Int64 // as wire.Now; 0: never
}

// outcryEvery is how often an throttledWarning has a line.
const outcryEvery = 10 * time.Second

// due counts n more, and tells how many there are to be told of; 0: not now.
func (o *throttledWarning) due(n int) int64 {
	o.n.Add(int64(n))
	last, now := o.last.Load(), int64(wire.Now())
	if last != 0 && now-last < int64(outcryEvery) || !o.last.CompareAndSwap(last, now) {
		return 0
	}
	return o.n.Swap(0)
}

func (g *Gateway) noteRoom(n int) {
	g.metrics.Room(n)
	if n := g.crowded.due(n); n > 0 {
		g.log.Warn("descriptors or connections run short: idle client connections were closed to make room; a higher `ulimit -n` would keep them", "closed", n)
	}
}

func (g *Gateway) noteRefused(peer netip.Addr) {
	g.metrics.Refused()
	if n := g.crowds.due(1); n > 0 {
		g.log.Warn("a client has MAX_CONNS_PER_CLIENT connections, none of them idle: further ones were refused", "client", peer.String(), "refused", n)
	}
}
