package proxy

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// How a pool chooses, as configured. What is neither is p2c.
const (
	roundRobin    = "round_robin"
	leastRequests = "least_requests"
	hashed        = "hash"
)

// Choosing must cost next to nothing with a hundred upstreams, so what can be computed when the roster
// changes is: a draw by weight, a turn and a hash's place are one step each.
const (
	scanned   = 16   // least_requests looks at all of so many upstreams, and
	sampled   = 6    // at so many drawn by weight of more, which is within a few percent of the least busy
	mostTurns = 4096 // of a round, however the weights relate
	fullSeat  = 64   // a weight of 1 in the roster, so that a slow start has steps
)

// A roster is who gets requests now. It never changes: a change of health makes another one.
type roster struct {
	balance string
	seats   []seat
	total   int64       // of the seats' weights
	draws   []draw      // one a seat
	turns   []uint16    // seats in the order of their turns
	slots   []uint16    // the seat of each slot that a hash may fall into
	rest    []*Upstream // who look sick, but not as if they were not there: the last resort
}

type seat struct {
	*Upstream
	weight int64 // by fullSeat
}

// draw is one column of Vose's alias table: its own seat below the bar, the alias above.
type draw struct {
	bar   uint32
	alias uint16
}

// newRoster makes the roster of these seats.
func newRoster(balance string, seats []seat) *roster {
	r := &roster{balance: balance, seats: seats}
	for _, s := range seats {
		r.total += s.weight
	}
	if len(seats) == 0 {
		return r
	}
	r.draws = newDraws(seats, r.total)
	switch balance {
	case roundRobin:
		r.turns = newTurns(seats, r.total)
	case hashed:
		r.slots = newSlots(seats)
	}
	return r
}

// newDraws builds the alias table: each column holds one mean weight, of its own seat and of one other.
func newDraws(seats []seat, total int64) []draw {
	draws := make([]draw, len(seats))
	left := make([]float64, len(seats))
	var poor, rich []int
	for i, s := range seats {
		left[i] = float64(s.weight) * float64(len(seats)) / float64(total)
		if left[i] < 1 {
			poor = append(poor, i)
		} else {
			rich = append(rich, i)
		}
	}
	for len(poor) > 0 && len(rich) > 0 {
		p, r := poor[len(poor)-1], rich[len(rich)-1]
		poor = poor[:len(poor)-1]
		draws[p] = draw{bar: uint32(left[p] * math.MaxUint32), alias: uint16(r)}
		if left[r] -= 1 - left[p]; left[r] < 1 {
			rich = rich[:len(rich)-1]
			poor = append(poor, r)
		}
	}
	for _, i := range append(poor, rich...) {
		draws[i] = draw{bar: math.MaxUint32, alias: uint16(i)}
	}
	return draws
}

// newTurns spreads each seat's turns evenly over the round: a seat of twice the weight has two, not in a row.
func newTurns(seats []seat, total int64) []uint16 {
	unit := seats[0].weight
	for _, s := range seats {
		unit = gcd(unit, s.weight)
	}
	unit = max(unit, (total+mostTurns-1)/mostTurns)
	type turn struct {
		at   float64
		seat uint16
	}
	var round []turn
	for i, s := range seats {
		n := max(1, s.weight/unit)
		for k := range n {
			round = append(round, turn{(float64(k) + 0.5) / float64(n), uint16(i)})
		}
	}
	slices.SortStableFunc(round, func(a, b turn) int { return cmp.Compare(a.at, b.at) })
	turns := make([]uint16, len(round))
	for i, t := range round {
		turns[i] = t.seat
	}
	return turns
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// choose names the seat for a request. key is what hash goes by, 0 if the request has nothing to go by.
func (r *roster) choose(p *Pool, key uint64) *seat {
	if len(r.seats) == 1 {
		return &r.seats[0]
	}
	switch {
	case r.balance == roundRobin:
		return &r.seats[r.turns[p.turn.Add(1)%uint32(len(r.turns))]]
	case r.balance == leastRequests:
		return r.least()
	case r.balance == hashed && key != 0:
		return r.place(p, key)
	}
	return r.lessBusy()
}

// drawn is the number of a seat drawn by weight.
func (r *roster) drawn() int {
	n := rand.Uint64()
	i := int(n >> 32 * uint64(len(r.draws)) >> 32)
	if uint32(n) <= r.draws[i].bar {
		return i
	}
	return int(r.draws[i].alias)
}

// lessBusy takes the less busy of two seats drawn by weight: close to the best of all, and no herd.
func (r *roster) lessBusy() *seat {
	a := r.drawn()
	b := r.drawn()
	for again := 0; b == a; again++ {
		if again == 3 || len(r.seats) == 2 { // two of a heavy one in a row are likely
			b = (a + 1) % len(r.seats)
		} else {
			b = r.drawn()
		}
	}
	if r.seats[b].busier(&r.seats[a]) < 0 {
		return &r.seats[b]
	}
	return &r.seats[a]
}

// least takes the least busy seat, and of equals one drawn by weight.
func (r *roster) least() *seat {
	first := r.drawn()
	best := &r.seats[first]
	if len(r.seats) <= scanned {
		for i := 1; i < len(r.seats); i++ {
			if s := &r.seats[(first+i)%len(r.seats)]; s.busier(best) < 0 {
				best = s
			}
		}
		return best
	}
	for range sampled - 1 {
		if s := &r.seats[r.drawn()]; s.busier(best) < 0 {
			best = s
		}
	}
	return best
}

// busier compares what two seats have to do, by their weights: negative if s has less than t.
func (s *seat) busier(t *seat) int64 {
	return s.inflight.Load()*t.weight - t.inflight.Load()*s.weight
}
