package keys

import (
	"crypto/subtle"
	"encoding/binary"
	"math/bits"
)

// A table finds hashes: open addressing, linear probing, at most half full, never changed. A slot holds all there is to know of a
// hash and fills a line of the processor's cache, so that a look-up waits for memory once.
//
// Hashes need no hashing: the upper bits of a SHA-256 are as good as any. Somebody who looks for keys whose hashes begin alike
// gains nothing: only the file's keys are in the table, and a probe ends at the first free slot.
type table struct {
	slots []entry // without a key: free
	shift uint    // of the first eight bytes, for the slot to begin with
}

// An entry is one hash of the file.
type entry struct {
	sum      [32]byte
	key      *Key
	grant    *Grant
	expires  int64 // Unix seconds; 0: never
	disabled bool
}

func newTable(entries []entry) table {
	size := max(4, 1<<bits.Len(uint(2*len(entries))))
	t := table{slots: make([]entry, size), shift: uint(64 - bits.Len(uint(size-1)))}
	for i := range entries {
		at := t.first(&entries[i].sum)
		for t.slots[at].key != nil {
			at = t.next(at)
		}
		t.slots[at] = entries[i]
	}
	return t
}

func (t *table) first(sum *[32]byte) int { return int(binary.BigEndian.Uint64(sum[:8]) >> t.shift) }

func (t *table) next(at int) int { return (at + 1) & (len(t.slots) - 1) }

// find returns the entry of a hash, nil for none. A slot's hash is compared as a whole, in the same time wherever it differs.
func (t *table) find(sum *[32]byte) *entry {
	for at := t.first(sum); t.slots[at].key != nil; at = t.next(at) {
		if e := &t.slots[at]; same(&e.sum, sum) {
			return e
		}
	}
	return nil
}

func same(a, b *[32]byte) bool { return subtle.ConstantTimeCompare(a[:], b[:]) == 1 }

// all yields each entry.
func (t *table) all(yield func(*entry) bool) {
	for i := range t.slots {
		if t.slots[i].key != nil && !yield(&t.slots[i]) {
			return
		}
	}
}
