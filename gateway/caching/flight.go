package caching

import (
	"encoding/binary"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"aigateway/gateway/cache"
	"aigateway/gateway/proxy"
	"aigateway/gateway/wire"
)

// Flights are the fetches under way, at most one a key: requests for one resource that nobody has yet are
// collapsed into one (RFC 9111 §4, RFC 9211 §2.7). The first request leads; the others wait for what it finds.
// The zero value is not ready: see [NewFlights].
type Flights struct {
	maxBody int64
	memory  int64        // bytes that all bodies under way may take, see reserve
	taken   atomic.Int64 // of it
	shards  [64]flightShard
	under   atomic.Int64        // how many fetches are
	marks   [4096]atomic.Uint64 // see MarkHitForMiss
	marked  atomic.Uint32       // until when the last mark counts, in seconds
	ends    [4096]atomic.Uint32 // see Ended
	pool    sync.Pool           // of flights that nobody holds
}

type flightShard struct {
	mu      sync.Mutex
	flights map[cache.Key]*Flight
	lists   sync.Mutex // see Lists
	_       [32]byte   // a cache line of its own
}

// maxFailures is how many leaders of one flight may fail before those who wait are told so.
const maxFailures = 3

// NewFlights makes an empty table. A response whose body grows beyond maxBody bytes, or for which there is no memory, is still shared by
// those who are reading it, but found by nobody else.
func NewFlights(maxBody, memory int64) *Flights {
	f := &Flights{maxBody: maxBody, memory: memory}
	for i := range f.shards {
		f.shards[i].flights = map[cache.Key]*Flight{}
	}
	f.pool.New = func() any { return &Flight{table: f} }
	return f
}

// A Flight is one fetch and those who want its response. Its methods may be called from any goroutine that holds it: from Join, Alone
// or Hold until Release. Then it, and all that it has given, is another fetch's. One that a panic has left is not released.
type Flight struct {
	mu      *sync.Mutex // of the shard, or its own
	own     sync.Mutex
	table   *Flights
	waiting []*Waiter // all who want the response, the leader among them
	memory  memory    // of the response
	fetch   fetch     // the one that is under way, or the last one
	flown
}

// flown is what a flight has of one fetch.
type flown struct {
	key   cache.Key
	alone bool        // nobody else can find it
	stamp cache.Stamp // from before the fetch
	holds int         // who hold it

	stage    stage
	first    *Waiter     // who led first
	awake    *Waiter     // who reads the response from the upstream, if that is one of those who wait
	led      bool        // somebody is fetching
	fault    proxy.Fault // why it failed; None: whoever led panicked
	failures int
	cancel   canceller // ends the fetch; nil: none is under way
	over     bool      // nothing more comes of it

	response Response
	base     int64 // where in the body response.Body begins: 0 unless the response is too large
	tooLarge bool
	window   int64         // how much of one that is too large is held for readers behind
	taken    int64         // of the table's memory
	room     chan struct{} // wakes the writer of a response that is too large
}

// A Response is what a flight shares, from the moment its head is there. Body grows until Whole; its bytes never
// change.
type Response struct {
	Meta    cache.Meta
	Names   []byte // of the fields it varies by, as MergeVary wrote them
	Variant []byte // what AppendVariant wrote for the leader
	OnError bool   // the upstream has failed, and this is what was stored before: stale-if-error, RFC 5861 §4
	Live    bool   // it is passed on as it comes, however short it is
	Lines   []byte // the stored field lines, CRLF after each, without Content-Length and the empty line
	Length  int64  // of the body in bytes, or -1 if the upstream announced none
	Body    []byte
	Whole   bool         // Body is all of it
	Told    bool         // the readers have been told in an event of the gateway's that it will have no end
	Broken  bool         // it will never be
	Record  []byte       // the response as a record, once it is whole and if it is kept
	Why     cache.Reason // why a whole one is not, if that is known only now
	Tokens  int64        // of a model's answer, once it is whole
}

type stage uint8

