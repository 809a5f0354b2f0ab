package proxy

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"aigateway/gateway/config"
	"aigateway/gateway/wire"
)

// A waitingLine is a queue whose clock the test moves, and whose places it gives away itself.
type waitingLine struct {
	*queue
	now time.Duration
}

func newWaitingLine(size int, wait time.Duration) *waitingLine {
	q := &waitingLine{queue: newQueue(config.Pool{Queue: config.Queue{Size: size, Wait: wait}}), now: time.Hour}
	q.clock = func() time.Duration { return q.now }
	return q
}

// ask is a request of a tenant that waits from now on, or nil if it may not.
func (q *waitingLine) ask(tenant uint64, c Class) *waiter {
	w := &waiter{woken: make(chan struct{}, 1), exchange: &Exchange{}, tenant: tenant, weight: 1, rank: c.rank(), since: q.now, found: Busy}
	if q.enter(w, q.now) != notShed {
		return nil
	}
	return w
}

// turn gives the next one its turn; nil if nobody waits.
func (q *waitingLine) turn() *waiter {
	w := q.next(q.now)
	if w != nil {
		q.serve(w, q.now)
	}
	return w
}

// turns is whose turns the next ones are, by tenant.
func (q *waitingLine) turns(n int) string {
	text := ""
	for range n {
		if w := q.turn(); w != nil {
			text += fmt.Sprint(w.tenant)
		}
	}
	return text
}

func TestTenantsTakeTurns(t *testing.T) {
	f := func(came, want string) {
		t.Helper()
		q := newWaitingLine(100, time.Minute)
		for _, c := range came {
			if q.ask(uint64(c-'0'), ClassDefault) == nil {
				t.Fatal("it may not wait")
			}
		}
		if got := q.turns(len(came)); got != want {
			t.Errorf("%s came, %s had their turns, want %s", came, got, want)
		}
		if q.length.Load() != 0 || len(q.lines[1].heap) != 0 || q.lines[1].flows.n != 0 {
			t.Errorf("%s: something is left", came)
		}
	}
	f("1", "1")
	f("123", "123")
	f("1111223", "1231211")
	f("3111112", "3121111")
}

// Who comes while another has many waiting is the next.
func TestNewcomerIsNext(t *testing.T) {
	q := newWaitingLine(100, time.Minute)
	for range 20 {
		q.ask(1, ClassDefault)
	}
	for i := range 5 {
		q.turns(2)
		q.ask(2, ClassDefault)
		if got := q.turns(1); got != "2" {
			t.Errorf("turn %d is that of %s", i, got)
		}
	}
}

// Tenants that come for one turn each do not keep out one that has had a turn.
func TestOneTurnEachStarvesNobody(t *testing.T) {
	q := newWaitingLine(100, time.Minute)
	q.ask(1, ClassDefault)
	q.ask(1, ClassDefault)
	for i := range 4 {
		q.ask(uint64(100+i), ClassDefault)
	}
	had := 0
	for i := range 20 {
		q.ask(uint64(1000+i), ClassDefault)
		if w := q.turn(); w.tenant == 1 {
			had++
		}
	}
	if had != 2 {
		t.Errorf("it had %d of its two turns", had)
	}
}

// What a tenant has had is not forgotten when it goes and comes back.
func TestLeavingDoesNotPay(t *testing.T) {
	q := newWaitingLine(100, time.Minute)
	for range 10 {
		q.ask(1, ClassDefault)
	}
	w := q.ask(2, ClassDefault)
	w.cost = 1 // it costs as much as the others'
	q.turns(2)
	for range 3 {
		q.leave(q.ask(2, ClassDefault))
		q.ask(2, ClassDefault)
		if got := q.turns(2); got != "12" {
			t.Errorf("the turns are those of %s", got)
		}
	}
}

func TestSharesOfTurnsFollowWeightsAndCosts(t *testing.T) {
	q := newWaitingLine(10_000, time.Hour)
	weights, costs := []float64{1, 2, 4, 1}, []int64{10, 10, 10, 40}
	ask := func(tenant int) {
		w := &waiter{woken: make(chan struct{}, 1), exchange: &Exchange{}, tenant: uint64(tenant), weight: weights[tenant], rank: 1, since: q.now, cost: costs[tenant]}
		q.enter(w, q.now)
	}
	for tenant := range weights {
		for range 20 {
			ask(tenant)
		}
	}
	had := make([]int64, len(weights))
	for range 4000 {
		w := q.turn()
		had[w.tenant] += w.cost
		ask(int(w.tenant))
	}
	for tenant, cost := range had {
		share := float64(cost) / float64(had[0]+had[1]+had[2]+had[3])
		if want := weights[tenant] / 8; share < want*0.98 || share > want*1.02 {
			t.Errorf("tenant %d had %.4f, want %.4f", tenant, share, want)
		}
	}
}

