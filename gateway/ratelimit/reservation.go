package ratelimit

import "time"

// A Refusal tells which bucket had not enough, and when it will have.
type Refusal struct {
	Kind      Kind // NoLimit: nothing was refused
	Owner     Owner
	Remaining int64         // tokens or requests left
	Wait      time.Duration // until it would pass, should nobody else take them; Never
}

// Refused tells whether something was.
func (r *Refusal) Refused() bool { return r.Kind != NoLimit }

// Name is the bucket's: "key-tpm", "model-concurrency", "global-tpm".
func (r *Refusal) Name() string { return BucketName(r.Owner, r.Kind) }

// BucketName is what refusals and metrics call a bucket.
func BucketName(o Owner, k Kind) string { return bucketNames[o][k] }

var bucketNames = func() (names [owners][kinds]string) {
	for o := range names {
		for k := range names[o] {
			names[o][k] = Owner(o).String() + "-" + Kind(k).String()
		}
	}
	return names
}()

// RetryAfter is the value of Retry-After: whole seconds, at least 1, never too early.
func (r *Refusal) RetryAfter() int64 { return Verdict{Wait: r.Wait}.RetryAfter() }

// AdmitRequest spends a request of the account.
func (a *Account) AdmitRequest(now time.Duration) Refusal {
	if a == nil {
		return Refusal{}
	}
	var held [2]hold
	for i := range a.request {
		b := &a.request[i]
		var s state
		if s, held[i] = b.take(now, 1); !s.ok {
			for j := range a.request[:i] {
				a.request[j].undo(now, 1, held[j])
			}
			return b.refusal(s)
		}
	}
	return Refusal{}
}

func (b *bar) refusal(s state) Refusal {
	return Refusal{Kind: b.kind, Owner: b.account.Owner, Remaining: s.remaining, Wait: s.wait}
}

// A Reservation is the tokens that a request has taken before it is known how many it needs, and its permits. The zero value has none.
// It is one request's, until it is settled; only one goroutine may use it at a time.
type Reservation struct {
	tokens int64
	since  time.Duration
	n      int
	taken  [2 * owners]struct {
		bar  *bar
		hold hold
	}
	permits [owners]*permits
}

// A source is where tokens are from.
type source uint8

const (
	ofLease source = iota // or of this replica's own bucket, where there are no leases
	ofShare               // of this replica's share, while Redis was away
)

// Open tells whether something is reserved.
func (r *Reservation) Open() bool { return r.n > 0 || r.permits != [owners]*permits{} }

// Tokens are those that were reserved.
func (r *Reservation) Tokens() int64 { return r.tokens }

// Reserve takes a permit and tokens of each account that has limits; a bucket is never asked for more than it holds. If one of them
// refuses, nothing is taken. Accounts may be nil.
func (r *Reservation) Reserve(now time.Duration, tokens int64, accounts ...*Account) Refusal {
	r.tokens, r.since, r.n = max(tokens, 0), now, 0
	for _, a := range accounts {
		if a == nil {
			continue
		}
		if f := r.reserve(now, a); f.Refused() {
			r.cancel(now)
			return f
		}
	}
	return Refusal{}
}

func (r *Reservation) reserve(now time.Duration, a *Account) Refusal {
	if a.permits != nil {
		if !a.permits.take() {
			return Refusal{Kind: Concurrency, Owner: a.Owner, Wait: permitPause}
		}
		r.permits[a.Owner] = a.permits
	}
	if r.tokens == 0 { // what takes none does not wait until a debt is paid
		return Refusal{}
	}
	for i := range a.tokens {
		b := &a.tokens[i]
		s, h := b.take(now, min(r.tokens, b.quota.Burst))
		if !s.ok {
			return b.refusal(s)
		}
		t := &r.taken[r.n]
		t.bar, t.hold = b, h
		r.n++
	}
	return Refusal{}
}

// permitPause is when to try again after all permits were out: when one comes back, nobody can tell.
const permitPause = time.Second

// cancel gives everything back at once.
func (r *Reservation) cancel(now time.Duration) {
	for i := range r.taken[:r.n] {
		t := &r.taken[i]
		t.bar.undo(now, min(r.tokens, t.bar.quota.Burst), t.hold)
		t.bar = nil
	}
	r.n = 0
	r.release()
}

// release gives the permits back.
func (r *Reservation) release() {
	for i, p := range r.permits {
		if p != nil {
			p.give()
			r.permits[i] = nil
		}
	}
}

// Settle ends the reservation, for which it were so many tokens in the end. A second time it does nothing.
func (r *Reservation) Settle(now time.Duration, tokens int64) {
	r.SettleTokens(now, tokens)
	r.release()
}

// SettleTokens is Settle without the permits, which stay taken until that.
func (r *Reservation) SettleTokens(now time.Duration, tokens int64) {
	for i := range r.taken[:r.n] {
		t := &r.taken[i]
		t.bar.settle(r, now, tokens, t.hold)
		t.bar = nil
	}
	r.n = 0
}

// Charge takes tokens that were used and not reserved, if need be from buckets that have none: they owe them then. Accounts may be nil.
func Charge(now time.Duration, tokens int64, accounts ...*Account) {
	none := Reservation{since: now}
	for _, a := range accounts {
		if a == nil {
			continue
		}
		for i := range a.tokens {
			a.tokens[i].settle(&none, now, max(tokens, 0), hold{from: ofShare}) // of the share, should there be no leases now
		}
	}
}

// Owing tells which bucket of tokens owes some; Wait is not told. Of one that replicas share it is known right behind what has led there.
func Owing(now time.Duration, accounts ...*Account) Refusal {
	for _, a := range accounts {
		if a == nil {
			continue
		}
		for i := range a.tokens {
			b := &a.tokens[i]
			if b.owes(now) {
				return b.refusal(state{})
			}
		}
	}
	return Refusal{}
}

// A Standing is what is left of a limit.
type Standing struct {
	Kind      Kind // NoLimit: there is no such limit
	Limit     int64
	Remaining int64
	Reset     time.Duration // until all of it is there again
}

// Requests is the tightest of the limits of requests of these accounts, which may be nil.
func Requests(now time.Duration, accounts ...*Account) (s Standing) {
	for _, a := range accounts {
		if a != nil {
			s = tightest(s, now, a.request)
		}
	}
	return s
}

// Tokens is the tightest of the limits of tokens.
func Tokens(now time.Duration, accounts ...*Account) (s Standing) {
	for _, a := range accounts {
		if a != nil {
			s = tightest(s, now, a.tokens)
		}
	}
	return s
}

func tightest(s Standing, now time.Duration, bars []bar) Standing {
	for i := range bars {
		b := &bars[i]
		if left := b.remaining(now); s.Kind == NoLimit || left < s.Remaining {
			s = Standing{Kind: b.kind, Limit: b.quota.Burst, Remaining: left, Reset: b.fills(now)}
		}
	}
	return s
}

// AppendReset appends a duration as OpenAI writes those of its limits: "1s", "6m0s", "250ms"; rounded up to a whole second from one on.
func AppendReset(dst []byte, d time.Duration) []byte {
	switch {
	case d <= 0:
		return append(dst, "0s"...)
	case d < time.Second:
		d = max(d.Round(time.Millisecond), time.Millisecond)
	default:
		d = min(time.Duration(seconds(d)), maxRetryAfter) * time.Second
	}
	return append(dst, d.String()...)
}