const (
	seeking stage = iota // no response yet
	filling              // there is a response to share
	private              // there is one that must not be shared: everyone for himself
	failed               // there is none
)

// A Role is what a request learns from a flight: how it comes to its response.
type Role uint8

// The roles.
const (
	Lead   Role = iota // fetch, and tell the flight
	Follow             // read the response with Next
	Alone              // the response cannot be shared: fetch without a flight
	Failed             // the fetch failed too often
	Late               // no response in time
	Gone               // the request's client has left
)

// A Waiter is one request's seat in a flight. It is reused from request to request.
type Waiter struct {
	wake   chan struct{}
	timer  *time.Timer
	gone   atomic.Bool // the request's client is
	behind atomic.Bool // it held up the others for too long
	late   bool        // see Latecomer
	read   int64       // bytes of the body taken
}

// NewWaiter makes a seat.
func NewWaiter() *Waiter {
	w := &Waiter{wake: make(chan struct{}, 1), timer: time.NewTimer(time.Hour)}
	w.timer.Stop()
	return w
}

// Interrupt tells that the request's client has left.
func (w *Waiter) Interrupt() {
	w.gone.Store(true)
	w.nudge()
}

// Gone tells whether Interrupt was called.
func (w *Waiter) Gone() bool { return w.gone.Load() }

// sleep waits so long, and tells whether the request's client is still there.
func (w *Waiter) sleep(d time.Duration) (goOn bool) {
	if d > 0 && !w.gone.Load() {
		w.timer.Reset(d)
		defer w.timer.Stop()
		select {
		case <-w.wake:
		case <-w.timer.C:
		}
	}
	return !w.gone.Load()
}

// timedOut tells whether the time is over that the timer was set to then. Where the process stood still meanwhile, it is not, and begins
// anew: what was waited for may be there.
func (w *Waiter) timedOut(since *time.Duration, limit time.Duration) bool {
	if !wire.StoodStill(*since) {
		return true
	}
	*since = wire.Now()
	w.timer.Reset(limit)
	return false
}

// Latecomer tells whether the response was there when the request joined its flight.
func (w *Waiter) Latecomer() bool { return w.late }

func (w *Waiter) nudge() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *Waiter) reset() {
	w.gone.Store(false)
	w.behind.Store(false)
	w.read, w.late = 0, false
	if len(w.wake) == 0 { // which is nearly always so, and cheaper to see than by a receive
		return
	}
	select {
	case <-w.wake:
	default:
	}
}

// Join takes a seat in the flight of a key, and begins one if there is none: then the caller leads. The stamp is of
// now: a flight from before something was done to what is stored is not for those who ask after that.
func (t *Flights) Join(k cache.Key, st cache.Stamp, w *Waiter) (f *Flight, leads bool) {
	w.reset()
	s := t.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	if f = s.flights[k]; f != nil && !f.stamp.Precedes(&st) {
		f.waiting = append(f.waiting, w)
		f.holds++
		w.late = f.stage == filling
		return f, false
	}
	f = t.newFlight(w)
	f.mu, f.key, f.stamp = &s.mu, k, st
	s.flights[k] = f
	return f, true
}

// newFlight makes a flight that its caller leads, and holds.
func (t *Flights) newFlight(w *Waiter) *Flight {
	t.under.Add(1)
	f := t.pool.Get().(*Flight)
	f.flown = flown{led: true, holds: 1, first: w}
	f.waiting = append(f.waiting[:0], w)
	return f
}

// Hold has f held once more.
func (f *Flight) Hold() {
	f.mu.Lock()
	f.holds++
	f.mu.Unlock()
}

// Release lets go of a flight.
func (f *Flight) Release() {
	mu := f.mu
	mu.Lock()
	f.holds--
	last := f.holds == 0
	if last { // somebody else may still look for it, but nothing more comes of it
		f.end()
		f.remove()
	}
	mu.Unlock()
	if last {
		clear(f.waiting)
		f.memory.reset()
		f.flown = flown{}
		f.table.pool.Put(f)
	}
}

