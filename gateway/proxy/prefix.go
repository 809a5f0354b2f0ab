package proxy

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"sync/atomic"
)

// A prompt that begins as an earlier one did costs its engine only the rest, if it goes to the engine that has read the earlier
// one: engines keep what they have computed of prompts in a cache of blocks. Which upstream has lately read what is remembered here, by
// chained hashes of the prompt's beginning, where each stands for a block and all before it.
const (
	prefixTable = 1 << 20 // bytes, of each pool
	prefixWays  = 8       // entries of a set: one line of the processor's cache
	prefixSets  = prefixTable / 8 / prefixWays

	// An entry is 40 bits of the hash, 12 of the upstream's place and 12 of when it was noted, in units of 256 blocks: with the time
	// around once, the table has been filled eight times.
	tagShift   = 24
	placeShift = 12
	maxPlaces  = 1 << 12
	stampMask  = 1<<12 - 1
	stampShift = 8
)

// A prefixes remembers which upstream has read which blocks. It never grows; of a set that is full, the oldest entry is
// replaced. What it says is a guess: an engine may have forgotten, and two requests at once may cost each other an entry. The hashes
// that come in are the same for all replicas; its own are of a key that nobody knows, so that nobody can choose whose entries to push out.
type prefixes struct {
	key     uint64
	blocks  atomic.Uint32 // noted so far
	entries [prefixSets * prefixWays]atomic.Uint64
}

func newPrefixes() *prefixes { return &prefixes{key: rand.Uint64()} }

func tagOf(h uint64) uint64 { return max(1, h>>tagShift) }

func (t *prefixes) set(h uint64) []atomic.Uint64 {
	from := h % prefixSets * prefixWays
	return t.entries[from : from+prefixWays]
}

// note remembers that the upstream at that place has read a prompt which begins so.
func (t *prefixes) note(prompt []uint64, place uint16) {
	if place >= maxPlaces {
		return
	}
	now := uint64(t.blocks.Add(uint32(len(prompt)))) >> stampShift & stampMask
	touched := uint64(0)
	for _, h := range prompt { // all at once: a store waits for what is loaded before it
		touched ^= t.set(mix(h ^ t.key))[0].Load()
	}
	for _, h := range prompt {
		t.put(mix(h^t.key), uint64(place), now)
	}
	runtime.KeepAlive(touched)
}

func (t *prefixes) put(h, place, now uint64) {
	set := t.set(h)
	entry := tagOf(h)<<tagShift | place<<placeShift | now
	oldest, most := 0, uint64(0)
	for i := range set {
		e := set[i].Load()
		if e>>placeShift == entry>>placeShift {
			if e != entry {
				set[i].Store(entry)
			}
			return
		}
		age := (now-e)&stampMask + 1
		if e == 0 {
			age = stampMask + 2
		}
		if age > most {
			oldest, most = i, age
		}
	}
	set[oldest].Store(entry)
}

// forget takes out what the upstream at that place has read: it has begun anew, or another one has its place.
func (t *prefixes) forget(place uint16) {
	if t.blocks.Load() == 0 {
		return
	}
	for i := range t.entries {
		if e := t.entries[i].Load(); e != 0 && e>>placeShift&(maxPlaces-1) == uint64(place) {
			t.entries[i].CompareAndSwap(e, 0)
		}
	}
}

// noCandidate stands where a place is nobody's who gets requests now.
const noCandidate = 1<<16 - 1

// numberCandidates lets the picker find the candidates of the table's places.
func (r *picker) numberCandidates() {
	for i, s := range r.candidates {
		for len(r.byPlace) <= int(s.place) {
			r.byPlace = append(r.byPlace, noCandidate)
		}
		r.byPlace[s.place] = uint16(i)
	}
}

// readers are the candidates that have read the block of that hash and all before it.
type readers struct {
	n   int
	who [prefixWays]uint16
}

// readersOf looks one block up.
func (r *picker) readersOf(h uint64) (found readers) {
	t := r.load.prefixes
	h = mix(h ^ t.key)
	tag := tagOf(h)
	set := t.set(h)
	for i := range set {
		e := set[i].Load()
		if e>>tagShift != tag {
			continue
		}
		if place := e >> placeShift & (maxPlaces - 1); place < uint64(len(r.byPlace)) {
			if c := r.byPlace[place]; c != noCandidate {
				found.who[found.n] = c
				found.n++
			}
		}
	}
	return found
}

// longest finds how many blocks of the prompt a candidate has read at most, and which candidates have. Who has read a block has read
// those before it. Most conversations have grown by a block, and of what is new nobody has read the first one; so these are looked at before others,
// which are found from the end by steps that double, and the place between by halves.
func (r *picker) longest(prompt []uint64) (depth int, found readers) {
	n := len(prompt)
	for at := n; at > max(0, n-2); at-- {
		if found = r.readersOf(prompt[at-1]); found.n > 0 {
			return at, found
		}
	}
	if n <= 2 {
		return 0, found
	}
	if found = r.readersOf(prompt[0]); found.n == 0 {
		return 0, found
	}
	depth, missing := 1, n-1
	for step := 2; missing-step > depth; step *= 2 {
		some := r.readersOf(prompt[missing-step-1])
		if some.n > 0 {
			depth, found = missing-step, some
			break
		}
		missing -= step
	}
	for missing-depth > 1 {
		at := (depth + missing) / 2
		if some := r.readersOf(prompt[at-1]); some.n > 0 {
			depth, found = at, some
		} else {
			missing = at
		}
	}
	return depth, found
}

// How a request with a prompt came to its upstream.
const (
	byMatch = iota // it has read the beginning of the prompt
	byGuess        // nobody has: it is where all replicas would send the first one
	bySpill        // who has read it has too much to do
	choices
)

