package ratelimit

import (
	"math"
	"runtime"
	"sync/atomic"
	"time"
)

// A client moves in without a lock, and never into two slots, though many of its requests may try it at the same time:
//
//  1. A slot is cleared: one swap of its word gives it the next generation and marks it moving. From now on it belongs to
//     this request alone: nobody finds it, nobody else clears it. The client's key is written into it.
//  2. A ticket is issued: one swap of the gate of the client's first line, so it is the same gate for all requests of the
//     client. The ticket names the slot.
//  3. The slot is opened, by taking moving back, and the ticket closed.
//
// Before step 2 a request does step 3 for the ticket before, if that is still open, and looks whether its client has moved in
// meanwhile. If so, it leaves the slot it has cleared; if not, its swap succeeds only if no ticket was issued since it began
// to look. So every ticket is issued in knowledge of all before it, and who falls asleep between two steps holds up nobody.

// A ticket is a count (31 bits), a slot (28), its generation (4) and whether it is open (1).
const (
	open       = 1
	slotShift  = lowBits
	countShift = slotShift + 28
	slotMask   = 1<<28 - 1
	maxLines   = (slotMask + 1) / slots
)

// enter returns the slot that a client has moved into, noSlot if there was none to be had.
func (t *clients) enter(c caller, now time.Duration) int {
	gate := &t.gates[int(c.lines[0])&(len(t.gates)-1)]
	own := noSlot
	for range patience {
		last := t.settle(gate, gate.Load())
		if slot := t.find(c); slot != noSlot {
			t.leave(own, c)
			return slot
		}
		if own == noSlot {
			if own = t.clear(c, now); own == noSlot {
				runtime.Gosched() // others are moving in everywhere: let them
				continue
			}
		}
		ticket := (last>>countShift+1)<<countShift | uint64(own)<<slotShift | t.word(own).Load()&generation | open
		if gate.CompareAndSwap(last, ticket) {
			t.settle(gate, ticket)
			return own
		}
	}
	t.leave(own, c)
	return noSlot
}

// settle opens the slot of an open ticket, closes the ticket and returns it closed. Anybody may do it, any number of times.
func (t *clients) settle(gate *atomic.Uint64, ticket uint64) (closed uint64) {
	if ticket&open == 0 {
		return ticket
	}
	word := t.word(int(ticket >> slotShift & slotMask))
	before := word.Load()
	// The generation alone comes back after sixteen tenants: the gate tells that this is still the one of the ticket.
	if before&(generation|moving) == ticket&generation|moving && gate.Load() == ticket {
		word.CompareAndSwap(before, before&^moving)
	}
	gate.CompareAndSwap(ticket, ticket&^open)
	return ticket &^ open
}

// clear takes a slot from its tenant, or returns noSlot if another request was faster.
func (t *clients) clear(c caller, now time.Duration) int {
	v := t.victim(c, now)
	if v.slot == noSlot {
		return noSlot
	}
	bucket := uint64(0)
	if !v.free {
		bucket = t.inherit(v, c, now)
	}
	low := (v.word+nextGeneration)&generation | moving
	if !t.word(v.slot).CompareAndSwap(v.word, bucket<<lowBits|low) {
		return noSlot
	}
	t.key(v.slot).Store(c.id | ticks(now))
	if !v.free {
		t.evicted.Add(1)
	}
	return v.slot
}

// leave gives up a slot that was cleared and is not needed. The bucket stays as it is, for the next one.
func (t *clients) leave(slot int, c caller) {
	if slot == noSlot {
		return
	}
	t.key(slot).Store(uint64(c.class) << classShift)
	word := t.word(slot)
	word.Store(word.Load() &^ moving)
}

// inherit turns the bucket of a tenant into one of the newcomer's limit that is spent to the same part.
func (t *clients) inherit(v victim, c caller, now time.Duration) uint64 {
	if v.class == c.class {
		return v.word >> lowBits
	}
	limit := t.limit(c.class)
	return limit.clock(now) + min(uint64(math.Ceil(v.spent*float64(limit.burst))), limit.burst)
}

// A victim is a slot that a newcomer may clear.
type victim struct {
	slot  int
	word  uint64
	age   uint64
	class uint8
	free  bool    // the bucket is full, or the client forgotten
	spent float64 // part of the burst; 0 if free
}

// before reports whether v is to go rather than w.
func (v victim) before(w victim) bool {
	switch {
	case w.slot == noSlot || v.free != w.free:
		return w.slot == noSlot || v.free
	case v.age != w.age:
		return v.age > w.age
	}
	return v.spent < w.spent
}

// victim finds the slot to clear for a client: a free one in the line that has more of them, else the one of both whose client
// was seen least recently.
func (t *clients) victim(c caller, now time.Duration) victim {
	var best [2]victim
	var free [2]int
	for i, n := range c.lines {
		best[i].slot = noSlot
		for j := range slots {
			v := t.candidate(int(n)*slots+j, now)
			if v.slot == noSlot {
				continue
			}
			if v.free {
				free[i]++
			}
			if v.before(best[i]) {
				best[i] = v
			}
		}
	}
	crowded := free[0] == 0 && free[1] == 0
	if free[1] > free[0] || crowded && best[1].slot != noSlot && best[1].before(best[0]) {
		return best[1]
	}
	return best[0]
}

// candidate looks at a slot. The word is read before the key: if the key is not of the same tenant, clear's swap fails.
func (t *clients) candidate(slot int, now time.Duration) victim {
	word := t.word(slot).Load()
	if word&moving != 0 {
		return victim{slot: noSlot}
	}
	key := t.key(slot).Load()
	v := victim{slot: slot, word: word, age: age(key, now), class: uint8(key >> classShift)}
	limit := t.limit(v.class)
	debt := limit.debt(word, now)
	v.free = debt == 0 || v.age > t.cleanup && v.age < ancient
	if !v.free {
		v.spent = float64(debt) / float64(limit.burst)
	}
	return v
}
