package ratelimit

import (
	"sync/atomic"
	"time"
	"unsafe"
)

// clients is the table of clients: a fixed number of buckets that change hands.
//
// A bucket lies in a slot, eight slots in a line. A client may live in any slot of two lines that its hash names, and moves
// into the one with more room. So a line is crowded only if both are, and a table filled to two thirds has found room for all
// (of a million random clients none was left over at 0.67, one at 0.71). Nothing is allocated after newClients, nothing is
// cleaned up in the background, and the garbage collector has no pointer to follow.
//
// A slot is free for a newcomer when its bucket is full again, since a full one is what a client gets that was never seen,
// or when its client has not been seen for the cleanup time. If none of the sixteen is free, the client goes that was seen
// least recently, of equals the one that has spent least, and the newcomer inherits its bucket as it is, with what is left
// in it. So nobody is let in for free: however many names somebody goes by, they have no more than the buckets of
// the table, and who comes back after he had to go gets what another one has left. (The alternative, one bucket for all who
// find no room, would let the attacker who filled the table starve every newcomer.)
//
// Nothing here waits for another goroutine: a client that is in the table is found and charged without a lock, and a
// newcomer moves in without one (enter.go).
type clients struct {
	lines   []line
	gates   []atomic.Uint64         // one stands for many lines; see enter
	limits  atomic.Pointer[[]limit] // by class; grows by a copy, see Limiter.With
	cleanup uint64                  // in ticks
	evicted atomic.Uint64           // newcomers that inherited a bucket
}

// A line is two cache lines on amd64 and arm64, next to each other, as they are fetched: the keys, and the buckets.
//
// A word is a bucket of limit.go with two things in its lower bits: moving, while the slot has no tenant because a newcomer
// is about to move in, and the generation, another one for every tenant. A key that was read after a word that is not moving
// is the tenant's as long as the word is the same. So one swap of the word is as good as a swap of both: what a client
// spends is taken from its own bucket, whoever comes and goes meanwhile.
type line struct {
	keys  [slots]atomic.Uint64
	words [slots]atomic.Uint64
}

const (
	slots = 8

	moving         = 1 << 0
	generation     = 1<<lowBits - 1 - moving
	nextGeneration = 1 << 1

	noSlot = -1

	// A key is 32 bits of the client's hash, never all of them zero, 8 bits of its class, and 24 bits of the time it was
	// last seen, in ticks of 67 ms: they start over after 13 days, and tell before from after for half of that. Two clients
	// with a line and the 32 bits in common share a bucket; that happens to one in 3e8, and nobody can choose his hash.
	tagShift   = 32
	classShift = 24
	maxClasses = 1 << (tagShift - classShift)
	seenMask   = 1<<classShift - 1
	tick       = 26 // a tick is 2^26 ns

	// Three slots for two clients: see above.
	slotsForTwo = 3
)

// A caller is a client as the table knows it.
type caller struct {
	id    uint64 // its key, but for the time
	lines [2]uint32
	class uint8
}

func newClients(most int, cleanup time.Duration, limits []limit) *clients {
	lines := max((most*slotsForTwo/2+slots-1)/slots, 2)
	gates := 1
	for gates < lines && gates < 4096 {
		gates *= 2
	}
	t := &clients{
		lines:   make([]line, lines),
		gates:   make([]atomic.Uint64, gates),
		cleanup: min(uint64(max(cleanup, 0))>>tick, ancient-1),
	}
	t.limits.Store(&limits)
	return t
}

// limit is that of a class which was read in the table, or given to whoever asks: it is there by then.
func (t *clients) limit(class uint8) *limit { return &(*t.limits.Load())[class] }

// caller finds the two lines of a hash and a class. Classes are clients of their own: the same client in two of them has
// two buckets, and most likely four lines.
func (t *clients) caller(hash uint64, class uint8) caller {
	hash ^= uint64(class) << 56
	n := uint64(len(t.lines))
	c := caller{id: max(hash<<tagShift, 1<<tagShift) | uint64(class)<<classShift, class: class}
	first := hash >> 32 * n >> 32
	second := mix(hash) >> 32 * (n - 1) >> 32
	if second >= first {
		second++ // always another line
	}
	c.lines = [2]uint32{uint32(first), uint32(second)}
	return c
}

