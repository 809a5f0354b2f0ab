package ratelimit

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// Amounts are what one may have: a key, a model, or all together. 0: no such limit.
type Amounts struct {
	RPS         float64 // requests a second, and how many of them at once; both or none
	Burst       int64
	RPM         int64 // requests a minute, and as many at once
	TPM         int64 // tokens a minute,
	TPMBurst    int64 // and how many at once; 0: TPM
	TPD         int64 // tokens a day, and as many at once
	Concurrency int64 // requests under way at the same time
}

// MaxAmount is the highest of an amount.
const MaxAmount = 1_000_000_000_000

// Check tells what is wrong with amounts that an operator stated.
func (a Amounts) Check() error {
	for _, n := range []int64{a.Burst, a.RPM, a.TPM, a.TPMBurst, a.TPD, a.Concurrency} {
		if n < 0 || n > MaxAmount {
			return fmt.Errorf("cannot limit to %d: a limit is 1 to %d", n, MaxAmount)
		}
	}
	switch {
	case (a.RPS == 0) != (a.Burst == 0):
		return fmt.Errorf("cannot limit to %v requests a second with a burst of %d: they go together", a.RPS, a.Burst)
	case a.TPMBurst != 0 && a.TPM == 0:
		return fmt.Errorf("cannot limit to a burst of %d tokens without tokens a minute", a.TPMBurst)
	case a.RPS != 0:
		return Rate{PerSecond: a.RPS, Burst: a.Burst}.check()
	}
	return nil
}

// CountsTokens tells whether there is a limit of tokens.
func (a *Amounts) CountsTokens() bool { return a.TPM > 0 || a.TPD > 0 }

// Any tells whether there is a limit.
func (a *Amounts) Any() bool { return *a != Amounts{} }

// A Kind is what is limited.
type Kind uint8

// The kinds of limits, by name.
const (
	NoLimit Kind = iota
	RequestsPerSecond
	RequestsPerMinute
	TokensPerMinute
	TokensPerDay
	Concurrency
	kinds
)

// String is the name of the setting.
func (k Kind) String() string { return [kinds]string{"", "rps", "rpm", "tpm", "tpd", "concurrency"}[k] }

// OfTokens tells whether it counts tokens.
func (k Kind) OfTokens() bool { return k == TokensPerMinute || k == TokensPerDay }

// rates are those of the amounts, by kind; a zero burst is none.
func (a *Amounts) rates() (rates [Concurrency]Rate) {
	const minute, day = 60, 24 * 60 * 60
	of := func(n, burst int64, seconds float64) Rate {
		if n == 0 {
			return Rate{}
		}
		if burst == 0 {
			burst = n
		}
		return Rate{PerSecond: float64(n) / seconds, Burst: burst}
	}
	rates[RequestsPerSecond] = Rate{PerSecond: a.RPS, Burst: a.Burst}
	rates[RequestsPerMinute] = of(a.RPM, 0, minute)
	rates[TokensPerMinute] = of(a.TPM, a.TPMBurst, minute)
	rates[TokensPerDay] = of(a.TPD, 0, day)
	return rates
}

// An Owner is whose the limits of an account are.
type Owner uint8

// The owners, by name.
const (
	Key Owner = iota
	Model
	All
	owners
)

func (o Owner) String() string { return [owners]string{"key", "model", "global"}[o] }

// An Account is the buckets of one owner. It is never evicted. A nil Account has no limits.
type Account struct {
	Owner   Owner
	ID      string
	amounts Amounts
	request []bar    // of requests
	tokens  []bar    // of tokens
	permits *permits // nil: any number at once
	past    past
	next    *Account // in its chain
}

// past is what there was a limit of before and is none now. What is under way settles there, and should there be one again, it begins
// with that.
type past struct {
	bars    []bar
	permits *permits
}

// Amounts are the account's.
func (a *Account) Amounts() Amounts {
	if a == nil {
		return Amounts{}
	}
	return a.amounts
}

// CountsTokens tells whether the account has a limit of tokens.
func (a *Account) CountsTokens() bool { return a != nil && len(a.tokens) > 0 }

// MaxTokens is what the smallest bucket of tokens holds; 0: there is none.
func (a *Account) MaxTokens() (most int64) {
	if a == nil {
		return 0
	}
	for i := range a.tokens {
		if b := a.tokens[i].quota.Burst; most == 0 || b < most {
			most = b
		}
	}
	return most
}

// Used tells of each bucket of the account, and of its permits, which share is taken, 0 to 1: of buckets that replicas have together as
// far as this one has heard, of permits those that it has given out itself.
func (a *Account) Used(now time.Duration, tell func(k Kind, share float64)) {
	if a == nil {
		return
	}
	for _, bars := range [...][]bar{a.request, a.tokens} {
		for i := range bars {
			b := &bars[i]
			tell(b.kind, 1-float64(b.remaining(now))/float64(b.quota.Burst))
		}
	}
	if p := a.permits; p != nil {
		tell(Concurrency, min(float64(p.held.Load())/float64(p.most.Load()), 1))
	}
}

// Accounts are all that there are: an array of chains by the hash of what they are of, which is only ever added to, so that it is
// read without a lock.
type Accounts struct {
	options AccountOptions
	seed    maphash.Seed
	chains  []atomic.Pointer[Account]
	mu      sync.Mutex // held by who adds
	count   int
	quotas  map[Rate]*quota
	shared  *sharedAccounts // nil: this replica is alone
}

