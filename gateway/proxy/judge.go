package proxy

import (
	"slices"
	"time"

	"aigateway/gateway/wire"
)

// hasHealthyPeer tells whether another upstream of the pool than u is healthy.
func (p *Pool) hasHealthyPeer(u *Upstream) bool {
	return slices.ContainsFunc(p.Upstreams, func(v *Upstream) bool { return v != u && v.Healthy() })
}

// peersFareBetter tells whether another upstream of the pool is well and fails a much smaller share of its requests than u: then
// u is to blame, and not the requests. Those that fail wherever they go say nothing about where they went.
func (p *Pool) peersFareBetter(u *Upstream, now time.Duration) bool {
	share := u.breaker.share(now)
	return slices.ContainsFunc(p.Upstreams, func(v *Upstream) bool {
		return v != u && v.Healthy() && v.breaker.State() == Closed && v.breaker.share(now) <= share/2
	})
}

// judgeHead draws the conclusion from the head of a response to an attempt that began at that time. It counts as soon as it is
// there: a stream may last for an hour.
func (p *Pool) judgeHead(u *Upstream, status int, began, now time.Duration) {
	if unavailable(status) {
		p.judge(u, Unavailable, status, began)
		return
	}
	if status < 400 {
		u.awake()
	}
	if u.breaker.success(now) {
		u.recoveredAt.Store(int64(now))
		p.refresh(now)
	}
}

// judge draws the conclusion from an attempt that began at that time and has failed. A client that left says nothing about
// the upstream, nor does a connection used before that broke: its upstream may have meant to close it.
func (p *Pool) judge(u *Upstream, f Fault, status int, began time.Duration) {
	if f == None && unavailable(status) {
		f = Unavailable
	}
	if f.isTimeout() && wire.StoodStill(began) {
		return // it was this process that was late
	}
	now := wire.Now()
	changed := false
	switch f {
	case Unreachable, TimeoutConnect, TLSFailed:
		changed = u.breaker.failure(now, began, f)
		changed = u.healthy.Swap(false) || changed
		u.lastFailure.Store(uint32(f) | foundByRequest)
	case TimeoutResponse:
		if time.Duration(u.breaker.lastGood.Load()) >= began {
			return // others had their responses meanwhile: a slow request, not a sick upstream
		}
		changed = u.breaker.failure(now, began, f)
		// Nothing good came in all that time: it hangs. A probe will tell, and until then others are there.
		if !u.breaker.wellSince(began) && p.hasHealthyPeer(u) {
			changed = u.healthy.Swap(false) || changed
			u.lastFailure.Store(uint32(f) | foundByRequest)
		}
	case TimeoutIdle, BrokenResponse, Truncated, Unavailable:
		changed = u.breaker.failure(now, began, f)
	default:
		return
	}
	if changed {
		p.refresh(now)
	}
	if changed || u.breaker.suspected.Load() {
		u.probeSoon()
	}
}