// Alone makes a flight that nobody else can join: for a request whose response others must not wait for.
func (t *Flights) Alone(w *Waiter) *Flight {
	w.reset()
	f := t.newFlight(w)
	f.mu, f.alone = &f.own, true
	return f
}

// Idle tells whether no fetch is under way whose response may be stored.
func (t *Flights) Idle() bool { return t.under.Load() == 0 }

// Ended counts the flights of the URL, and of some others, whose response is whole: what was not stored before one of them
// ended may be now.
func (t *Flights) Ended(primary cache.Key) uint32 { return t.ends[markSlot(primary)].Load() }

// Lists is held while the list of the variants of a URL is read and written again.
func (t *Flights) Lists(primary cache.Key) *sync.Mutex { return &t.shard(primary).lists }

// Under tells whether a flight of the key is under way.
func (t *Flights) Under(k cache.Key) bool {
	s := t.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flights[k] != nil
}

func (t *Flights) shard(k cache.Key) *flightShard { return &t.shards[k[0]%uint8(len(t.shards))] }

// hitForMissTime is how long a key is known to have responses that cannot be shared. Requests for it do not wait for
// each other meanwhile: they would be served one after the other. The word is Varnish's.
const hitForMissTime = 10 * time.Second

// MarkHitForMiss remembers that the responses for a key cannot be shared. now is a monotonic clock.
func (t *Flights) MarkHitForMiss(k cache.Key, now time.Duration) {
	until := uint32((now + hitForMissTime) / time.Second)
	t.marks[markSlot(k)].Store(markTag(k)<<32 | uint64(until))
	t.marked.Store(until)
}

// HitForMiss tells whether MarkHitForMiss was called for the key a short while ago. Another key in the same slot may have
// made it forget.
func (t *Flights) HitForMiss(k cache.Key, now time.Duration) bool {
	if t.marked.Load() <= uint32(now/time.Second) { // which is nearly always so
		return false
	}
	v := t.marks[markSlot(k)].Load()
	return v>>32 == markTag(k) && uint32(v) > uint32(now/time.Second)
}

func markSlot(k cache.Key) int   { return int(binary.LittleEndian.Uint16(k[1:]) % 4096) }
func markTag(k cache.Key) uint64 { return uint64(binary.LittleEndian.Uint32(k[4:])) | 1 }

// Fetching tells the flight that its leader sends a request now, and how to end it when nobody wants it any more; nil:
// it cannot be. The stamp is of now.
func (f *Flight) Fetching(st cache.Stamp, cancel canceller) {
	f.mu.Lock()
	f.stamp, f.cancel = st, cancel
	f.mu.Unlock()
}

// Restamp tells the flight that its leader sends the request once more. The stamp is of now.
func (f *Flight) Restamp(st cache.Stamp) {
	f.mu.Lock()
	f.stamp = st
	f.mu.Unlock()
}

// Leave gives a seat back, and tells whether somebody is left who wants the response. The last one to leave ends
// the fetch.
func (f *Flight) Leave(w *Waiter) (goOn bool) {
	f.mu.Lock()
	cancel := f.leave(w)
	goOn = len(f.waiting) > 0
	f.mu.Unlock()
	if cancel != nil {
		cancel.cancel()
	}
	return goOn
}

// LeaveQuietly is Leave for the leader itself: it never cancels, because the caller is what would be
// cancelled.
func (f *Flight) LeaveQuietly(w *Waiter) (goOn bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leave(w)
	return len(f.waiting) > 0
}

func (f *Flight) leave(w *Waiter) (cancel canceller) {
	at := -1
	for i, other := range f.waiting {
		if other == w {
			at = i
		}
	}
	if at < 0 {
		return nil
	}
	last := len(f.waiting) - 1
	f.waiting[at], f.waiting[last] = f.waiting[last], nil
	f.waiting = f.waiting[:last]
	if at < last {
		f.waiting[at].nudge() // its turn to be told of a piece may have been at its old place
	}
	f.makeRoom()
	switch {
	case last > 0 && f.stage == seeking && !f.led:
		f.waiting[0].nudge() // it may have been this one's turn to lead
	case last == 0 && !f.response.Whole:
		if f.stage == seeking && !f.led {
			f.end()
		}
		f.remove()
		return f.cancel
	}
	return nil
}

