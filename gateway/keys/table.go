package keys

import (
	"encoding/binary"
	"math/bits"
)

// A table finds hashes: open addressing, linear probing, never changed. Its slots are four bytes each, so that those of a hundred
// thousand keys lie in the processor's cache: the place of an entry, and as many bits of its hash as there is room for, by which nearly
// every other one is passed by. The entry fills a line of the cache: there is one wait for memory in a look-up.
//
// Hashes need no hashing: the bits of a SHA-256 are as good as any. Somebody who looks for keys whose hashes begin alike gains nothing:
// only the file's keys are in the table, a probe ends at the first free slot, and how a hash begins tells nobody a key of 256 bits.
type table struct {
	slots   []uint32 // 0: free; else the entry's place and 1 in the lower bits, those of its hash above
	entries []entry
	shift   uint   // of the first eight bytes of a hash, for the slot to begin with
	places  uint32 // the lower bits
}

// An entry is one hash of the file.
type entry struct {
	sum      [32]byte
	key      *Key
	grant    *Grant
	expires  int64 // Unix seconds; 0: never
	disabled bool
}

// newTable makes the table of entries, which are its own from then on. At most four fifths of its slots are taken.
func newTable(entries []entry) table {
	size := max(4, 1<<bits.Len(uint(len(entries)+len(entries)/4)))
	t := table{
		slots: make([]uint32, size), entries: entries, shift: uint(64 - bits.Len(uint(size-1))), places: 1<<bits.Len(uint(len(entries))) - 1,
	}
	for i := range entries {
		at, mark := t.first(&entries[i].sum)
		for t.slots[at] != 0 {
			at = t.next(at)
		}
		t.slots[at] = mark | uint32(i+1)
	}
	return t
}

// first is where to look for a hash first, and what its slot has above the place.
func (t *table) first(sum *[32]byte) (at int, mark uint32) {
	begins := binary.BigEndian.Uint64(sum[:])
	return int(begins >> t.shift), uint32(begins) &^ t.places
}

func (t *table) next(at int) int { return (at + 1) & (len(t.slots) - 1) }

// find returns the entry of a hash, nil for none. An entry's hash is compared as a whole, in the same time wherever it differs.
func (t *table) find(sum *[32]byte) *entry {
	for at, mark := t.first(sum); t.slots[at] != 0; at = t.next(at) {
		if slot := t.slots[at]; slot&^t.places == mark {
			if e := &t.entries[slot&t.places-1]; same(&e.sum, sum) {
				return e
			}
		}
	}
	return nil
}

// same tells whether two hashes are one, without a branch on what they have in common.
func same(a, b *[32]byte) bool {
	var differ uint64
	for i := 0; i < len(a); i += 8 {
		differ |= binary.LittleEndian.Uint64(a[i:]) ^ binary.LittleEndian.Uint64(b[i:])
	}
	return differ == 0
}
