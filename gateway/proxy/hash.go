package proxy

import (
	"bytes"
	"math"
)

// What a request is hashed by, as configured.
const (
	byClient = "client"
	byHeader = "header"
	byQuery  = "query"
	byPath   = "path"
)

const (
	// hashSlots is how finely keys are spread. Each slot belongs to the winner of a weighted rendezvous, so an
	// upstream that goes takes only its own slots along. The winners are computed when the roster changes: a
	// hundred contests would cost each request ten times what it may.
	hashSlots = 4096
	// The load of an upstream is bounded: what exceeds its share of the requests in flight by a quarter, and
	// spareLoad, spills over to the next of its key.
	loadQuarters = 5
	spareLoad    = 4
)

// newSlots holds the rendezvous of each slot: the highest of -w/ln(h), h in (0,1) by upstream and slot.
func newSlots(seats []candidate) []uint16 {
	slots := make([]uint16, hashSlots)
	for slot := range slots {
		best := math.Inf(-1)
		for i := range seats {
			h := float64(mix(seats[i].hashSeed^mix(uint64(slot)+1))>>11|1) / (1 << 53)
			if score := -float64(seats[i].weight) / math.Log(h); score > best {
				best, slots[slot] = score, uint16(i)
			}
		}
	}
	return slots
}

// byHash is the seat of a key, or the next of its seats that is not over its bound.
func (r *picker) byHash(p *Pool, key uint64) *candidate {
	all := p.inflight.Load() + 1
	at := key
	for range 8 {
		s := &r.candidates[r.slots[at%hashSlots]]
		if n := s.inflight.Load(); n < spareLoad || 4*n*r.total < loadQuarters*all*s.weight {
			return s
		}
		at = mix(at)
	}
	return r.lessBusyOfTwo()
}

// hashKey is what the pool hashes x by; 0 if it does not, or x has no such thing.
func (x *Exchange) hashKey(p *Pool) uint64 {
	if p.balance != hashed {
		return 0
	}
	var what []byte
	switch p.hashBy {
	case byHeader:
		what, _ = x.Head.Field(p.hashName)
	case byQuery:
		what = parameter(x.Target, p.hashName)
	case byPath:
		what, _, _ = bytes.Cut(x.Target, question)
	default:
		what = x.ClientKey
	}
	if len(what) == 0 {
		return 0
	}
	return hashOf(what)
}

var question = []byte("?")

// parameter is the value of a query's parameter as it stands there, nil if there is none.
func parameter(target []byte, name string) []byte {
	_, query, _ := bytes.Cut(target, question)
	for len(query) > 0 {
		var one []byte
		if i := bytes.IndexByte(query, '&'); i >= 0 {
			one, query = query[:i], query[i+1:]
		} else {
			one, query = query, nil
		}
		if len(one) > len(name) && string(one[:len(name)]) == name && one[len(name)] == '=' {
			return one[len(name)+1:]
		}
	}
	return nil
}

// hashOf is FNV-1a, mixed. It has no seed: all replicas of a gateway send a key to the same upstream. Who
// makes keys collide gets a hot key, which spills over.
func hashOf[T string | []byte](b T) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(b) {
		h = (h ^ uint64(b[i])) * 1099511628211
	}
	return max(1, mix(h))
}

// mix is the finalizer of SplitMix64: every bit of x changes half of the result's.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