// remove takes the flight out of the table. The lock is held.
func (f *Flight) remove() {
	if f.alone {
		return
	}
	s := f.table.shard(f.key)
	if s.flights[f.key] == f {
		delete(s.flights, f.key)
	}
	f.alone = true
}

// reserve takes n bytes of the memory for bodies under way, if there are so many.
func (t *Flights) reserve(n int64) bool {
	if t.taken.Add(n) <= t.memory {
		return true
	}
	t.taken.Add(-n)
	return false
}

// Taken is how many bytes of bodies are under way.
func (t *Flights) Taken() int64 { return t.taken.Load() }

// grow takes memory for n bytes more of the body. The lock is held.
func (f *Flight) grow(n int) bool {
	if more := f.memory.cost(f.response.Body, n) - f.taken; more > 0 {
		if !f.table.reserve(more) {
			return false
		}
		f.taken += more
	}
	return true
}

// end notes that nothing more comes of the fetch. The lock is held.
func (f *Flight) end() {
	if !f.over {
		f.over = true
		f.table.taken.Add(-f.taken)
		f.taken = 0
		f.table.under.Add(-1)
	}
}

func (f *Flight) nudgeAll() {
	for _, w := range f.waiting {
		w.nudge()
	}
}

// A piece wakes so many of those who wait at once, for each processor, and the next ones that much later. A thousand that run one
// behind the other keep the scheduler from looking who has just asked, until all have written.
const (
	nudgedAtOnce = 16
	nudgePause   = 500 * time.Microsecond
)

// nudge wakes some of those who wait, from that one on, and returns who is next; 0: nobody. The lock is held.
func (f *Flight) nudge(from int) (next int) {
	if from == 0 && len(f.waiting) == 1 && f.waiting[0] == f.awake {
		return 0
	}
	to := from + nudgedAtOnce*runtime.GOMAXPROCS(0)
	for _, w := range f.waiting[min(from, len(f.waiting)):min(to, len(f.waiting))] {
		w.nudge()
	}
	if to >= len(f.waiting) {
		return 0
	}
	return to
}

// nudgeOthers wakes the rest.
func (f *Flight) nudgeOthers(next int) {
	for next > 0 {
		time.Sleep(nudgePause)
		f.mu.Lock()
		next = f.nudge(next)
		f.mu.Unlock()
	}
}

// Private tells that the response must not be shared: those who wait go on alone.
func (f *Flight) Private() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stage, f.cancel = private, nil
	f.end()
	f.remove()
	f.nudgeAll()
}

// Fail tells that the leader has no response. One of those who wait leads next; after three failures all learn
// the fault.
func (f *Flight) Fail(fault proxy.Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cancel, f.led = nil, false
	f.fault = fault
	if f.failures++; f.failures >= maxFailures || len(f.waiting) == 0 {
		f.stage = failed
		f.end()
		f.remove()
		f.nudgeAll()
		return
	}
	f.waiting[0].nudge()
}

// Fault is what the last leader failed with.
func (f *Flight) Fault() proxy.Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fault
}

// Fill shares a response whose head is there with those who wait and, if it is fresh, with those who come. The body
// follows by Write and End. The flight keeps a's slices.
func (f *Flight) Fill(a Response) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stage, f.response = filling, a
	if a.Meta.Flags&cache.NoCache != 0 || a.Meta.Lifetime <= a.Meta.InitialAge {
		f.remove() // for those who are here; who comes now wants it validated, RFC 9111 §4
	}
	f.nudgeAll()
}

// FillWhole is Fill of a response that is whole, and End. Who leads calls it, and does not wait for what it tells.
func (f *Flight) FillWhole(a *Response) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stage, f.response = filling, *a
	f.complete()
	if len(f.waiting) > 1 || len(f.waiting) == 1 && f.waiting[0] != f.first {
		f.nudgeAll()
	}
}

