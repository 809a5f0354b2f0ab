package proxy

// observe tells of an attempt that has come to its end.
func (p *Proxy) observe(x *Exchange, f Fault) { x.UpstreamTime += p.report(&x.attempt, f) }

// finish ends the exchange with the upstream after a whole response: its connection goes back to the pool if
// nothing speaks against it.
func (p *Proxy) finish(x *Exchange) {
	x.stopPump()
	p.watch.Remove(&x.watched)
	_ = x.conn.Woken() // too late
	if x.dirty || x.response.Close || x.Gone() {
		_ = x.conn.Close()
	} else {
		x.upstream.keepIdle(x.conn)
	}
	x.conn = nil
}

// leave gives back what an exchange has, unless the Taker has its response: Receive does then. Where a panic is on its way, an attempt
// may be under way.
func (p *Proxy) leave(x *Exchange) {
	if x.taken {
		return
	}
	p.abandon(x)
	x.leavePlace()
	x.free()
}

// abandon closes the upstream's connection if the exchange did not finish: the upstream learns that its
// response is not wanted any more.
func (p *Proxy) abandon(x *Exchange) {
	if x.hedge != nil { // a panic is on its way
		x.hedge.stop()
		_ = p.settle(x, ClientGone)
	}
	if x.conn == nil || x.taken {
		return
	}
	x.dirty = true
	p.finish(x)
}
