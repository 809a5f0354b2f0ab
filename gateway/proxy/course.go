package proxy

import (
	"slices"
	"time"

	"aigateway/gateway/wire"

	"github.com/valyala/fasthttp"
)

// allAttempts is how many times the time that the first upstream has for a head all attempts and waits may take together.
const allAttempts = 2

// A course is where a request is on its way from attempt to attempt.
type course struct {
	fault    Fault         // how the last attempt ended; NoUpstream: there was none yet
	next     step          // what the law has decided
	asked    uint32        // a bit for each target that has been: there are 32 at most
	spared   uint32        // and for each that was passed by, because it was in doubt and somebody else was not
	first    time.Duration // when the first attempt began, without what it had waited for a place, as wire.Now
	deadline time.Duration // of all attempts, as wire.Now; waiting for a place comes on top
	reused   bool          // a connection that broke has led to another attempt in this pool
	repeated bool          // something else has, a connection that did not come about aside
	kept     bool          // all of the request's body is in memory as long as the attempt has no response
	told     bool          // the client has got an interim response
}

// setOut begins at the first target that can be asked: x may have been forwarded before.
func (x *Exchange) setOut() {
	x.course, x.Attempts = course{fault: NoUpstream, next: step{action: askNext}}, 0
}

// nextTarget is the first target that has not been asked; one that is known to be sick only if no other one is well.
func (x *Exchange) nextTarget() int {
	first := -1
	for i := range x.Targets {
		if x.asked&(1<<i) != 0 {
			continue
		}
		t := &x.Targets[i]
		if x.spared&(1<<i) == 0 && !t.Pool.Sick() && (first < 0 || t.well()) {
			return i
		}
		if first < 0 {
			first = i
		}
	}
	return first
}

// largerTarget is the first target that has not been asked, is well and has a larger context than this one; -1: there is none.
func (x *Exchange) largerTarget() int {
	for i := range x.Targets {
		if t := &x.Targets[i]; x.asked&(1<<i) == 0 && t.ContextMax > x.target().ContextMax && t.well() {
			return i
		}
	}
	return -1
}

// move goes on to a target.
func (x *Exchange) move(to int) {
	x.at, x.asked = to, x.asked|1<<to
	x.attempt.pool = x.Targets[to].Pool
	x.tried, x.reused, x.repeated = x.tried[:0], false, false
	x.attempt.pool.budget.earn()
}

// fail notes how the attempt has ended, and what the law has follow. It tells that the attempt does not go on.
func (p *Proxy) fail(x *Exchange, f Fault, what finding) (goesOn bool) {
	if f != NoUpstream { // else what to tell if nobody can be asked is how the one before ended
		x.fault = f
	}
	x.next = p.consult(x, what)
	return false
}

// askedInstead tells whether the law has somebody else asked after that, and the attempt has ended so, although it has a response.
func (p *Proxy) askedInstead(x *Exchange, f Fault, what finding) bool {
	next := p.consult(x, what)
	if next.action == giveUp {
		return false
	}
	x.fault, x.next = f, next
	return true
}

// consult asks the law what to do next, and pays what that costs.
func (p *Proxy) consult(x *Exchange, what finding) step {
	if what == settled || x.Gone() {
		return step{}
	}
	s := situation{what: what, policy: x.Policy, whole: x.kept, idempotent: idempotent(x.Head.Method), left: 1, budget: true}
	s.seen = x.told || x.Client != nil && x.Client.Replied()
	if x.Attempts > 0 {
		s.left = x.left()
	}
	pool := x.attempt.pool
	if what != nobody {
		s.trial = x.trial
		s.peer = pool.another(x)
		s.itself = !s.peer
	}
	if what == slow {
		s.safe, s.queued = x.safe(), pool.queue.length.Load() > 0
	}
	if s.repeated = x.repeated; what == unsent || what == unread || what == dropped {
		s.repeated = x.reused
	}
	for i := range x.Targets {
		if x.asked&(1<<i) == 0 {
			s.next = true
			s.well = s.well || x.Targets[i].well()
		}
	}
	s.larger = what == tooLong && x.largerTarget() >= 0
	if what == refused {
		s.after = statedWait(&x.response, time.Now)
		if x.response.Status != 429 || pool.credential != nil || x.Anonymous { // a client's own limit says nothing to others
			x.upstream.rest(x.began, s.after)
		}
	}
	next := decide(s)
	if next.costs && !pool.budget.spend() {
		s.budget = false
		next = decide(s)
	}
	if next.action == giveUp && x.mayOutlast() {
		s.room = true
		next = decide(s)
	}
	if x.follow(next); what == refused && next.action != giveUp {
		x.RetryAfter = max(x.RetryAfter, s.after)
	}
	return next
}