// ErrNobody ends the writing of a response that nobody reads.
var ErrNobody = errors.New("caching: nobody reads the response any more")

// Write appends to the body. It blocks while a response that is too large to be kept has readers behind.
func (f *Flight) Write(p []byte) error {
	wrote, err := f.write(p, nil)
	f.nudgeOthers(wrote.next)
	return err
}

// A written is what has become of a piece of a body.
type written struct {
	by    bool // who wrote it gives it to its client
	large bool // the response is too large to be kept
	next  int  // of those who wait, for nudgeOthers
}

// write is Write by a waiter that gives its client the piece itself, nil: by none. The piece that completes a body of known length is for nobody's
// client yet, see Next.
func (f *Flight) write(p []byte, w *Waiter) (wrote written, err error) {
	for {
		f.mu.Lock()
		if len(f.waiting) == 0 {
			f.mu.Unlock()
			return written{}, ErrNobody
		}
		if !f.tooLarge {
			switch limit := f.table.maxBody; {
			case f.base+int64(len(f.response.Body)+len(p)) > limit:
				f.passOn(limit)
			case !f.grow(len(p)):
				f.passOn(min(limit, shortWindow))
			}
		}
		if !f.tooLarge || f.trim(f.window) {
			if body := f.response.Body; !f.tooLarge && len(p) > cap(body)-len(body) {
				f.response.Body = f.memory.widen(body, len(p))
			}
			f.response.Body = append(f.response.Body, p...)
			if end := f.base + int64(len(f.response.Body)); w != nil && end != f.response.Length {
				w.read, wrote.by = end, true
			}
			f.awake = w
			wrote.large, wrote.next = f.tooLarge, f.nudge(0)
			f.mu.Unlock()
			return wrote, nil
		}
		room := f.room
		f.mu.Unlock()
		if !arrives(room, patience) {
			f.leaveBehind()
		}
	}
}

// shortWindow is what is held of a response for which there is no memory.
const shortWindow = 64 << 10

// passOn gives up to keep the response: of its body no more is held than that. The lock is held.
func (f *Flight) passOn(window int64) {
	f.tooLarge, f.window = true, window
	f.room = make(chan struct{}, 1)
	f.remove() // whoever comes now has missed the beginning
}

// patience is how long a response that is too large to be kept waits for its slowest reader while others have read on.
const patience = time.Second

func arrives(room chan struct{}, within time.Duration) bool {
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-room:
		return true
	case <-timer.C:
		return false
	}
}

// leaveBehind ends the reading of those who hold up others. A reader alone holds up nobody but the upstream, as without
// a cache.
func (f *Flight) leaveBehind() {
	f.mu.Lock()
	defer f.mu.Unlock()
	end := f.base + int64(len(f.response.Body))
	held := false
	for _, w := range f.waiting {
		held = held || w.read == end
	}
	if !held {
		return
	}
	kept := f.waiting[:0]
	for _, w := range f.waiting {
		if w.read == f.base {
			w.behind.Store(true)
			w.nudge()
			continue
		}
		kept = append(kept, w)
	}
	clear(f.waiting[len(kept):])
	f.waiting = kept
}

// trim forgets what all readers have, and tells whether there is room for more.
func (f *Flight) trim(limit int64) bool {
	least := f.base + int64(len(f.response.Body))
	for _, w := range f.waiting {
		least = min(least, w.read)
	}
	if drop := least - f.base; drop > 0 {
		// A new array: readers may still hold pieces of the old one.
		f.response.Body = append([]byte(nil), f.response.Body[drop:]...)
		f.base = least
	}
	return int64(len(f.response.Body)) < limit
}

// makeRoom wakes a writer that waits for readers.
func (f *Flight) makeRoom() {
	if f.room != nil {
		select {
		case f.room <- struct{}{}:
		default:
		}
	}
}

