package proxy

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"aigateway/gateway/config"
	"aigateway/gateway/wire"
)

// A queue holds requests for which every upstream of a pool is full, and hands them the places that become free: class by class,
// and within a class by tenants' shares. It also is the waiting room, in which requests stay as long as no upstream is well.
//
// Whoever frees a place gives it away, see hand: a waiter is woken when it has one, and not to look for one.
type queue struct {
	length atomic.Int64 // of waiting, for those who hold no lock
	again  atomic.Bool  // a place may be free, and whoever has the lock looks for who gets it
	pool   atomic.Pointer[Pool]
	holds  *Holds // nil: bodies have no bound
	clock  func() time.Duration

	mu      sync.Mutex
	size    int
	wait    time.Duration
	room    roomRules
	lines   [len(Classes)]line // by rank
	drain   meter              // of all lines together
	doubt   float64            // about what is expected of it
	aged    bool               // the last turn was that of one that had waited for too long
	picky   int                // of the waiting, those for whom not every upstream will do
	roomed  int                // of the waiting, those in the waiting room
	bytes   int64              // of bodies in the waiting room
	stood   time.Duration      // how long there was no upstream while somebody waited, so far
	stoodAt time.Duration      // since when there is none; 0: there is
	stands  atomic.Bool        // stoodAt is not 0

	depth    [len(Classes)]atomic.Int64 // of waiting, by rank
	admitted atomic.Int64
	sheds    [len(shedNames)]atomic.Int64
}

// A shed is why a request waits no longer, or not at all.
type shed uint8

const (
	notShed       shed = iota
	shedFull           // the queue is full of others, none of which has more in it
	shedDeadline       // by how fast the pool gets on, it would not have had a place in time
	shedLate           // it had none in time
	shedRoomFull       // the waiting room is full
	shedRoomBytes      // the waiting room is full of bodies
	shedNobody         // there is no upstream any more, and no waiting room
)

var shedNames = [...]string{
	notShed: "", shedFull: "full", shedDeadline: "deadline", shedLate: "timeout",
	shedRoomFull: "room_full", shedRoomBytes: "room_bytes", shedNobody: "no_upstream",
}

// ShedReasons are why requests were refused that would have had to wait.
func ShedReasons() []string { return shedNames[shedFull:] }

// QueueState is what a pool's queue is like now, and what has become of those that were in it.
type QueueState struct {
	Length   int64   // of the queue now, and
	Waiting  []int64 // of each of Classes
	Admitted int64   // found a place
	Late     int64   // did not, in time
	Refused  int64   // found the queue full, or too slow
	Shed     []int64 // by ShedReasons
}

// Queue returns the state of the pool's queue; that of no pool is zero.
func (p *Pool) Queue() QueueState {
	s := QueueState{Waiting: make([]int64, len(Classes)), Shed: make([]int64, len(shedNames)-1)}
	if p == nil {
		return s
	}
	q := p.queue
	s.Length, s.Admitted = q.length.Load(), q.admitted.Load()
	for rank := range s.Waiting {
		s.Waiting[rank] = q.depth[rank].Load()
	}
	for i := range s.Shed {
		s.Shed[i] = q.sheds[i+int(shedFull)].Load()
	}
	s.Late, s.Refused = q.sheds[shedLate].Load(), q.sheds[shedFull].Load()+q.sheds[shedDeadline].Load()
	return s
}

// ageingBound is how long a class waits behind more urgent ones. Then it has every other turn, until those that have waited for
// so long have had theirs.
const ageingBound = 30 * time.Second

func newQueue(c config.Pool) *queue {
	q := &queue{clock: wire.Now, doubt: doubtMost}
	q.size, q.wait = c.Queue.Size, c.Queue.Wait
	q.room = roomRules{size: c.WaitingRoom.Size, wait: c.WaitingRoom.Wait}
	return q
}

// adopt has the queue go by the rules of another pool as well, that of the same name after a reload. Who waits goes on to wait, and
// will be served by that one: see serveFor.
func (q *queue) adopt(p *Pool) {
	other := p.queue
	q.mu.Lock()
	q.size, q.wait, q.room = other.size, other.wait, other.room
	q.unlock()
	p.queue = q
	if before := q.pool.Load().alarm; before != nil && p.alarm != nil {
		p.alarm.last.Store(before.last.Load()) // it was called when it was
	}
}

