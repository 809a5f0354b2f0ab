package proxy

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
)

// How a pool chooses, as configured. What is neither is p2c.
const (
	roundRobin    = "round_robin"
	leastRequests = "least_requests"
	hashed        = "hash"
	byPrefix      = "prefix"
)

// Choosing must cost next to nothing with a hundred upstreams, so what can be computed when the picker
// changes is: a draw by weight, a turn of the rotation and the slot of a hash are one step each.
const (
	scanAtMost  = 16   // least_requests looks at all of so many upstreams, and
	sampleSize  = 6    // at so many drawn by weight of more, which is within a few percent of the least busy
	maxRotation = 4096 // of a round, however the weights relate
)

// A picker chooses among those upstreams of a pool that get requests now. It never changes: a change of health makes another one.
type picker struct {
	balance    string
	load       *load
	candidates []candidate
	total      int64       // of the candidates' weights
	columns    []column    // the alias table, one a candidate
	rotation   []uint16    // of round_robin: candidates in the order of their turns
	slots      []uint16    // of hash: the candidate of each slot that a key may fall into
	lastResort []*Upstream // that look sick, but may still answer
	listing    *listing
	narrowed   []*picker // one for each set of listing; nil: all upstreams have the same models
	some       bool      // the candidates are those that list a model, and load knows of others
	byPlace    []uint16  // of prefix: the candidate of each place in load.prefixes, or noCandidate
}

// A candidate is an upstream that may be picked.
type candidate struct {
	*Upstream
	weight int64 // in 1/weightUnit
}

// A column of Vose's alias table stands for its own candidate up to the threshold, and for the alias above it.
type column struct {
	threshold uint32
	alias     uint16
}

// A load is what the pickers of a pool, one after the other, know of its requests.
type load struct {
	next     atomic.Uint32 // in the rotation
	inflight atomic.Int64  // at all upstreams, of a pool that hashes or goes by prefix
	told     atomic.Int64  // requests beside them, by what the engines have said
	lately   atomic.Int64  // the sum of the candidates'
	prefixes *prefixes     // who has read what, of a pool that goes by prefix

	ways          [choices]atomic.Int64 // how requests with a prompt came to their upstreams
	blocks, found atomic.Int64          // of prompts: looked up, and known to the upstream chosen
}

// newPicker makes a picker of these candidates, with what can be computed for them once.
func newPicker(balance string, l *load, candidates []candidate) *picker {
	r := &picker{balance: balance, load: l, candidates: candidates}
	for _, s := range candidates {
		r.total += s.weight
	}
	if len(candidates) == 0 {
		return r
	}
	r.columns = newColumns(candidates, r.total)
	switch balance {
	case roundRobin:
		r.rotation = newRotation(candidates, r.total)
	case hashed:
		r.slots = newSlots(candidates)
	case byPrefix:
		r.slots = newSlots(candidates)
		r.numberCandidates()
	}
	return r
}

// newColumns builds the alias table: each column holds one mean weight, of its own candidate and of one other.
func newColumns(candidates []candidate, total int64) []column {
	columns := make([]column, len(candidates))
	share := make([]float64, len(candidates))
	var poor, rich []int
	for i, s := range candidates {
		share[i] = float64(s.weight) * float64(len(candidates)) / float64(total)
		if share[i] < 1 {
			poor = append(poor, i)
		} else {
			rich = append(rich, i)
		}
	}
	for len(poor) > 0 && len(rich) > 0 {
		p, r := poor[len(poor)-1], rich[len(rich)-1]
		poor = poor[:len(poor)-1]
		columns[p] = column{threshold: uint32(share[p] * math.MaxUint32), alias: uint16(r)}
		if share[r] -= 1 - share[p]; share[r] < 1 {
			rich = rich[:len(rich)-1]
			poor = append(poor, r)
		}
	}
	for _, i := range append(poor, rich...) {
		columns[i] = column{threshold: math.MaxUint32, alias: uint16(i)}
	}
	return columns
}

