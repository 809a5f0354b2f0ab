package proxy

import (
	"fmt"
	"testing"
	"time"
)

// sure is a situation in which everybody else can be asked and everything is left, of a POST.
func sure(what finding, p Policy) situation {
	return situation{what: what, policy: p, whole: true, peer: true, next: true, well: true, larger: true, left: time.Minute, budget: true}
}

// alone takes everybody else away.
func alone(s situation) situation {
	s.peer, s.next, s.well, s.larger, s.itself = false, false, false, false, true
	return s
}

// only leaves the other targets.
func only(s situation) situation { s.peer, s.itself = false, true; return s }

// get makes a request of it that may be executed twice.
func get(s situation) situation { s.idempotent = true; return s }

// reads makes a GET of it that has no body.
func reads(s situation) situation { s.safe = true; return get(s) }

// The law, row by row: what follows in the same pool, and what at the next target if nobody else is in the pool.
func TestLaw(t *testing.T) {
	yes, on, out, also := step{action: askAgain}, step{action: askNext}, step{}, step{action: askBeside}
	for _, c := range []struct {
		name  string
		s     situation
		inn   step // with another upstream in the pool
		next  step // without
		alone step // without anybody
	}{
		{"connect, usual", sure(unreached, Usual), yes, yes, yes},
		{"connect, safe", sure(unreached, Safe), yes, yes, yes},
		{"connect, never", sure(unreached, Never), out, out, out},
		{"nobody, usual", sure(nobody, Usual), on, on, out},
		{"nobody, never", sure(nobody, Never), on, on, out},
		{"nobody, safe", sure(nobody, Safe), on, on, out},
		{"unsent, usual", sure(unsent, Usual), yes, yes, yes},
		{"unsent, safe", sure(unsent, Safe), yes, yes, yes},
		{"unread, safe", sure(unread, Safe), yes, yes, yes},
		{"dropped, POST, usual", sure(dropped, Usual), out, out, out},
		{"dropped, GET, usual", get(sure(dropped, Usual)), yes, yes, yes},
		{"dropped, POST, safe", sure(dropped, Safe), out, out, out},
		{"dropped, POST, reattempt", sure(dropped, Reattempt), yes, yes, yes},
		{"refused, usual", sure(refused, Usual), out, out, out},
		{"refused, never", sure(refused, Never), out, out, out},
		{"refused, safe", sure(refused, Safe), yes, on, out},
		{"slow, GET, usual", reads(sure(slow, Usual)), also, out, out},
		{"slow, GET, safe", reads(sure(slow, Safe)), also, out, out},
		{"slow, GET, reattempt", reads(sure(slow, Reattempt)), also, out, out},
		{"slow, GET, never", reads(sure(slow, Never)), out, out, out},
		{"slow, PUT, safe", get(sure(slow, Safe)), out, out, out},
		{"slow, POST, reattempt", sure(slow, Reattempt), out, out, out},
		{"late, usual", sure(late, Usual), out, out, out},
		{"late, GET, usual", get(sure(late, Usual)), out, out, out},
		{"late, safe", sure(late, Safe), on, on, out},
		{"late, reattempt", sure(late, Reattempt), on, on, out},
		{"late, never", sure(late, Never), out, out, out},
		{"failed, POST, usual", sure(failed, Usual), out, out, out},
		{"failed, GET, usual", get(sure(failed, Usual)), on, on, out},
		{"failed, POST, safe", sure(failed, Safe), out, out, out},
		{"failed, GET, safe", get(sure(failed, Safe)), yes, on, out},
		{"failed, POST, reattempt", sure(failed, Reattempt), yes, on, out},
		{"failed, GET, never", get(sure(failed, Never)), out, out, out},
		{"broken, POST, safe", sure(broken, Safe), out, out, out},
		{"broken, GET, usual", get(sure(broken, Usual)), out, out, out},
		{"broken, GET, safe", get(sure(broken, Safe)), yes, on, out},
		{"broken, POST, reattempt", sure(broken, Reattempt), yes, on, out},
		{"too long, usual", sure(tooLong, Usual), out, out, out},
		{"too long, safe", sure(tooLong, Safe), step{action: askLarger}, step{action: askLarger}, out},
		{"anything else, reattempt", get(sure(settled, Reattempt)), out, out, out},
	} {
		for _, v := range []struct {
			who  string
			s    situation
			want step
		}{{"a peer", c.s, c.inn}, {"a target", only(c.s), c.next}, {"nobody", alone(c.s), c.alone}} {
			if got := decide(v.s); got.action != v.want.action {
				t.Errorf("%s, beside %s: %+v, want %+v", c.name, v.who, got, v.want)
			}
		}
	}
}