// serveFor has the queue hand out the places of this pool from now on.
func (q *queue) serveFor(p *Pool) {
	if q.pool.Swap(p) != p {
		q.hand()
	}
}

// time is as now, without the times in which there was no upstream: they say nothing about how fast the pool gets on.
func (q *queue) time(now time.Duration) time.Duration {
	if q.stoodAt > 0 {
		now = q.stoodAt
	}
	return now - q.stood
}

// How much of the time that one is expected to wait must be too long for him to be refused at once. It is not known to the point, and
// who is refused wrongly loses more than who waits in vain; but where more than one in ten of those that get nothing wait in vain
// for it, less doubt is due.
const (
	doubtMost  = 0.15
	doubtLess  = 0.005          // with each that waited in vain
	doubtAgain = doubtLess / 10 // with each that was refused
)

// enter lets w wait, or says why not. q.mu is held.
func (q *queue) enter(w *waiter, now time.Duration) shed {
	if q.room.size > 0 && (q.stoodAt > 0 || q.roomed > 0) {
		w.roomed = true // there is no upstream, or what an outage has left in the room is to be served before
	}
	w.deadline = q.deadline(w, now)
	if w.cost < leastCost {
		w.cost = int64(math.Ceil(q.drain.mean()))
	}
	w.cost = min(max(w.cost, leastCost), mostCost)
	if w.found == Busy && now+time.Duration((1-q.doubt)*float64(q.expect(w, now))) > w.deadline {
		return shedDeadline
	}
	if why := q.makeRoom(w, now); why != notShed {
		return why
	}
	at := q.time(now)
	if q.length.Load() == 0 {
		q.drain.begin(at)
	}
	q.lines[w.rank].enter(w, at)
	q.count(w, 1)
	return notShed
}

// deadline is until when w waits: as long as it would itself, and no longer than it may.
func (q *queue) deadline(w *waiter, now time.Duration) time.Duration {
	most := now + q.wait
	if w.roomed {
		most = w.since + q.room.wait
	}
	if w.until > 0 {
		return min(w.until, most)
	}
	return most
}

// count notes that w waits, by 1, or waits no longer, by -1.
func (q *queue) count(w *waiter, by int) {
	q.length.Add(int64(by))
	q.depth[w.rank].Add(int64(by))
	if w.roomed {
		q.roomed += by
		q.bytes += int64(by) * w.bytes
	}
	if w.picky {
		q.picky += by
	}
}

// makeRoom finds w a place in the queue, if need be that of one who came last of those of whom too many wait.
func (q *queue) makeRoom(w *waiter, now time.Duration) shed {
	for {
		why := q.overfull(w)
		if why == notShed || why == shedRoomBytes { // a large one is no reason to put small ones out
			return why
		}
		last := q.dispensable(w)
		if last == nil {
			return why
		}
		q.dismiss(last, why, now)
	}
}

// overfull says what stands against one more.
func (q *queue) overfull(w *waiter) shed {
	if w.roomed {
		return q.roomFull(w.bytes)
	}
	if int(q.length.Load())-q.roomed >= q.size {
		return shedFull
	}
	return notShed
}

// roomFull says what stands against one more in the waiting room, with a body of so many bytes.
func (q *queue) roomFull(bytes int64) shed {
	switch {
	case q.roomed >= q.room.size:
		return shedRoomFull
	case q.holds != nil && q.bytes+bytes > q.holds.total.Load()/roomShare:
		return shedRoomBytes
	}
	return notShed
}

// dispensable is who must give way to w: the last of the longest flow, of a class that is less urgent, or of its own if
// more wait in that flow than in w's. Nil: nobody. A flood that fills the queue keeps nobody else out.
func (q *queue) dispensable(w *waiter) *waiter {
	for rank := len(q.lines) - 1; rank >= w.rank; rank-- {
		l := &q.lines[rank]
		most := l.longest
		if most == nil || most.last.roomed != w.roomed {
			continue
		}
		if rank > w.rank {
			return most.last
		}
		own := 0
		if f := l.flows.find(w.tenant); f != nil {
			own = f.length
		}
		if float64(most.length)/most.weight > float64(own+1)/w.weight {
			return most.last
		}
	}
	return nil
}