// byPrefix is the candidate for a prompt.
func (r *picker) byPrefix(prompt []uint64) *candidate {
	if len(prompt) == 0 {
		return r.lessBusyOfTwo()
	}
	depth, found := r.longest(prompt)
	r.load.blocks.Add(int64(len(prompt)))
	all, way := r.all(), byMatch
	s := r.guess(prompt[depth:], found, all)
	switch {
	case s != nil && depth == 0:
		way = byGuess
	case s == nil && depth > 0:
		if s = r.leastBusyOf(found, all); s == nil {
			way = bySpill
		}
	case s == nil:
		way = byGuess
	}
	if s == nil {
		s = r.lessBusyOfTwo()
	}
	if way == byMatch {
		r.load.found.Add(int64(depth))
	}
	r.load.ways[way].Add(1)
	r.give(s, int64(len(prompt)))
	return s
}

// What upstreams were given to read lately is counted in blocks. Conversations go on where they began, so who gets the new ones is who has been given
// less than others, and not only who has less to do at the moment.
const (
	latelyEach  = 1024 // blocks of each upstream, in the mean, after which all counts are halved
	latelySpare = 2    // blocks above its share that may have been given to an upstream which is to begin another conversation
)

// give notes that a candidate is given a prompt of so many blocks.
func (r *picker) give(s *candidate, blocks int64) {
	s.lately.Add(blocks)
	if r.load.lately.Add(blocks) <= latelyEach*int64(len(r.candidates)) {
		return
	}
	left := int64(0)
	for i := range r.candidates {
		u := r.candidates[i].Upstream
		u.lately.Store(u.lately.Load() / 2) // what is given meanwhile is lost, which is little
		left += u.lately.Load()
	}
	r.load.lately.Store(left)
}

// mayBegin tells whether a candidate has not been given more than its share lately.
func (r *picker) mayBegin(s *candidate) bool {
	return (s.lately.Load()-latelySpare)*r.total <= r.load.lately.Load()*s.weight
}

// less compares what two candidates have to do, and of equals what they were given lately.
func (s *candidate) less(t *candidate) bool {
	d := s.busier(t)
	return d < 0 || d == 0 && s.lately.Load()*t.weight < t.lately.Load()*s.weight
}

// guess is where all replicas would send what of a prompt nobody has read, without talking: the winner of a rendezvous by its first block. If several
// have read what goes before, as of a system prompt that many share, only one of them will do. Nil: nobody has that claim, or who has is busier than others.
func (r *picker) guess(unread []uint64, found readers, all int64) *candidate {
	if len(unread) == 0 || found.n == 1 {
		return nil
	}
	at := unread[0]
	for range guesses {
		c := r.slots[at%hashSlots]
		s := &r.candidates[c]
		if (found.n == 0 || slices.Contains(found.who[:found.n], c)) && r.bears(s, all, spareGuess) && r.mayBegin(s) {
			return s
		}
		at = mix(at)
	}
	return nil
}

// leastBusyOf is the least busy of those that have read a prompt; nil if all have too much to do.
func (r *picker) leastBusyOf(found readers, all int64) (best *candidate) {
	from := 0
	if found.n > 1 {
		from = rand.IntN(found.n)
	}
	for i := range found.n {
		s := &r.candidates[found.who[(from+i)%found.n]]
		if r.bears(s, all, spareLoad) && (best == nil || s.less(best)) {
			best = s
		}
	}
	return best
}

// all is what the candidates have to do, together.
func (r *picker) all() (sum int64) {
	if !r.some {
		return r.load.inflight.Load() + r.load.told.Load()
	}
	for i := range r.candidates {
		sum += r.candidates[i].busy()
	}
	return sum
}

const (
	spareGuess = 1 // is spareLoad for an upstream that nothing speaks for but a hash
	guesses    = 6 // how many winners are looked at, one after the other
)

// bears tells whether a candidate's load is bounded, all being that of the pool, and its engine takes more: at most a quarter above its share,
// and so many requests.
func (r *picker) bears(s *candidate, all, spare int64) bool {
	return 4*(s.busy()-spare)*r.total <= loadQuarters*all*s.weight && !s.told.Load().vetoes(s.inflight.Load())
}

// Choices is how requests with a prompt came to their upstreams, and how much of the prompts those had read before.
type Choices struct {
	Matched, Guessed, Spilled int64 // by what it had read; by a hash, nobody had read it; who had read it had too much to do
	Blocks, Known             int64 // of 1 KB: of all prompts, and of these known to the upstream that was chosen
}

// Choices of a pool that does not go by prefix are zero, and so are those of no pool.
func (p *Pool) Choices() Choices {
	if p == nil {
		return Choices{}
	}
	l := &p.load
	return Choices{l.ways[byMatch].Load(), l.ways[byGuess].Load(), l.ways[bySpill].Load(), l.blocks.Load(), l.found.Load()}
}

// number gives the upstreams that have no place of their own in the pool's table one: those that are new, and all if the pool did not go by prefix
// before. The table forgets who had it.
func (p *Pool) number(fresh []*Upstream) {
	if p.load.prefixes == nil {
		return
	}
	var taken [maxPlaces]bool
	var without []*Upstream
	for _, u := range p.Upstreams {
		if u.place >= maxPlaces || taken[u.place] || slices.Contains(fresh, u) {
			without = append(without, u)
		} else {
			taken[u.place] = true
		}
	}
	next := 0
	for _, u := range without {
		for next < maxPlaces && taken[next] {
			next++
		}
		u.place = uint16(next) // maxPlaces: it is not remembered
		p.load.prefixes.forget(u.place)
		next = min(maxPlaces, next+1)
	}
}
