package proxy

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"aigateway/gateway/config"
	"aigateway/gateway/testkit"
)

// A pool's queue under loads that are worse than any pool should see, in scripted time: a simulated hour takes a moment, and comes
// out the same every time. What was refused on arrival is followed as well, to know when it would have had its turn.

// A crowd is a tenant and what it asks for.
type crowd struct {
	weight   float64
	class    Class
	rate     func(at float64) float64 // requests a second; nil: one at a time
	most     float64                  // of rate
	think    time.Duration            // between two of one at a time
	cost     func(r *rand.Rand) int64 // nil: nothing is known of it
	patience func(r *rand.Rand) time.Duration

	waits         []time.Duration // of those that had a turn
	came          int
	served        float64 // cost
	met, late     int     // of those that waited: had a turn, had none in time
	full          int     // found no room, or were put out
	refused       int     // on arrival, by how fast the queue gets on
	refusedRight  int     // of those, would have waited in vain
	longestUnfair time.Duration
}

// An admission is one simulation.
type admission struct {
	q       *queue
	random  *rand.Rand
	places  int
	service func(r *rand.Rand, cost int64) time.Duration
	crowds  []*crowd
	follow  bool // those that are refused on arrival

	now    time.Duration
	free   int
	events events
	of     map[*waiter]*crowd
	ghosts []ghost
}

// A ghost was refused on arrival.
type ghost struct {
	w   *waiter
	of  *crowd
	tag float64
}

type event struct {
	at time.Duration
	do func()
}

type events []event