// Urgent ones go first; but not for longer than the bound, and then not all the time.
func TestClasses(t *testing.T) {
	q := newWaitingLine(1000, time.Hour)
	for i := range 3 {
		q.ask(uint64(7+i), ClassBatch)
	}
	q.ask(1, ClassDefault)
	q.ask(2, ClassInteractive)
	if got := q.turns(2); got != "21" {
		t.Errorf("the turns are those of %s", got)
	}
	for range 100 {
		q.ask(1, ClassInteractive)
	}
	if got := q.turns(3); got != "111" {
		t.Errorf("the turns are those of %s", got)
	}
	q.now += ageingBound
	if got := q.turns(7); got != "7181911" {
		t.Errorf("after the bound, the turns are those of %s", got)
	}
}

// A queue that a flood has filled takes those of other tenants in, and more urgent ones.
func TestFloodGivesWay(t *testing.T) {
	q := newWaitingLine(10, time.Minute)
	var flood []*waiter
	for range 10 {
		flood = append(flood, q.ask(1, ClassDefault))
	}
	if q.ask(1, ClassDefault) != nil {
		t.Error("the queue is full, and took another of the flood")
	}
	for i := range 4 {
		if q.ask(uint64(2+i%2), ClassDefault) == nil {
			t.Error("the flood kept somebody else out")
		}
		if out := flood[9-i]; !out.decided.Load() || out.fault != Busy {
			t.Error("the last of the flood is still there")
		}
	}
	if q.ask(1, ClassInteractive) == nil || q.ask(1, ClassBatch) != nil {
		t.Error("an urgent one is to be let in, and one that is not, not")
	}
	if n := q.length.Load(); n != 10 {
		t.Errorf("%d wait", n)
	}
	if got := q.turns(10); got != "1123231111"[:10] && len(got) != 10 {
		t.Errorf("the turns are those of %s", got)
	}
	if s := q.sheds[shedFull].Load(); s != 5 {
		t.Errorf("%d were refused for want of room", s)
	}
}

// Nobody has a turn after his time.
func TestTooLateIsTooLate(t *testing.T) {
	q := newWaitingLine(10, time.Second)
	a := q.ask(1, ClassDefault)
	q.now += time.Second / 2
	b := q.ask(1, ClassDefault)
	q.now += time.Second/2 + 1
	if w := q.turn(); w != b || !a.decided.Load() || a.fault != Busy {
		t.Errorf("the turn is not that of the one that has time")
	}
}

// By how fast the queue gets on, it says at once who would wait in vain, and when there may be a place.
func TestRefusedOnArrival(t *testing.T) {
	q := newWaitingLine(1000, 5*time.Second)
	for range 10 {
		q.ask(1, ClassDefault)
	}
	for range 10 { // 10 a second
		q.now += time.Second / 10
		q.turn()
		q.ask(1, ClassDefault)
	}
	took := 0
	for q.ask(1, ClassDefault) != nil {
		took++
	}
	if took < 44 || took > 52 { // 58 wait 5.8 s, which is not quite sure to be longer than 5 s
		t.Errorf("%d more were taken", took)
	}
	w := &waiter{exchange: &Exchange{}, tenant: 1, weight: 1, rank: 1, since: q.now, found: Busy}
	if why := q.enter(w, q.now); why != shedDeadline {
		t.Errorf("refused for %q", shedNames[why])
	}
	if q.refuse(w, shedDeadline, q.now); w.retryAfter < 4*time.Second || w.retryAfter > 6*time.Second {
		t.Errorf("told to come back in %v", w.retryAfter)
	}
	if q.ask(2, ClassDefault) == nil {
		t.Error("another tenant need not wait for so long")
	}
	for q.turn() != nil {
	}
	if q.ask(1, ClassDefault) == nil {
		t.Error("nobody waits, and it may not")
	}
}