// expect is how long w would wait if it came now; 0 if nothing is known of that: by who is before it now and how fast all turns
// go; and by how fast those of its own tenant went lately, or else those of its class, for more will come that are before it.
func (q *queue) expect(w *waiter, now time.Duration) time.Duration {
	at, l := q.time(now), &q.lines[w.rank]
	all := q.drain.rate(at)
	if q.length.Load() > 0 {
		all = q.drain.rateNow(at)
	}
	if all == 0 || q.stoodAt > 0 {
		return 0
	}
	f := l.flows.find(w.tenant)
	ahead := l.ahead(f) + q.drain.mean() // and whoever has its place
	before := ahead
	for rank := range w.rank {
		before += float64(q.lines[rank].cost)
	}
	seconds := before / all
	if w.rank > 0 {
		seconds = min(seconds, ageingBound.Seconds()+2*ahead/all) // then it has every other turn
	}
	own := 0.0 // as it was lately
	if f != nil && f.first != nil {
		if rate := f.drain.rateNow(at); rate > 0 {
			own = (float64(f.cost) + f.drain.mean()) / rate
		}
	}
	if rate := l.drain.rateNow(at); own == 0 && rate > 0 && l.waiting > 0 {
		own = ahead / rate
	}
	if own > seconds { // there will be others before it; but who came lately may not go on to come
		seconds = (seconds + own) / 2
	}
	return fromSeconds(seconds)
}

func fromSeconds(s float64) time.Duration { return time.Duration(min(s, 1e6) * float64(time.Second)) }

// retryAfter is what a client is told that is refused: between a second and a minute.
func retryAfter(expected time.Duration) time.Duration {
	return min(time.Minute, max(time.Second, expected))
}

// next is whose turn it is; nil if nobody waits. Whose time is over has no turn. q.mu is held.
func (q *queue) next(now time.Duration) *waiter {
	var first, aged *waiter
	for rank := range q.lines {
		w := q.nextOf(rank, now)
		switch {
		case w == nil:
		case first == nil:
			first = w
		case !q.due(w, now):
		case aged == nil || w.since < aged.since:
			aged = w
		}
	}
	if aged != nil && !q.aged {
		return aged
	}
	return first
}

// due tells whether the class of w, whose turn it is there, has waited for too long.
func (q *queue) due(w *waiter, now time.Duration) bool {
	return now-w.since >= ageingBound || q.time(now)-q.lines[w.rank].drain.last >= ageingBound
}

// nextOf is whose turn it is in a class.
func (q *queue) nextOf(rank int, now time.Duration) *waiter {
	for {
		w := q.lines[rank].next()
		if w == nil || w.deadline >= now {
			return w
		}
		if q.expire(w, now); w.flow != nil && w.deadline < now {
			panic("BUG: it neither waits on nor has it left")
		}
	}
}

// serve gives w its turn. q.mu is held.
func (q *queue) serve(w *waiter, now time.Duration) {
	q.standNoMore(now)
	q.aged = q.outranked(w)
	at := q.time(now)
	q.count(w, -1)
	q.lines[w.rank].serve(w, at)
	q.drain.add(at, w.cost)
	q.admitted.Add(1)
}

// standNoMore notes that there is an upstream again, or nobody who waits for one.
func (q *queue) standNoMore(now time.Duration) {
	if q.stoodAt > 0 {
		q.stood += now - q.stoodAt
		q.stoodAt = 0
		q.stands.Store(false)
	}
}

// outranked tells whether somebody more urgent waits.
func (q *queue) outranked(w *waiter) bool {
	for rank := range w.rank {
		if q.lines[rank].waiting > 0 {
			return true
		}
	}
	return false
}

// leave takes w out, if it waits. q.mu is held.
func (q *queue) leave(w *waiter) {
	if w.flow == nil {
		return
	}
	q.count(w, -1)
	q.lines[w.rank].leave(w)
}

// dismiss takes w out and tells it why.
func (q *queue) dismiss(w *waiter, why shed, now time.Duration) {
	q.leave(w)
	q.refuse(w, why, now)
	w.decide()
}