// AccountOptions says what NewAccounts is to make.
type AccountOptions struct {
	Most int // accounts there may be; who comes later shares one with others. 0: 131072
}

const (
	accountChains = 1 << 12
	mostAccounts  = 1 << 17
	// Who comes when there is no more room shares an account with others: that is the safe side.
	crowds = 1 << 10
)

// NewAccounts makes accounts of this replica alone.
func NewAccounts(o AccountOptions) *Accounts {
	if o.Most == 0 {
		o.Most = mostAccounts
	}
	return &Accounts{options: o, seed: maphash.MakeSeed(), chains: make([]atomic.Pointer[Account], accountChains), quotas: make(map[Rate]*quota)}
}

// Of is the account of an owner, by its id, which is borrowed; nil for amounts that limit nothing. It begins with full buckets. If the
// amounts are others than the last time, what was spent stays spent, and what was reserved by the old ones settles by the new ones.
func (t *Accounts) Of(now time.Duration, owner Owner, id []byte, amounts Amounts) *Account {
	if t == nil || !amounts.Any() {
		return nil
	}
	if a := find(t.chain(owner, id).Load(), owner, id); a != nil && a.amounts == amounts {
		return a
	}
	return t.add(now, owner, id, amounts)
}

func (t *Accounts) chain(owner Owner, id []byte) *atomic.Pointer[Account] {
	return &t.chains[(maphash.Bytes(t.seed, id)+uint64(owner))%accountChains]
}

func find(a *Account, owner Owner, id []byte) *Account {
	for ; a != nil; a = a.next {
		if a.Owner == owner && a.ID == string(id) {
			return a
		}
	}
	return nil
}

// add makes an account, or another one for other amounts. The chain is made anew up to the one that is replaced.
func (t *Accounts) add(now time.Duration, owner Owner, id []byte, amounts Amounts) *Account {
	t.mu.Lock()
	defer t.mu.Unlock()
	chain := t.chain(owner, id)
	old := find(chain.Load(), owner, id)
	switch {
	case old != nil && old.amounts == amounts:
		return old
	case old == nil && t.count >= t.options.Most:
		id = fmt.Appendf(nil, "other-%d", maphash.Bytes(t.seed, id)%crowds)
		chain = t.chain(owner, id)
		if old = find(chain.Load(), owner, id); old != nil && old.amounts == amounts {
			return old
		}
	}
	a := &Account{Owner: owner, ID: string(id), amounts: amounts}
	t.fill(a, old, now)
	a.next = chain.Load()
	if old != nil {
		a.next = without(chain.Load(), old)
	} else {
		t.count++
	}
	chain.Store(a)
	return a
}

// without is a chain without one of its accounts. Those before it are copied: who reads the chain may stand anywhere in it.
func without(chain, gone *Account) *Account {
	if chain == gone {
		return chain.next
	}
	kept := *chain
	kept.adopt()
	kept.next = without(chain.next, gone)
	return &kept
}

// adopt makes the bars of a copy its own.
func (a *Account) adopt() {
	a.request, a.tokens = append([]bar(nil), a.request...), append([]bar(nil), a.tokens...)
	for i := range a.request {
		a.request[i].account = a
	}
	for i := range a.tokens {
		a.tokens[i].account = a
	}
}

// fill makes the buckets of an account, as spent as those of the old one, which may be nil, and in their places.
func (t *Accounts) fill(a, old *Account, now time.Duration) {
	for kind, r := range a.amounts.rates() {
		was := old.bar(Kind(kind))
		switch {
		case r.Burst == 0 && was == nil:
			continue
		case r.Burst == 0:
			a.past.bars = append(a.past.bars, *was)
			continue
		}
		b := bar{account: a, kind: Kind(kind), quota: t.quota(r)}
		switch {
		case was == nil:
			b.meter = newMeter(b.quota)
			b.lease = t.shared.lease(&b)
		case was.lease != nil:
			b.meter, b.lease = was.meter, was.lease
			b.lease.change(b.quota)
		default:
			if b.meter = was.meter; was.quota != b.quota {
				b.meter = was.meter.carry(b.quota, now)
			}
		}
		if b.kind.OfTokens() {
			a.tokens = append(a.tokens, b)
		} else {
			a.request = append(a.request, b)
		}
	}
	t.fillPermits(a, old)
}

// fillPermits makes the permits of an account, or goes on with those of the old one: those that are out come back there.
func (t *Accounts) fillPermits(a, old *Account) {
	var p *permits
	if old != nil {
		p = cmp.Or(old.permits, old.past.permits)
	}
	if a.amounts.Concurrency == 0 {
		a.past.permits = p
		return
	}
	if p == nil {
		p = new(permits)
		p.shared = t.shared.permit(a, p)
	}
	p.most.Store(a.amounts.Concurrency)
	a.permits = p
}

// quota is made once for each rate.
func (t *Accounts) quota(r Rate) *quota {
	q := t.quotas[r]
	if q == nil {
		made := newQuota(r)
		q = &made
		t.quotas[r] = q
	}
	return q
}

// bar is the account's bucket of that kind, or that of the past; nil: there has been none.
func (a *Account) bar(k Kind) *bar {
	if a == nil {
		return nil
	}
	for _, bars := range [...][]bar{a.request, a.tokens, a.past.bars} {
		for i := range bars {
			if bars[i].kind == k {
				return &bars[i]
			}
		}
	}
	return nil
}