// What ends every row: a byte at the client, a body that is not held, a deadline.
func TestLawEnds(t *testing.T) {
	for what := range findings {
		for p := Usual; p <= Reattempt; p++ {
			for name, end := range map[string]func(*situation){
				"seen":     func(s *situation) { s.seen = true },
				"not held": func(s *situation) { s.whole = false },
				"too late": func(s *situation) { s.left = 0 },
			} {
				s := get(sure(what, p))
				end(&s)
				got := decide(s)
				allowed := name == "not held" && (what == unreached || what == unsent || what == nobody) || name == "too late" && what == nobody
				if got.action != giveUp && !allowed {
					t.Errorf("event %d, policy %d, %s: %+v", what, p, name, got)
				}
			}
		}
	}
}

// A refusal leads to one more attempt in the pool: at another upstream, or after its Retry-After if that is short and nobody else
// can be asked.
func TestLawOfRefusals(t *testing.T) {
	wait := func(d time.Duration) step { return step{action: waitAsk, why: RetryRefused, wait: d, costs: true} }
	for i, c := range []struct {
		change func(*situation)
		want   step
	}{
		{func(s *situation) {}, step{}},
		{func(s *situation) { s.after = time.Second }, wait(time.Second)},
		{func(s *situation) { s.after = maxRefusalWait }, wait(maxRefusalWait)},
		{func(s *situation) { s.after = maxRefusalWait + 1 }, step{}},
		{func(s *situation) { s.after, s.left = time.Second, time.Second }, step{}},
		{func(s *situation) { s.after, s.budget = time.Second, false }, step{}},
		{func(s *situation) { s.after, s.repeated = time.Second, true }, step{}},
		{func(s *situation) { s.after, s.next = time.Second, true }, wait(time.Second)}, // the other one is not well
		{func(s *situation) { s.after, s.next, s.well = time.Second, true, true }, step{action: askNext, why: RetryRefused}},
		{func(s *situation) { s.next, s.well, s.budget = true, true, false }, step{action: askNext, why: RetryRefused}},
		{func(s *situation) { s.peer, s.repeated, s.next, s.well = true, true, true, true }, step{action: askNext, why: RetryRefused}},
		{func(s *situation) { s.peer, s.repeated = true, true }, step{}},
	} {
		s := alone(sure(refused, Safe))
		c.change(&s)
		if got := decide(s); got != c.want {
			t.Errorf("%d: %+v, want %+v", i, got, c.want)
		}
	}
}

// What has a response is given up for somebody who is well only, and what may have been executed costs the budget.
func TestLawGoesOn(t *testing.T) {
	for _, what := range []finding{late, failed, broken} {
		for _, c := range []struct {
			well, budget, trial bool
			want                action
		}{
			{true, true, false, askNext}, {false, true, false, giveUp}, {true, false, false, giveUp}, {true, false, true, askNext},
		} {
			s := only(sure(what, Reattempt))
			s.well, s.budget, s.trial = c.well, c.budget, c.trial
			if got := decide(s); got.action != c.want || got.costs != (c.want == askNext && !c.trial) {
				t.Errorf("event %d, %+v: %+v", what, c, got)
			}
		}
	}
	for _, what := range []finding{nobody, unreached, unsent, unread} {
		s := only(sure(what, Safe))
		s.well, s.budget, s.itself, s.repeated = false, false, false, true
		if got := decide(s); got.action != askNext || got.costs {
			t.Errorf("event %d: %+v", what, got)
		}
	}
}

