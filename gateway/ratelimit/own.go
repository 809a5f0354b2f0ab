package ratelimit

import (
	"hash/maphash"
	"time"
)

// AdmitClient is Admit as far as the client's own bucket goes: what others have is not spent. It is for what must not cost
// anybody else a token, such as a key that does not open.
func (c *Class) AdmitClient(now time.Duration, client []byte, cost int) Verdict {
	if c == nil {
		return Verdict{OK: true}
	}
	l := c.limiter
	own, _ := l.clients.take(l.clients.caller(maphash.Bytes(l.seed, client), c.id), now, cost)
	if !own.ok {
		l.dropped[Client].Add(1)
		return refusal(Client, own)
	}
	return Verdict{OK: true, Remaining: own.remaining, Wait: own.wait}
}

// AdmitClient is that of Class.
func (c *SharedClass) AdmitClient(now time.Duration, client []byte, cost int) Verdict {
	if c == nil {
		return Verdict{OK: true}
	}
	s := c.shared
	r := request{s: s, now: now, class: c.id, hash: s.hash(client, c.id), client: client, cost: int64(max(cost, 0))}
	own := r.takeOwn()
	if !own.ok {
		s.dropped[Client].Add(1)
		return refusal(Client, own)
	}
	return Verdict{OK: true, Remaining: own.remaining, Wait: own.wait}
}

// RefundClient gives back what AdmitClient has spent.
func (c *Class) RefundClient(client []byte, cost int) {
	if c == nil {
		return
	}
	t := c.limiter.clients
	who := t.caller(maphash.Bytes(c.limiter.seed, client), c.id)
	t.refund(t.find(who), who, cost)
}

// RefundClient is that of Class. While Redis is away nothing comes back.
func (c *SharedClass) RefundClient(client []byte, cost int) {
	if c == nil || cost <= 0 || c.shared.down.Load() {
		return
	}
	c.shared.leases.refund(c.shared.hash(client, c.id), int64(cost))
}

// AdmitGlobal is Admit as far as the global bucket goes, for who has a limit of its own elsewhere.
func (c *Class) AdmitGlobal(now time.Duration, cost int) Verdict {
	if c == nil {
		return Verdict{OK: true}
	}
	l := c.limiter
	if all := l.global.take(&l.all, now, cost); !all.ok {
		l.dropped[Global].Add(1)
		return refusal(Global, all)
	}
	return Verdict{OK: true}
}

// AdmitGlobal is that of Class. It may wait for Redis, as Admit may.
func (c *SharedClass) AdmitGlobal(now time.Duration, cost int) Verdict {
	if c == nil {
		return Verdict{OK: true}
	}
	s := c.shared
	r := request{s: s, now: now, cost: int64(max(cost, 0))}
	if all := r.takeAll(); !all.ok {
		s.dropped[Global].Add(1)
		return refusal(Global, all)
	}
	return Verdict{OK: true}
}
