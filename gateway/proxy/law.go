package proxy

import "time"

// The law of sending again. A request is alive at one upstream at a time (but for a hedged GET), is never sent again after a byte
// of its response has reached the client, and keeps one deadline over all attempts. What follows from what has happened is decided
// here, by decide, which knows nothing but what it is told; all else obeys it. Nothing that may have been executed is sent again
// unless its method allows it (RFC 9110 §9.2.2) or the operator does.

// A Policy is what the route of a request allows.
type Policy uint8

// The policies.
const (
	Usual     Policy = iota // for requests of which nothing is known: what nobody has seen, and a little of what is idempotent
	Never                   // one attempt
	Safe                    // whatever cannot be executed twice
	Reattempt               // also what may have been executed, once the attempt before has ended
)

// A finding is what an attempt has come to, or the search for somebody to ask, as far as the law makes a difference.
type finding uint8

const (
	settled   finding = iota // the response is passed on, whatever it is; or the client is gone, or its request is at fault
	nobody                   // nobody of the pool may be asked, or has a place
	unreached                // no connection
	unsent                   // a connection used before broke before anything was written to it
	unread                   // it broke before a byte of a response came, and its peer has not taken a byte of the request
	dropped                  // the same, but the request may have been read
	refused                  // a response that says that nothing was executed: a status of the pool's refusals
	slow                     // no byte of a response within the pool's time for a hedge: the attempt goes on
	late                     // no head, or no content, within the time for it
	failed                   // 500, 502, 503 or 504
	broken                   // an end or garbage in place of a response, after the request was written
	tooLong                  // the request does not fit into the model's context
	findings
)

// A leave is whether a request may be sent again.
type leave uint8

const (
	no         leave = iota
	yes              // nothing was executed, or is any more
	once             // in this pool
	repeatable       // if it may be executed twice: by its method, or by the policy
	larger           // to a model with a larger context
	beside           // while the attempt goes on, if the request is safe
)

// A rule is what follows from a finding: in the same pool, and else at the next target.
type rule struct {
	again, onward leave
	why           Retry
}

// usual, never and safe are the law as tables. Reattempt has the rules of Safe, with other requests repeatable.
var (
	usual = [findings]rule{
		nobody: {no, yes, NoRetry}, unreached: {yes, yes, RetryConnect}, unsent: {once, no, RetryReused}, unread: {once, no, RetryReused},
		dropped: {repeatable, no, RetryReused}, slow: {beside, no, RetryHedge}, failed: {no, repeatable, RetryUnavailable},
	}
	never = [findings]rule{nobody: {no, yes, NoRetry}}
	safe  = [findings]rule{
		nobody: {no, yes, NoRetry}, unreached: {yes, yes, RetryConnect}, unsent: {once, yes, RetryReused}, unread: {once, yes, RetryReused},
		dropped: {repeatable, repeatable, RetryReused}, refused: {once, yes, RetryRefused}, slow: {beside, no, RetryHedge},
		late: {no, yes, RetryLate}, failed: {repeatable, repeatable, RetryUnavailable}, broken: {repeatable, repeatable, RetryBroken}, tooLong: {no, larger, RetryContext},
	}
	laws = [...]*[findings]rule{Usual: &usual, Never: &never, Safe: &safe, Reattempt: &safe}
)

// maxRefusalWait is the longest Retry-After that a request waits for.
const maxRefusalWait = 2 * time.Second

// A situation is all that the law goes by.
type situation struct {
	what       finding
	policy     Policy
	whole      bool // the request is held, all of it, and can be sent again
	idempotent bool // its method says so
	safe       bool // the same, and it has no body (RFC 9110 §9.2.1)
	seen       bool // the client has got a byte of the response
	trial      bool // the attempt was one of a breaker that is half open
	repeated   bool // the same has led to another attempt in this pool before

	peer   bool // another upstream of the pool is well and has a place
	itself bool // the same upstream may be asked once more, on a new connection
	next   bool // another target may be asked
	well   bool // and is well
	larger bool // another target, which is well, has a larger context
	queued bool // requests wait for a place in the pool
	room   bool // nobody has seen the request, and it may wait until an upstream is well

	after  time.Duration // the Retry-After that the refusal states; 0: none
	left   time.Duration // of the deadline
	budget bool          // the pool's budget has a retry left
}

// An action is what is done next.
type action uint8

const (
	giveUp    action = iota // what there is goes to the client: the response, or a fault
	askAgain                // another upstream of the pool, or the same one on a new connection
	waitAsk                 // the same, when the time that the refusal states is over
	askBeside               // another upstream of the pool as well
	askNext                 // the next target
	askLarger
	outlast // the first target that has a waiting room, until somebody is well there
)

// A step is what the law decides.
type step struct {
	action
	why   Retry
	wait  time.Duration // of waitAsk
	costs bool          // a retry of the pool's budget
}

// decide is the law.
func decide(s situation) step {
	r := laws[s.policy][s.what]
	next := step{}
	switch {
	case !s.sendable():
	case r.again == beside:
		next = s.beside(r)
	default:
		if next = s.again(r); next.action == giveUp {
			next = s.onward(r)
		}
	}
	if next.action == giveUp && s.room {
		next = step{action: outlast}
	}
	return next
}

// sendable tells whether anything may be sent yet, or as much of it as there is.
func (s *situation) sendable() bool {
	switch s.what {
	case nobody:
		return !s.seen
	case unreached, unsent:
		return !s.seen && s.left > 0
	}
	return !s.seen && s.left > 0 && s.whole
}

// repeatable tells whether the request may be executed twice.
func (s *situation) repeatable() bool { return s.idempotent || s.policy == Reattempt }

// again is the step in the same pool, giveUp if there is none. A trial that fails is no loss of its request as long as there
// is somebody else, whatever its finding would come to otherwise.
func (s *situation) again(r rule) step {
	allowed := r.again == yes || r.again == once && !s.repeated || r.again == repeatable && s.repeatable() && !s.repeated
	allowed = allowed || s.trial && s.repeatable() && r.onward != no && r.onward != larger
	again := step{action: askAgain, why: r.why, costs: !s.trial}
	switch {
	case !allowed || !s.budget && again.costs:
	case s.what == unreached, s.peer, s.itself && (s.what == unsent || s.what == unread || s.what == dropped):
		return again
	case s.what == refused && !(s.next && s.well) && s.after > 0 && s.after <= maxRefusalWait && s.after < s.left:
		again.action, again.wait = waitAsk, s.after
		return again
	}
	return step{}
}

// beside is the step while the attempt goes on, giveUp if there is none. A hedge costs a retry, and nobody waits longer for it.
func (s *situation) beside(r rule) step {
	if !s.safe || !s.peer || s.queued || !s.budget {
		return step{}
	}
	return step{action: askBeside, why: r.why, costs: true}
}

// onward is the step to another target, giveUp if there is none. What nobody has executed costs the pool's budget nothing there;
// and what has a response, or may have one yet, is given up for somebody who is well only.
func (s *situation) onward(r rule) step {
	next := step{action: askNext, why: r.why}
	switch s.what {
	case late, failed, broken, dropped:
		next.costs = !s.trial
	}
	switch {
	case r.onward == larger && s.larger:
		next.action = askLarger
		return next
	case r.onward == no, r.onward == larger, r.onward == repeatable && !s.repeatable(), !s.next, next.costs && !s.budget:
		return step{}
	case s.well, s.what == nobody, s.what == unreached, s.what == unsent, s.what == unread:
		return next
	}
	return step{}
}