// newRotation spreads each candidate's turns evenly over the round: a candidate of twice the weight has two, not in a row.
func newRotation(candidates []candidate, total int64) []uint16 {
	unit := candidates[0].weight
	for _, s := range candidates {
		unit = gcd(unit, s.weight)
	}
	unit = max(unit, (total+maxRotation-1)/maxRotation)
	type turn struct {
		at        float64
		candidate uint16
	}
	var round []turn
	for i, s := range candidates {
		n := max(1, s.weight/unit)
		for k := range n {
			round = append(round, turn{(float64(k) + 0.5) / float64(n), uint16(i)})
		}
	}
	slices.SortStableFunc(round, func(a, b turn) int { return cmp.Compare(a.at, b.at) })
	rotation := make([]uint16, len(round))
	for i, t := range round {
		rotation[i] = t.candidate
	}
	return rotation
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// choose names the candidate for a request. key is what hash goes by, 0 if the request has nothing to go by.
func (r *picker) choose(key uint64) *candidate {
	if len(r.candidates) == 1 {
		return &r.candidates[0]
	}
	switch {
	case r.balance == roundRobin:
		return &r.candidates[r.rotation[r.load.next.Add(1)%uint32(len(r.rotation))]]
	case r.balance == leastRequests:
		return r.leastBusy()
	case r.balance == hashed && key != 0:
		return r.byHash(key)
	}
	return r.lessBusyOfTwo()
}

// drawByWeight is the number of a candidate, the likelier the more it weighs.
func (r *picker) drawByWeight() int {
	n := rand.Uint64()
	i := int(n >> 32 * uint64(len(r.columns)) >> 32)
	if uint32(n) <= r.columns[i].threshold {
		return i
	}
	return int(r.columns[i].alias)
}

// lessBusyOfTwo is the less busy of two candidates drawn by weight: close to the best of all, and no herd.
func (r *picker) lessBusyOfTwo() *candidate {
	a := r.drawByWeight()
	b := r.drawByWeight()
	for again := 0; b == a; again++ {
		if again == 3 || len(r.candidates) == 2 { // two of a heavy one in a row are likely
			b = (a + 1) % len(r.candidates)
		} else {
			b = r.drawByWeight()
		}
	}
	if r.candidates[b].busier(&r.candidates[a]) < 0 {
		return &r.candidates[b]
	}
	return &r.candidates[a]
}

// leastBusy is the least busy candidate, and of equals one drawn by weight.
func (r *picker) leastBusy() *candidate {
	first := r.drawByWeight()
	best := &r.candidates[first]
	if len(r.candidates) <= scanAtMost {
		for i := 1; i < len(r.candidates); i++ {
			if s := &r.candidates[(first+i)%len(r.candidates)]; s.busier(best) < 0 {
				best = s
			}
		}
		return best
	}
	for range sampleSize - 1 {
		if s := &r.candidates[r.drawByWeight()]; s.busier(best) < 0 {
			best = s
		}
	}
	return best
}

// busier compares what two candidates have to do, by their weights: negative if s has less than t.
func (s *candidate) busier(t *candidate) int64 {
	return s.busy()*t.weight - t.busy()*s.weight
}

const (
	// hashSlots is how finely keys are spread. Each slot belongs to the winner of a weighted rendezvous, so an
	// upstream that goes takes only its own slots along. The winners are computed when the picker changes: a
	// hundred contests would cost each request ten times what it may.
	hashSlots = 4096
	// The load of an upstream is bounded: what exceeds its share of the requests in flight by a quarter, and
	// spareLoad, spills over to the next of its key.
	loadQuarters = 5
	spareLoad    = 4
)

// newSlots holds the rendezvous of each slot: the highest of -w/ln(h), h in (0,1) by upstream and slot.
func newSlots(candidates []candidate) []uint16 {
	slots := make([]uint16, hashSlots)
	for slot := range slots {
		best := math.Inf(-1)
		for i := range candidates {
			h := float64(mix(candidates[i].hashSeed^mix(uint64(slot)+1))>>11|1) / (1 << 53)
			if score := -float64(candidates[i].weight) / math.Log(h); score > best {
				best, slots[slot] = score, uint16(i)
			}
		}
	}
	return slots
}

// byHash is the candidate of a key, or the next of its candidates that is not over its bound.
func (r *picker) byHash(key uint64) *candidate {
	all := r.load.inflight.Load() + 1
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