// A pool that was slow an hour ago is not taken for slow.
func TestOldMeasurementsAreForgotten(t *testing.T) {
	q := newWaitingLine(10, time.Second)
	for range 8 {
		q.ask(1, ClassDefault)
		q.now += time.Second - 1
		q.turn()
	}
	if q.ask(1, ClassDefault) != nil && q.turn() != nil && q.ask(1, ClassDefault) != nil {
		if q.ask(1, ClassDefault) != nil {
			t.Error("one a second, and three may wait for a second")
		}
	}
	for q.turn() != nil {
	}
	q.now += meterAge + 1
	for range 5 {
		if q.ask(1, ClassDefault) == nil {
			t.Error("it may not wait")
		}
	}
}

// Who comes to wait at the moment in which the only place becomes free gets it, though nobody frees one again; also if somebody
// else just tried to take it, and gave up.
func TestNoCallIsLost(t *testing.T) {
	p := poolOf("p2c", 1)
	u := p.Upstreams[0]
	u.maxInflight = 1
	p.refresh(wire.Now())
	p.queue.wait = time.Hour
	proxy := &Proxy{watch: wire.NewWatch(time.Hour)}
	defer proxy.watch.Close()
	var head wire.RequestHead
	for round := range 10_000 {
		if !p.acquire(u) {
			t.Fatal("the place is not free")
		}
		var all sync.WaitGroup
		got := make(chan *Upstream, 1)
		start := make(chan struct{})
		all.Go(func() { <-start; p.release(u) })
		for range 3 { // as hedges do
			all.Go(func() {
				<-start
				if p.acquire(u) {
					p.release(u)
				}
			})
		}
		all.Go(func() {
			<-start
			x := &Exchange{Request: Request{Head: &head, Peer: []byte{1}, Targets: []Target{{Pool: p}}}}
			v, _ := proxy.findPlace(x, p)
			got <- v
		})
		close(start)
		select {
		case v := <-got:
			if v == nil {
				t.Fatal("it was refused")
			}
			all.Wait()
			p.release(v)
		case <-time.After(20 * time.Second):
			t.Fatalf("round %d: %d wait, and %d places are taken", round, p.queue.length.Load(), u.inflight.Load())
		}
	}
	if u.inflight.Load() != 0 || p.queue.length.Load() != 0 {
		t.Error("something is left")
	}
}

// Whatever comes and goes in whatever order, the sums are right, and the tags in order.
func TestLineAgainstItsOwnSums(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	q := newWaitingLine(200, time.Hour)
	var in []*waiter
	for range 50_000 {
		switch n := random.IntN(10); {
		case n < 5:
			w := q.ask(random.Uint64N(40), Classes[random.IntN(3)])
			if w != nil {
				in = append(in, w)
			}
		case n < 7 && len(in) > 0:
			i := random.IntN(len(in))
			q.leave(in[i])
			in = append(in[:i], in[i+1:]...)
		default:
			q.turn()
		}
		kept := in[:0]
		for _, w := range in {
			if w.flow != nil {
				kept = append(kept, w)
			}
		}
		in = kept
		q.now += time.Millisecond
		if random.IntN(100) == 0 {
			checkSums(t, q.queue, len(in))
		}
	}
}

func checkSums(t *testing.T, q *queue, want int) {
	t.Helper()
	total := 0
	for rank := range q.lines {
		l := &q.lines[rank]
		waiting, cost, absent := 0, int64(0), 0
		for i, f := range l.heap {
			if f.index != i || i > 0 && f.before(l.heap[(i-1)/2]) {
				t.Fatal("the heap is none")
			}
			n := 0
			for w := f.first; w != nil; w = w.next {
				if n++; w.flow != f || w.next != nil && w.next.prev != w {
					t.Fatal("the chain is broken")
				}
				cost += w.cost
			}
			if n == 0 {
				absent++
			}
			if n != f.length || l.flows.find(f.tenant) != f {
				t.Fatal("the flow is wrong about itself")
			}
			waiting += n
		}
		if waiting != l.waiting || cost != l.cost || absent != l.absent || int64(waiting) != q.depth[rank].Load() || len(l.heap) != l.flows.n {
			t.Fatalf("class %d: %d wait, not %d, cost %d, not %d, %d absent, not %d", rank, waiting, l.waiting, cost, l.cost, absent, l.absent)
		}
		total += waiting
	}
	if total != want || int64(total) != q.length.Load() {
		t.Fatalf("%d wait, want %d", total, want)
	}
}

