package server

import (
	"net/netip"
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
