package ratelimit

import "time"

// Standings are what is left of each limit that an owner of these amounts has, by its id, which is borrowed. Who has not asked yet
// has all of it. Nothing is made or spent.
func (t *Accounts) Standings(now time.Duration, owner Owner, id []byte, amounts Amounts) (list []Standing) {
	if t == nil || !amounts.Any() {
		return nil
	}
	a := find(t.chain(owner, id).Load(), owner, id)
	for kind, r := range amounts.rates() {
		if r.Burst == 0 {
			continue
		}
		s := Standing{Kind: Kind(kind), Limit: r.Burst, Remaining: r.Burst}
		if b := a.bar(s.Kind); b != nil {
			s.Limit, s.Remaining, s.Reset = b.quota.Burst, b.remaining(now), b.fills(now)
		}
		list = append(list, s)
	}
	if most := amounts.Concurrency; most > 0 {
		s := Standing{Kind: Concurrency, Limit: most, Remaining: most}
		if a != nil && a.permits != nil {
			s.Remaining = max(0, most-a.permits.held.Load())
		}
		list = append(list, s)
	}
	return list
}