func (e events) Len() int           { return len(e) }
func (e events) Less(i, j int) bool { return e[i].at < e[j].at }
func (e events) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)        { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

func (a *admission) after(d time.Duration, do func()) { heap.Push(&a.events, event{a.now + d, do}) }

// run simulates that time.
func (a *admission) run(t *testing.T, size int, wait, length time.Duration) {
	if testkit.Race {
		t.Skip("one goroutine does it all, and the race detector makes it slow")
	}
	a.q = newQueue(config.Pool{Queue: config.Queue{Size: size, Wait: wait}})
	a.q.clock = func() time.Duration { return a.now }
	a.random, a.now, a.free, a.of = rand.New(rand.NewPCG(7, 7)), time.Hour, a.places, make(map[*waiter]*crowd)
	for i, c := range a.crowds {
		if c.rate == nil {
			a.after(0, func() { a.arrive(uint64(i), c) })
			continue
		}
		a.after(a.gap(c), func() { a.flow(uint64(i), c) })
	}
	end := a.now + length
	for len(a.events) > 0 && a.events[0].at < end {
		e := heap.Pop(&a.events).(event)
		a.now = e.at
		e.do()
	}
}

// gap is the time to the next request of a crowd at its highest rate.
func (a *admission) gap(c *crowd) time.Duration {
	return fromSeconds(a.random.ExpFloat64() / c.most)
}

func (a *admission) flow(tenant uint64, c *crowd) {
	if a.random.Float64()*c.most < c.rate((a.now - time.Hour).Seconds()) {
		a.arrive(tenant, c)
	}
	a.after(a.gap(c), func() { a.flow(tenant, c) })
}

func (a *admission) arrive(tenant uint64, c *crowd) {
	c.came++
	w := &waiter{woken: make(chan struct{}, 1), exchange: &Exchange{}, tenant: tenant, weight: c.weight, rank: c.class.rank(), since: a.now, found: Busy}
	if c.cost != nil {
		w.cost = c.cost(a.random)
	}
	if c.patience != nil {
		w.until = a.now + c.patience(a.random)
	}
	if a.free > 0 && a.q.length.Load() == 0 {
		a.start(w, c)
		return
	}
	a.of[w] = c
	tag := a.tagOf(w)
	switch why := a.q.enter(w, a.now); why {
	case notShed:
		a.after(w.deadline-a.now+1, func() { a.expire(w) })
	case shedDeadline:
		if c.refused++; a.follow {
			a.ghosts = append(a.ghosts, ghost{w, c, tag})
		}
		a.again(w, c)
	default:
		c.full++
		a.again(w, c)
	}
}

// again has a crowd that asks for one at a time ask for the next.
func (a *admission) again(w *waiter, c *crowd) {
	if c.rate == nil {
		a.after(time.Duration(a.random.ExpFloat64()*float64(c.think)), func() { a.arrive(w.tenant, c) })
	}
}

// tagOf is the tag of a tenant if it came now.
func (a *admission) tagOf(w *waiter) float64 {
	l := &a.q.lines[w.rank]
	if f := l.flows.find(w.tenant); f != nil {
		return max(f.tag, l.at)
	}
	return l.at
}

func (a *admission) expire(w *waiter) {
	c := a.of[w]
	if c == nil {
		return
	}
	if w.flow != nil {
		a.q.expire(w, a.now)
		c.late++
	} else {
		c.full++ // put out
	}
	delete(a.of, w)
	a.again(w, c)
}

func (a *admission) start(w *waiter, c *crowd) {
	a.free--
	c.waits = append(c.waits, a.now-w.since)
	c.met++
	c.served += float64(w.cost)
	a.after(a.service(a.random, w.cost), func() {
		a.free++
		a.again(w, c)
		a.handOut()
	})
}

func (a *admission) handOut() {
	for a.free > 0 {
		w := a.q.next(a.now)
		a.judgeGhosts(w)
		if w == nil {
			return
		}
		c := a.of[w]
		delete(a.of, w)
		a.noteUnfair(w, c)
		a.q.serve(w, a.now)
		if w.deadline < a.now {
			panic("it is served after its time")
		}
		a.start(w, c)
	}
}

// noteUnfair notes how long a class had no turn while a more urgent one had.
func (a *admission) noteUnfair(w *waiter, c *crowd) {
	l := &a.q.lines[w.rank]
	c.longestUnfair = max(c.longestUnfair, a.now-max(l.drain.last, time.Hour))
}

// judgeGhosts decides about those that were refused on arrival: whose time is over would have waited in vain, and who would have
// the turn instead of w would not.
func (a *admission) judgeGhosts(w *waiter) {
	a.ghosts = slices.DeleteFunc(a.ghosts, func(g ghost) bool {
		switch {
		case g.w.deadline < a.now:
			g.of.refusedRight++
		case w == nil || g.before(w, a.q):
		default:
			return false
		}
		return true
	})
}

// before tells whether the ghost would have the turn of w.
func (g ghost) before(w *waiter, q *queue) bool {
	if g.w.rank != w.rank {
		return g.w.rank < w.rank
	}
	tag, l := g.tag, &q.lines[g.w.rank]
	if f := l.flows.find(g.w.tenant); f != nil && f.first != nil {
		if f.first.since < g.w.since {
			return false
		}
		tag = f.tag
	}
	return tag < w.flow.tag || w.tenant == g.w.tenant
}

func percentile(of []time.Duration, p float64) time.Duration {
	of = slices.Sorted(slices.Values(of))
	if len(of) == 0 {
		return 0
	}
	return of[min(len(of)-1, int(p*float64(len(of))))]
}

func always(rate float64) func(float64) float64 { return func(float64) float64 { return rate } }

func exponential(mean time.Duration) func(*rand.Rand, int64) time.Duration {
	return func(r *rand.Rand, _ int64) time.Duration { return time.Duration(r.ExpFloat64() * float64(mean)) }
}

func fixed(d time.Duration) func(*rand.Rand, int64) time.Duration {
	return func(*rand.Rand, int64) time.Duration { return d }
}

// A floods with a hundred times what B asks for, which waits until whoever has a place is done with it: where there is one place, and
// times are exponential, that is 4.6 of them in one case of a hundred, with any queue.
func TestAdmissionFloods(t *testing.T) {
	for _, places := range []int{1, 8} {
		for name, service := range map[string]func(*rand.Rand, int64) time.Duration{"fixed": fixed(time.Second), "exponential": exponential(time.Second)} {
			b := 0.05 * float64(places)
			flood := &crowd{weight: 1, rate: always(100 * b), most: 100 * b}
			other := &crowd{weight: 1, think: fromSeconds(1 / b)}
			a := &admission{places: places, service: service, crowds: []*crowd{flood, other}}
			a.run(t, 64, 30*time.Second, 15*time.Minute)
			p99, turns := percentile(other.waits, 0.99), float64(other.met)/float64(other.came)
			t.Logf("%d places, %-11s: B waits %.2f service times (p99), has %.4f of what it asks for; A %.3f, waits %.1f", places, name, p99.Seconds(), turns,
				float64(flood.met)/float64(flood.came), percentile(flood.waits, 0.5).Seconds())
			if bound := 2 * time.Second; p99 > bound && (name == "fixed" || places > 1) || turns < 0.999 {
				t.Errorf("%d places, %s: B waits %v, and has %.4f of what it asks for", places, name, p99, turns)
			}
		}
	}
}

// jain is Jain's index: 1 if all are equal.
func jain(of []float64) float64 {
	sum, squares := 0.0, 0.0
	for _, x := range of {
		sum += x
		squares += x * x
	}
	return sum * sum / (float64(len(of)) * squares)
}

func TestAdmissionShares(t *testing.T) {
	f := func(name string, weights []float64, cost func(r *rand.Rand) int64) {
		t.Helper()
		a := &admission{places: 8, service: func(r *rand.Rand, cost int64) time.Duration {
			return time.Duration(float64(cost) * (0.5 + r.Float64()) * float64(time.Millisecond))
		}}
		total := 0.0
		for i, w := range weights {
			rate := 4 * float64(i+1) // from twice its share to far above it
			a.crowds = append(a.crowds, &crowd{weight: w, rate: always(rate), most: rate, cost: cost})
			total += w
		}
		a.run(t, 512, time.Minute, 4*time.Minute)
		all, shares, worst := 0.0, []float64(nil), 0.0
		for _, c := range a.crowds {
			all += c.served
		}
		for i, c := range a.crowds {
			share := c.served / all / (weights[i] / total)
			shares, worst = append(shares, share), max(worst, math.Abs(share-1))
		}
		t.Logf("%-22s Jain %.5f, worst %.2f %% from its share", name, jain(shares), 100*worst)
		if jain(shares) < 0.98 || worst > 0.02 {
			t.Errorf("%s: Jain %.4f, worst %.2f %%: %.3v", name, jain(shares), 100*worst, shares)
		}
	}
	same := func(*rand.Rand) int64 { return 500 }
	varied := func(r *rand.Rand) int64 { return int64(100 * math.Exp(3*r.Float64())) }
	f("8 equal", []float64{1, 1, 1, 1, 1, 1, 1, 1}, same)
	f("8 equal, costs vary", []float64{1, 1, 1, 1, 1, 1, 1, 1}, varied)
	f("8 of weights 1 to 4", []float64{1, 1, 2, 2, 3, 3, 4, 4}, same)
	f("the same, costs vary", []float64{1, 1, 2, 2, 3, 3, 4, 4}, varied)
}

// Urgent requests come faster than they can be served, for hours.
func TestAdmissionClasses(t *testing.T) {
	urgent := &crowd{weight: 1, class: ClassInteractive, rate: always(9.6), most: 9.6}
	usual := &crowd{weight: 1, class: ClassDefault, rate: always(0.4), most: 0.4}
	batch := &crowd{weight: 1, class: ClassBatch, rate: always(0.4), most: 0.4}
	a := &admission{places: 8, service: exponential(time.Second), crowds: []*crowd{urgent, usual, batch}}
	a.run(t, 10_000, 2*time.Minute, time.Hour)
	for _, c := range []*crowd{usual, batch} {
		share, longest := float64(c.met)/float64(c.came), percentile(c.waits, 1)
		t.Logf("%-8v waits %.1f s (p50), %.1f s at most, %.4f have their turn", c.class, percentile(c.waits, 0.5).Seconds(), longest.Seconds(), share)
		if c.longestUnfair > ageingBound+5*time.Second || longest > ageingBound+10*time.Second {
			t.Errorf("%v: %v without a turn, %v waited", c.class, c.longestUnfair, longest)
		}
		if share < 0.98 {
			t.Errorf("%v: only %.3f had their turn", c.class, share)
		}
	}
	if share := float64(urgent.met) / float64(urgent.came); share < 0.65 {
		t.Errorf("urgent: only %.3f had their turn", share)
	}
}

// Load comes in waves, and clients have very different patience.
func TestAdmissionDeadlines(t *testing.T) {
	waves := func(high, low float64) func(float64) float64 {
		return func(at float64) float64 {
			if math.Mod(at, 60) < 20 {
				return high
			}
			return low
		}
	}
	patience := func(r *rand.Rand) time.Duration { return fromSeconds(0.1 * math.Exp(r.Float64()*math.Log(300))) } // 0.1 to 30 s
	f := func(name string, service func(*rand.Rand, int64) time.Duration, crowds ...*crowd) {
		t.Helper()
		a := &admission{places: 16, service: service, crowds: crowds, follow: true}
		a.run(t, 5000, 30*time.Second, 30*time.Minute)
		refused, right, late, met := 0, 0, 0, 0
		for _, c := range crowds {
			refused, right, late, met = refused+c.refused, right+c.refusedRight, late+c.late, met+c.met
		}
		precision, recall := float64(right)/float64(refused), float64(right)/float64(right+late)
		t.Logf("%-34s %6d had their turn, %5d refused on arrival, of those %.1f %% rightly; %4d waited in vain, %.1f %% of all that would were refused",
			name, met, refused, 100*precision, late, 100*recall)
		if precision < 0.95 || recall < 0.80 {
			t.Errorf("%s: %.3f, %.3f", name, precision, recall)
		}
	}
	one := func() *crowd { return &crowd{weight: 1, rate: waves(60, 4), most: 60, patience: patience} }
	f("one tenant, fixed times", fixed(500*time.Millisecond), one())
	f("one tenant, exponential", exponential(500*time.Millisecond), one())
	many := func() (all []*crowd) {
		for i := range 10 {
			rate := 2 * float64(1+i%3)
			all = append(all, &crowd{weight: float64(1 + i%2), rate: waves(2*rate, rate/10), most: 2 * rate, patience: patience})
		}
		return all
	}
	f("ten tenants, exponential", exponential(500*time.Millisecond), many()...)
	f("a flood beside three", exponential(500*time.Millisecond), append(many()[:3], &crowd{weight: 1, rate: waves(50, 1), most: 50, patience: patience})...)
	classes := many()[:6]
	for i, c := range classes {
		c.class = Classes[i%3]
	}
	classes[5].rate, classes[5].most = waves(40, 2), 40
	f("six tenants of three classes", exponential(500*time.Millisecond), classes...)
	priced := many()
	for _, c := range priced {
		c.cost = func(r *rand.Rand) int64 { return int64(50 * math.Exp(3*r.Float64())) }
	}
	f("ten tenants, times follow costs", func(r *rand.Rand, cost int64) time.Duration {
		return time.Duration(float64(cost) / 318 * (0.8 + 0.4*r.Float64()) * 0.5 * float64(time.Second))
	}, priced...)
}

// Where all are of the same patience, and too many all the time, the queue is always as long as they bear: each of them is on the edge,
// and nobody can know whether he would have his turn. But no place is idle, and who goes without mostly knows at once.
func TestAdmissionDeadlinesOnTheEdge(t *testing.T) {
	c := &crowd{weight: 1, rate: always(40), most: 40, patience: func(*rand.Rand) time.Duration { return 5 * time.Second }}
	a := &admission{places: 16, service: exponential(500 * time.Millisecond), crowds: []*crowd{c}}
	a.run(t, 5000, 30*time.Second, 30*time.Minute)
	busy, atOnce := float64(c.met)/(32*30*60), float64(c.refused)/float64(c.refused+c.late)
	t.Logf("places are busy for %.1f %% of the time; of those that go without, %.1f %% know at once", 100*busy, 100*atOnce)
	if busy < 0.98 || atOnce < 0.8 {
		t.Errorf("busy %.3f, at once %.3f", busy, atOnce)
	}
}