func TestQueueAllocations(t *testing.T) {
	q := newWaitingLine(20_000, time.Hour)
	for i := range 10_000 {
		q.ask(uint64(i/4), ClassDefault)
	}
	w := &waiter{woken: make(chan struct{}, 1), exchange: &Exchange{}, weight: 1, rank: 1, found: Busy}
	tenant := uint64(0)
	if n := testing.AllocsPerRun(1000, func() {
		tenant++
		w.tenant, w.since = mix(tenant), q.now
		q.enter(w, q.now)
		q.leave(w)
	}); n != 0 {
		t.Errorf("%v allocations to enter and leave", n)
	}
}

func BenchmarkQueue(b *testing.B) {
	for _, tenants := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("op=leave/waiting=10000/tenants=%d", tenants), func(b *testing.B) {
			q := newWaitingLine(20_000, 1000*time.Hour)
			for i := range 10_000 {
				q.ask(uint64(i%tenants), ClassDefault)
			}
			var head wire.RequestHead
			x := &Exchange{Request: Request{Head: &head}}
			pool := poolOf("p2c", 1)
			x.Targets = []Target{{Pool: pool}}
			peer := []byte("10.0.0.1")
			x.Peer = peer
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				peer[7] = byte(i)
				w := newWaiter(x, pool, q.now)
				w.found = Busy
				q.mu.Lock()
				q.enter(w, q.now)
				q.unlock()
				w.timer.Reset(time.Hour)
				q.mu.Lock()
				q.leave(w)
				q.unlock()
				w.free()
			}
		})
		b.Run(fmt.Sprintf("op=turn/waiting=10000/tenants=%d", tenants), func(b *testing.B) {
			q := newWaitingLine(20_000, 1000*time.Hour)
			for i := range 10_000 {
				q.ask(uint64(i%tenants), ClassDefault)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				w := q.next(q.now)
				q.serve(w, q.now)
				w.since = q.now
				q.enter(w, q.now)
			}
		})
	}
}

// A full queue that finds no upstream any more turns into the waiting room: who comes then is let in, and who waits goes on to wait
// when its time is over, in its place.
func TestQueueTurnsIntoWaitingRoom(t *testing.T) {
	q := newWaitingLine(2, time.Second)
	q.room = roomRules{size: 4, wait: time.Minute}
	stay := func(found Fault) *waiter {
		w := &waiter{woken: make(chan struct{}, 1), exchange: &Exchange{}, tenant: 1, weight: 1, rank: 1, since: q.now, found: found, stays: true}
		if q.enter(w, q.now) != notShed {
			return nil
		}
		return w
	}
	a, b := stay(Busy), stay(Busy)
	if stay(Busy) != nil {
		t.Fatal("a full queue takes another")
	}
	q.stand(q.now)
	q.now += time.Second / 2
	c := stay(Busy)
	if c == nil || !c.roomed {
		t.Fatal("who comes then is not let in")
	}
	q.now += time.Second
	q.expire(a, q.now)
	q.expire(b, q.now)
	d := stay(NoUpstream)
	if a.flow == nil || b.flow == nil || !a.roomed || q.roomed != 4 || stay(NoUpstream) != nil {
		t.Fatalf("%d are in the waiting room", q.roomed)
	}
	for _, want := range []*waiter{a, b, c, d} {
		if q.turn() != want {
			t.Error("not in their order")
		}
	}
	if q.stoodAt != 0 || q.stood != 3*time.Second/2 || q.roomed != 0 || q.bytes != 0 {
		t.Errorf("there is an upstream, and it stood %v", q.stood)
	}
	e := stay(NoUpstream)
	q.now += time.Minute + 1
	if q.expire(e, q.now); e.flow != nil || !e.decided.Load() {
		t.Error("it waits for ever")
	}
}

// Who comes back from an upstream that was not there goes before those of its tenant that came later.
func TestComingBackKeepsTheOrder(t *testing.T) {
	q := newWaitingLine(10, time.Minute)
	var came []*waiter
	for range 3 {
		came = append(came, q.ask(1, ClassDefault))
		q.now += time.Millisecond
	}
	for _, w := range came[:2] {
		if q.turn() != w {
			t.Fatal("not in their order")
		}
	}
	for _, i := range []int{1, 0} {
		came[i].decided.Store(false)
		if q.enter(came[i], q.now) != notShed {
			t.Fatal("it may not come back")
		}
	}
	for i, w := range came {
		if q.turn() != w {
			t.Errorf("number %d is not in its order", i)
		}
	}
}
