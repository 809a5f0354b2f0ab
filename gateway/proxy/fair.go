package proxy

import (
	"math"
	"time"
)

// A line is who waits of one class, tenant by tenant, in the order of start-time fair queueing (P. Goyal, H. Vin, H. Chen, SIGCOMM
// 1996): each tenant has a tag, the turn goes to the lowest, and whoever had it is set back by what it cost divided by its
// weight. A tenant that has not waited for a while begins where the line is, so that it can save nothing up, and one that goes
// and comes back finds its tag as it left it.
//
// Where the line is, is the tag of the last turn, and moves on with every turn besides, a little less than all who wait do
// together (as in WF²Q+, J. Bennett and H. Zhang 1997): else tenants that come for one turn each, one after the other, would hold it,
// and keep everybody out who has had one.
type line struct {
	heap    []*flow // by tag: those that wait, and those whose tag is not yet of the past
	flows   flows
	at      float64 // where the line is
	turns   uint64  // of equal tags, the older one goes first
	weights float64 // of those that wait, together
	waiting int
	cost    int64 // of all that wait
	absent  int   // flows in the heap of which nobody waits
	longest *flow // the one with the most in it, or nearly so; nil: none
	drain   meter // what has had its turn while somebody waited
}

// A flow is who waits of one tenant, in the order in which they came.
type flow struct {
	tenant      uint64
	weight      float64
	tag         float64
	order       uint64  // among equal tags
	first, last *waiter // nil: nobody waits
	length      int
	cost        int64 // of those that wait
	drain       meter // what has had its turn while somebody waited
	index       int   // in the heap
	chained     *flow // the next with the same hash
}

// mostAbsent bounds the memory for tenants of whom nobody waits.
const mostAbsent = 4096

// enter puts w behind those of its tenant that came before it.
func (l *line) enter(w *waiter, at time.Duration) {
	f := l.flows.find(w.tenant)
	switch {
	case f == nil:
		f = l.flows.add(w.tenant)
		l.setTag(f, l.at)
		l.push(f)
	case f.first == nil:
		l.absent--
		if f.tag < l.at {
			l.setTag(f, l.at)
			l.down(f.index)
		}
	}
	if f.first == nil {
		f.drain.begin(at)
	} else {
		l.weights -= f.weight
	}
	if l.waiting == 0 {
		l.drain.begin(at)
	}
	f.weight = w.weight
	l.weights += f.weight
	f.insert(w)
	l.waiting++
	l.cost += w.cost
	if l.longest == nil || f.length > l.longest.length {
		l.longest = f
	}
}

// insert puts w behind those that came before it. Who has been away, at an upstream that was not there, comes back to the front.
func (f *flow) insert(w *waiter) {
	w.flow = f
	f.length++
	f.cost += w.cost
	switch before := f.last; {
	case before == nil:
		f.first, f.last = w, w
	case before.since <= w.since:
		w.prev, before.next, f.last = before, w, w
	default:
		after := f.first
		for after.since <= w.since {
			after = after.next
		}
		w.next, w.prev, after.prev = after, after.prev, w
		if w.prev == nil {
			f.first = w
		} else {
			w.prev.next = w
		}
	}
}