// mix is the finalizer of MurmurHash3: every bit of the hash has a say in every bit of the result.
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

func (t *clients) key(slot int) *atomic.Uint64  { return &t.lines[slot/slots].keys[slot%slots] }
func (t *clients) word(slot int) *atomic.Uint64 { return &t.lines[slot/slots].words[slot%slots] }

// take spends cost tokens of a client and says in which slot, for refund.
func (t *clients) take(c caller, now time.Duration, cost int) (state, int) {
	for range patience {
		slot := t.find(c)
		if slot == noSlot {
			slot = t.enter(c, now)
		}
		if slot == noSlot {
			break
		}
		if s, here := t.spend(slot, c, now, cost); here {
			return s, slot
		}
	}
	// The sixteen slots were changing hands all the time. To refuse is the safe side.
	t.evicted.Add(1)
	return state{wait: 1}, noSlot
}

// patience is how often a client comes back that has to go before it could spend.
const patience = 1000

// find looks for the slot of a client. Whether it is still the client's when it is used, spend tells.
func (t *clients) find(c caller) int {
	for _, n := range c.lines {
		line := &t.lines[n]
		for i := range slots {
			if line.keys[i].Load()&^seenMask == c.id && line.words[i].Load()&moving == 0 {
				return int(n)*slots + i
			}
		}
	}
	return noSlot
}

// spend takes cost tokens from the bucket in a slot; here is false if the slot is not the client's any more.
func (t *clients) spend(slot int, c caller, now time.Duration, cost int) (s state, here bool) {
	word, limit := t.word(slot), t.limit(c.class)
	clock, units := limit.clock(now), limit.tokens(cost)
	for {
		before := word.Load()
		if before&moving != 0 || !t.see(slot, c, now) {
			return state{}, false
		}
		after, ok := limit.spend(before, clock, units)
		// A refusal that changes nothing has to be made sure of too: the word may be that of the tenant before.
		if after == before && word.Load() == before || after != before && word.CompareAndSwap(before, after) {
			if !ok {
				return limit.refuse(after, units, now), true
			}
			return limit.admit(after, now), true
		}
	}
}

// refund gives tokens back to a client that still has the slot. If it has not, its bucket is gone and the tokens with it.
func (t *clients) refund(slot int, c caller, cost int) {
	if slot == noSlot {
		return
	}
	word, limit := t.word(slot), t.limit(c.class)
	for {
		before := word.Load()
		if before&moving != 0 || t.key(slot).Load()&^seenMask != c.id {
			return
		}
		if word.CompareAndSwap(before, limit.refund(before, cost)) {
			return
		}
	}
}

// see notes that a client was here, once a tick; it reports whether the slot is the client's.
func (t *clients) see(slot int, c caller, now time.Duration) bool {
	key := t.key(slot)
	k := key.Load()
	if k&^seenMask != c.id {
		return false
	}
	if seen := c.id | ticks(now); k != seen {
		key.CompareAndSwap(k, seen) // who fails was overtaken by another request of the client, or by a newcomer
	}
	return true
}

func ticks(now time.Duration) uint64 { return uint64(max(now, 0)) >> tick & seenMask }

// ancient is the age of a slot that was never used, or was seen longer ago than ticks can tell, or in a future that
// was before the clock was set back.
const ancient = 1 << (classShift - 1)

// age is how long ago the client of a key was seen, in ticks.
func age(key uint64, now time.Duration) uint64 {
	if key>>tagShift == 0 {
		return ancient
	}
	ago := (ticks(now) - key) & seenMask
	switch {
	case ago < ancient:
		return ago
	case seenMask-ago < uint64(skew)>>tick:
		return 0 // seen by a goroutine whose clock is a little ahead
	}
	return ancient
}

// count counts the clients that were seen within the cleanup time. It reads the whole table.
func (t *clients) count(now time.Duration) (n int) {
	for i := range t.lines {
		for j := range t.lines[i].keys {
			if age(t.lines[i].keys[j].Load(), now) <= t.cleanup {
				n++
			}
		}
	}
	return n
}

// size is the memory of the table.
func (t *clients) size() int {
	return len(t.lines)*int(unsafe.Sizeof(line{})) + len(t.gates)*int(unsafe.Sizeof(atomic.Uint64{}))
}