// A hedge costs a retry, whoever was asked first, and takes no place that others wait for.
func TestLawOfHedges(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*situation)
		want   step
	}{
		"slow":           {func(s *situation) {}, step{action: askBeside, why: RetryHedge, costs: true}},
		"a trial":        {func(s *situation) { s.trial = true }, step{action: askBeside, why: RetryHedge, costs: true}},
		"sent before":    {func(s *situation) { s.repeated = true }, step{action: askBeside, why: RetryHedge, costs: true}},
		"a queue":        {func(s *situation) { s.queued = true }, step{}},
		"no budget":      {func(s *situation) { s.budget = false }, step{}},
		"no budget left": {func(s *situation) { s.budget, s.trial = false, true }, step{}},
		"too late":       {func(s *situation) { s.left = 0 }, step{}},
		"interim":        {func(s *situation) { s.seen = true }, step{}},
		"nobody well":    {func(s *situation) { s.peer = false }, step{}},
	} {
		s := reads(sure(slow, Safe))
		c.change(&s)
		if got := decide(s); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// Who has nobody else to ask waits for somebody, as long as nobody has seen the request, whatever is left of it.
func TestLawOfRooms(t *testing.T) {
	for p := Usual; p <= Reattempt; p++ {
		for _, what := range []finding{nobody, unreached} {
			for name, c := range map[string]struct {
				s    situation
				want action
			}{
				"alone":     {alone(sure(what, p)), outlast},
				"too late":  {situation{what: what, policy: p, whole: true, room: true}, outlast},
				"not alone": {only(sure(what, p)), askNext},
			} {
				s := c.s
				s.room, s.repeated, s.itself = true, true, false
				switch {
				case what == unreached && p == Never:
					c.want = outlast
				case what == unreached && name != "too late":
					c.want = askAgain // the same upstream may have another address
				}
				if got := decide(s); got.action != c.want || got.action == outlast && got.costs {
					t.Errorf("event %d, policy %d, %s: %+v", what, p, name, got)
				}
			}
		}
	}
}

// A trial is nobody's loss: its request goes on in the pool whatever came of it, if it may be executed twice.
func TestLawOfTrials(t *testing.T) {
	for _, what := range []finding{refused, late, failed, broken, dropped} {
		s := sure(what, Reattempt)
		s.trial, s.budget, s.repeated = true, false, true
		if got := decide(s); got.action != askAgain || got.costs {
			t.Errorf("event %d: %+v", what, got)
		}
	}
}

// Whatever the situation is, the law says nothing that cannot be done, and nothing twice in the pool without end.
func TestLawIsSound(t *testing.T) {
	bit := func(n *int) bool { b := *n&1 == 1; *n >>= 1; return b }
	for n := range 1 << 14 {
		for what := range findings {
			for p := Usual; p <= Reattempt; p++ {
				m := n
				s := situation{what: what, policy: p, whole: bit(&m), idempotent: bit(&m), seen: bit(&m), trial: bit(&m), repeated: bit(&m),
					peer: bit(&m), next: bit(&m), larger: bit(&m), budget: bit(&m), queued: bit(&m), room: bit(&m)}
				s.safe = s.idempotent && bit(&m)
				s.itself, s.well, s.left = !s.peer, s.next && bit(&m), time.Second
				if bit(&m) {
					s.after = time.Millisecond
				}
				got := decide(s)
				wrong := ""
				switch {
				case got.action == giveUp:
				case got.action == outlast && s.room: // which says that nobody has seen the request
				case got.action == outlast:
					wrong = "into no room"
				case (got.action == askBeside) != (what == slow):
					wrong = "beside what has ended"
				case got.action == askBeside && (!s.safe || s.queued || !s.peer):
					wrong = "beside what it must not be"
				case s.seen:
					wrong = "after a byte"
				case got.action == askNext && !s.next, got.action == askLarger && !s.larger:
					wrong = "to nobody"
				case got.costs && !s.budget:
					wrong = "without a budget"
				case p == Never && what != nobody:
					wrong = "although never"
				case !s.idempotent && p != Reattempt && (what == failed || what == broken || what == dropped):
					wrong = "what may have been executed"
				case got.action == askAgain && !s.peer && what != unreached && what != unsent && what != unread && what != dropped:
					wrong = "at the upstream that has just answered"
				case got.action == waitAsk && (s.next && s.well || what != refused):
					wrong = "waits for nothing"
				case got.why == NoRetry && what != nobody:
					wrong = "without a reason"
				}
				if wrong != "" {
					t.Fatal(wrong, fmt.Sprintf("%+v → %+v", s, got))
				}
			}
		}
	}
}
