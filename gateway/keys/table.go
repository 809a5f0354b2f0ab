package keys

import (
	"crypto/subtle"
	"encoding/binary"
	"math/bits"
)

// A table finds hashes: open addressing, linear probing, at most half full, never changed. A slot is the hash itself and where its
// entry is, so that a look-up is one cache miss and not two, and the garbage collector has nothing to follow.
//
// Hashes need no hashing: the upper bits of a SHA-256 are as good as any. Somebody who looks for keys whose hashes begin alike
// gains nothing: only the file's keys are in the table, and a probe ends at the first free slot.
type table struct {
	slots []slot
	shift uint // of the first eight bytes, for the slot to begin with
}

type slot struct {
	sum   [32]byte
	entry int32 // its place, plus one; 0: free
}

func newTable(entries []entry) table {
	size := max(4, 1<<bits.Len(uint(2*len(entries))))
	t := table{slots: make([]slot, size), shift: uint(64 - bits.Len(uint(size-1)))}
	for i := range entries {
		at := t.first(&entries[i].sum)
		for t.slots[at].entry != 0 {
			at = t.next(at)
		}
		t.slots[at] = slot{entries[i].sum, int32(i + 1)}
	}
	return t
}

func (t *table) first(sum *[32]byte) int { return int(binary.BigEndian.Uint64(sum[:8]) >> t.shift) }

func (t *table) next(at int) int { return (at + 1) & (len(t.slots) - 1) }

// find returns where the entry of a hash is, -1 for none. A slot is compared as a whole, in the same time wherever it differs.
func (t *table) find(sum *[32]byte) int {
	for at := t.first(sum); t.slots[at].entry != 0; at = t.next(at) {
		if s := &t.slots[at]; same(&s.sum, sum) {
			return int(s.entry) - 1
		}
	}
	return -1
}

func same(a, b *[32]byte) bool { return subtle.ConstantTimeCompare(a[:], b[:]) == 1 }