// leave takes w out. It costs its tenant nothing.
func (l *line) leave(w *waiter) {
	f := w.flow
	if w.prev == nil {
		f.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		f.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.next, w.prev, w.flow = nil, nil, nil
	f.length--
	f.cost -= w.cost
	l.waiting--
	l.cost -= w.cost
	if f.first != nil {
		return
	}
	l.weights -= f.weight
	if l.longest == f {
		l.longest = nil
	}
	if l.absent++; f.tag <= l.at || l.absent > mostAbsent {
		l.forget(f)
	}
	if l.waiting == 0 {
		l.clear()
	}
}

// serve takes w out, whose turn it is, and sets its tenant back.
func (l *line) serve(w *waiter, at time.Duration) {
	f := w.flow
	if f.first == w && f.index == 0 {
		l.at = max(f.tag, l.at+float64(w.cost)/(l.weights+f.weight))
	} // else others had to be passed over, and their turn is still to come
	l.setTag(f, f.tag+float64(w.cost)/f.weight)
	f.drain.add(at, w.cost)
	l.drain.add(at, w.cost)
	l.down(f.index)
	l.leave(w)
}

// next is whose turn it is; nil if nobody waits.
func (l *line) next() *waiter {
	for len(l.heap) > 0 {
		f := l.heap[0]
		if f.first != nil {
			return f.first
		}
		l.forget(f) // its time has come, and it was not there
	}
	return nil
}

// clear forgets everybody: nobody waits, so nobody is owed anything.
func (l *line) clear() {
	for _, f := range l.heap {
		l.flows.remove(f)
	}
	clear(l.heap)
	l.heap, l.at, l.turns, l.weights, l.absent, l.longest = l.heap[:0], 0, 0, 0, 0, nil
}

func (l *line) setTag(f *flow, tag float64) {
	l.turns++
	f.tag, f.order = tag, l.turns
}

// before tells whether the turn of f is before that of g.
func (f *flow) before(g *flow) bool { return f.tag < g.tag || f.tag == g.tag && f.order < g.order }

// forget takes out a flow of which nobody waits.
func (l *line) forget(f *flow) {
	l.absent--
	last := len(l.heap) - 1
	moved := l.heap[last]
	l.heap[f.index], moved.index = moved, f.index
	l.heap[last] = nil
	l.heap = l.heap[:last]
	if moved != f {
		l.up(moved.index)
		l.down(moved.index)
	}
	l.flows.remove(f)
}

func (l *line) push(f *flow) {
	f.index = len(l.heap)
	l.heap = append(l.heap, f)
	l.up(f.index)
}

func (l *line) up(i int) {
	f := l.heap[i]
	for i > 0 {
		parent := (i - 1) / 2
		if !f.before(l.heap[parent]) {
			break
		}
		l.heap[i] = l.heap[parent]
		l.heap[i].index = i
		i = parent
	}
	l.heap[i], f.index = f, i
}

func (l *line) down(i int) {
	f := l.heap[i]
	for {
		child := 2*i + 1
		if child >= len(l.heap) {
			break
		}
		if right := child + 1; right < len(l.heap) && l.heap[right].before(l.heap[child]) {
			child = right
		}
		if !l.heap[child].before(f) {
			break
		}
		l.heap[i] = l.heap[child]
		l.heap[i].index = i
		i = child
	}
	l.heap[i], f.index = f, i
}

// exactly is up to how many flows each of them is looked at, to say what has its turn before a newcomer.
const exactly = 64

// ahead is the cost of what has its turn before one that comes now to the flow f, or to none yet.
func (l *line) ahead(f *flow) float64 {
	tag, own := l.at, int64(0)
	if f != nil {
		tag, own = max(f.tag, l.at)+float64(f.cost)/f.weight, f.cost
	}
	if len(l.heap) > exactly {
		return min(float64(l.cost), float64(own)+(tag-l.at)*l.weights)
	}
	sum := float64(own)
	for _, g := range l.heap {
		if g != f && g.first != nil && g.tag < tag {
			one := float64(g.cost) / float64(g.length)
			sum += min(float64(g.cost), math.Ceil((tag-g.tag)*g.weight/one)*one)
		}
	}
	return sum
}

// flows finds the flow of a tenant. It is a hash table of chains, because a map allocates now and then when what is in it changes
// all the time.
type flows struct {
	chains []*flow // a power of two
	n      int
	spare  *flow // chained: those to be used again
}

func (t *flows) chain(tenant uint64) **flow { return &t.chains[tenant&uint64(len(t.chains)-1)] }

func (t *flows) find(tenant uint64) *flow {
	if t.n == 0 {
		return nil
	}
	for f := *t.chain(tenant); f != nil; f = f.chained {
		if f.tenant == tenant {
			return f
		}
	}
	return nil
}

func (t *flows) add(tenant uint64) *flow {
	if t.n == len(t.chains) {
		t.grow()
	}
	f := t.spare
	if f == nil {
		f = new(flow)
	} else {
		t.spare = f.chained
	}
	head := t.chain(tenant)
	*f = flow{tenant: tenant, chained: *head}
	*head = f
	t.n++
	return f
}

func (t *flows) grow() {
	old := t.chains
	t.chains = make([]*flow, max(16, 2*len(old)))
	for _, f := range old {
		for f != nil {
			next, head := f.chained, t.chain(f.tenant)
			f.chained, *head = *head, f
			f = next
		}
	}
}

func (t *flows) remove(f *flow) {
	at := t.chain(f.tenant)
	for *at != f {
		at = &(*at).chained
	}
	*at = f.chained
	t.n--
	f.chained, t.spare = t.spare, f
}