// refuse notes why w does not wait, or no longer, and when it would have had a place, as far as that is known.
func (q *queue) refuse(w *waiter, why shed, now time.Duration) {
	q.sheds[why].Add(1)
	switch why {
	case shedLate:
		q.doubt = max(0, q.doubt-doubtLess)
	case shedDeadline:
		q.doubt = min(doubtMost, q.doubt+doubtAgain)
	}
	switch {
	case why == shedNobody, why == shedRoomFull, why == shedRoomBytes, why == shedLate && q.stoodAt > 0:
		w.fault = NoUpstream
	default:
		w.fault = Busy
	}
	w.retryAfter = retryAfter(q.expect(w, now))
}

// expire ends the wait of w, whose time is over; but as long as there is no upstream, it goes on in the waiting room. q.mu is held.
func (q *queue) expire(w *waiter, now time.Duration) {
	if q.stoodAt > 0 && !w.roomed && w.stays && q.roomFull(w.bytes) == notShed {
		q.count(w, -1)
		w.roomed = true
		w.deadline = q.deadline(w, now)
		q.count(w, 1)
		if w.deadline >= now {
			return
		}
	}
	q.dismiss(w, shedLate, now)
}

// unlock gives the lock back, and free places to those whose turn it is, if there are any.
func (q *queue) unlock() {
	q.mu.Unlock()
	if q.again.Load() {
		q.handOn()
	}
}

// hand has free places given to those whose turn it is. No call is lost: either the lock is free, or whoever has it looks behind
// itself. So it may be called with the lock held, and waits for nobody.
func (q *queue) hand() {
	q.again.Store(true)
	q.handOn()
}

func (q *queue) handOn() {
	for q.again.Load() && q.mu.TryLock() {
		q.giveOutAll()
	}
}

// giveOutAll gives places out as long as there may be any, and gives the lock back: also if a bug costs the request under way.
func (q *queue) giveOutAll() {
	defer q.mu.Unlock()
	for q.again.Swap(false) {
		q.giveOut(q.clock())
	}
}

// giveOut gives places to those whose turn it is, until there is none left. q.mu is held.
func (q *queue) giveOut(now time.Duration) {
	for {
		w := q.next(now)
		if w == nil {
			q.standNoMore(now)
			return
		}
		f := q.place(w, now)
		if f == Busy {
			q.standNoMore(now)
		}
		switch {
		case f == None:
		case f == Busy, w.stays && w.picky:
			if q.picky == 0 || !q.passBy(now) {
				return
			}
		case w.stays:
			q.stand(now)
			return
		default:
			q.dismiss(w, shedNobody, now)
		}
	}
}

// place gives w a place at an upstream, if there is one.
func (q *queue) place(w *waiter, now time.Duration) Fault {
	pool := q.pool.Load()
	u, f := pool.pickFor(&w.exchange.Request, w.exchange.tried)
	if u == nil {
		return f
	}
	q.serve(w, now)
	w.upstream, w.pool, w.fault = u, pool, None
	w.decide()
	return None
}

// passedBy is how many are looked at, of those behind one for whom there is no place: there may be one for them.
const passedBy = 32

// passBy gives a place to one who waits behind another for whom there is none, and tells whether it did.
func (q *queue) passBy(now time.Duration) bool {
	left := passedBy
	for rank := range q.lines {
		for _, f := range q.lines[rank].heap {
			for w := f.first; w != nil; w = w.next {
				if left--; left < 0 {
					return false
				}
				if w.deadline >= now && q.place(w, now) == None {
					return true
				}
			}
		}
	}
	return false
}

// stand notes that there is no upstream. Who has somewhere else to go is told.
func (q *queue) stand(now time.Duration) {
	if q.stoodAt > 0 {
		return
	}
	q.stoodAt = now
	q.stands.Store(true)
	var away []*waiter
	for rank := range q.lines {
		for _, f := range q.lines[rank].heap {
			for w := f.first; w != nil; w = w.next {
				if !w.stays {
					away = append(away, w)
				}
			}
		}
	}
	for _, w := range away {
		q.dismiss(w, shedNobody, now)
	}
}