// left is what is left of the time for all attempts.
func (x *Exchange) left() time.Duration {
	now := wire.Now()
	by := x.deadline + x.QueueTime
	if patience := x.patience(); patience > 0 {
		by = min(by, x.first+patience)
	}
	return by - now
}

// follow notes what has been decided.
func (x *Exchange) follow(s step) {
	switch {
	case s.action != askAgain && s.action != waitAsk:
		return
	case s.why == RetryReused:
		x.reused = true
	case s.why != RetryConnect:
		x.repeated = true
	}
	if s.action == askAgain {
		if s.why == RetryReused && !x.attempt.pool.another(x) {
			x.Upstream.conns.dropAll() // what broke one idle connection broke the rest
			return
		}
		x.tried = append(x.tried, x.Upstream)
	}
}

// safe tells whether the request only reads (RFC 9110 §9.2.1), has no body and asks for no tunnel.
func (x *Exchange) safe() bool {
	switch string(x.Head.Method) {
	case "GET", "HEAD":
		return !x.Head.HasBody() && !x.Head.WebSocket
	}
	return false
}

// resendable tells whether the request may have to be sent again, and can be. What would keep others' bodies out of memory is not worth it.
func (x *Exchange) resendable() bool {
	switch {
	case !x.hold.whole || x.Policy == Never:
		return false
	case x.Policy == Usual || idempotent(x.Head.Method):
		return idempotent(x.Head.Method)
	}
	return !x.hold.holds.tight() && (len(x.hold.more) == 0 || len(x.Targets) > 1 || len(x.pool.Upstreams) > 1)
}

// findingOf is what an attempt has come to that ended so before there was a response.
func (x *Exchange) findingOf(f Fault) finding {
	switch {
	case x.Gone():
		return settled
	case x.outdated(f) && x.over && x.pump == nil && x.conn.Untaken(x.sent):
		return unread
	case x.outdated(f):
		return dropped
	case f == TimeoutResponse:
		return late
	case f == BrokenResponse:
		return broken
	}
	return settled
}

// verdict is what the response means whose head has come; or a fault, if it broke while it was read for that.
func (x *Exchange) verdict() (finding, Fault) {
	status := x.response.Status
	switch {
	case status < 400 || x.Policy == Never:
	case x.Policy != Usual && x.attempt.pool.refuses(status):
		return refused, None
	case unavailable(status), status == 500 && x.Policy != Usual:
		return failed, None
	case status == 400:
		if is, f := x.tooLong(); is || f != None {
			return tooLong, f
		}
	}
	return settled, None
}

// refuses tells whether a status says that nothing was executed.
func (p *Pool) refuses(status int) bool {
	return slices.Contains(p.settings.Refusals, status)
}

// another tells whether an upstream of the pool is well, has a place, and is neither the one that x has asked last nor one it
// has tried.
func (p *Pool) another(x *Exchange) bool {
	r := p.pickerFor(x.target().Model)
	for i := range r.candidates {
		u := r.candidates[i].Upstream
		if u != x.Upstream && u.Healthy() && u.inflight.Load() < u.limit.Load() && !slices.Contains(x.tried, u) {
			return true
		}
	}
	return false
}

// statedWait is the time that a response asks to wait, 0 if none. RFC 9110 §10.2.3.
func statedWait(h *wire.ResponseHead, now func() time.Time) time.Duration {
	v, ok := h.Field("retry-after")
	if !ok || len(v) == 0 {
		return 0
	}
	n := 0
	for _, c := range v {
		if c < '0' || c > '9' {
			at, err := fasthttp.ParseHTTPDate(v)
			if err != nil {
				return 0
			}
			return max(time.Millisecond, at.Sub(now()))
		}
		if n = n*10 + int(c-'0'); n > 1<<20 {
			return time.Hour
		}
	}
	return max(time.Millisecond, time.Duration(n)*time.Second)
}

// pause waits as long as a refusal asks, unless the client leaves.
func (p *Proxy) pause(x *Exchange, d time.Duration) {
	w := waiters.Get().(*waiter)
	p.watch.Add(&x.watched, x.Client, w, stayer(x.Taker))
	w.timer.Reset(d)
	for done := false; !done && !x.Gone(); {
		select {
		case <-w.woken:
		case <-w.timer.C:
			done = true
		}
	}
	p.watch.Remove(&x.watched)
	w.free()
}