// Kept is the whole body, to be made a record of; ok is false if the response is too large to be kept.
func (f *Flight) Kept() (body []byte, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.response.Body, !f.tooLarge
}

// Claim gives the whole record, with the room for a reply before it, to the only one who holds the flight, who may write into it; nil: there
// are others, or it is elsewhere.
func (f *Flight) Claim() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.holds != 1 || !f.over || f.response.Record == nil { // who holds it is who asks, and nobody can find it any more
		return nil
	}
	return f.memory.around(f.response.Record)
}

// Judge notes what the whole body has shown, before End.
func (f *Flight) Judge(why cache.Reason, tokens int64) {
	f.mu.Lock()
	f.response.Why, f.response.Tokens = why, tokens
	f.mu.Unlock()
}

// End tells that the body is whole, with the record made of it, or nil.
func (f *Flight) End(record []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.response.Record = record
	f.complete()
	f.nudgeAll()
}

// complete notes that the response is whole. The lock is held.
func (f *Flight) complete() {
	f.response.Whole, f.cancel = true, nil
	key := f.stamp.Key()
	f.table.ends[markSlot(key)].Add(1)
	f.end()
	f.remove()
}

// Drain waits until the body is whole and throws it away.
func (f *Flight) Drain(w *Waiter) error {
	for {
		if _, more, err := f.Next(w, time.Hour); err != nil || !more {
			return err
		}
	}
}

// Told notes that those who read are told so before Break.
func (f *Flight) Told() {
	f.mu.Lock()
	f.response.Told = true
	f.mu.Unlock()
}

// Break tells that the body has no end.
func (f *Flight) Break() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.response.Broken, f.cancel = true, nil
	f.end()
	f.remove()
	f.nudgeAll()
}

// Wait waits for a role, at most so long. After Lead the caller must end the flight by Private, Fail, or Fill and
// what follows it.
func (f *Flight) Wait(w *Waiter, limit time.Duration) Role {
	began := wire.Now()
	w.timer.Reset(limit)
	defer w.timer.Stop()
	for {
		if o, ok := f.role(w); ok {
			return o
		}
		select {
		case <-w.wake:
		case <-w.timer.C:
			if w.timedOut(&began, limit) {
				f.Leave(w)
				return Late
			}
		}
	}
}

func (f *Flight) role(w *Waiter) (Role, bool) {
	if w.gone.Load() {
		f.Leave(w)
		return Gone, true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch f.stage {
	case filling:
		return Follow, true
	case private:
		return Alone, true
	case failed:
		return Failed, true
	}
	if f.led {
		return 0, false
	}
	f.led = true
	return Lead, true
}

// Response returns what there is of the response.
func (f *Flight) Response() Response {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.response
}

// Next returns the next piece of a response's body, waiting for it at most so long. more tells whether
// another may follow. ErrNobody tells that w's client has left, ErrBroken that there is no end.
func (f *Flight) Next(w *Waiter, limit time.Duration) (piece []byte, more bool, err error) {
	w.timer.Reset(limit)
	defer w.timer.Stop()
	for {
		if w.gone.Load() {
			return nil, false, ErrNobody
		}
		f.mu.Lock()
		if w.behind.Load() {
			f.mu.Unlock()
			return nil, false, ErrBroken // what it has not read is gone
		}
		piece = f.response.Body[w.read-f.base:]
		if n := f.base + int64(len(f.response.Body)); n == f.response.Length && !f.response.Whole && !f.response.Broken {
			piece = nil // the client will know it for the end: not before others find it stored
		}
		w.read += int64(len(piece))
		more = !f.response.Whole
		broken := f.response.Broken
		if len(piece) > 0 {
			f.makeRoom()
		}
		f.mu.Unlock()
		switch {
		case len(piece) > 0 || !more:
			return piece, more, nil
		case broken:
			return nil, false, ErrBroken
		}
		select {
		case <-w.wake:
		case <-w.timer.C:
			return nil, false, ErrBroken
		}
	}
}

// ErrBroken tells that a response was cut.
var ErrBroken = errors.New("caching: the response has no end")
