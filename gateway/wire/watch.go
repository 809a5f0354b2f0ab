package wire

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A Watch notices clients that leave while their request is on its way. fasthttp does not read from a
// client's connection while a handler runs, so it would not notice: the kernel is asked about all of them at
// once, a few times a second. poll(2) sees the client's FIN or RST also behind bytes that it has sent ahead.
// A client that half-closes counts as gone, as in nginx and net/http. For who relays a stream it looks for the upstream's end, too: see
// Guard.
type Watch struct {
	shards [32]watchShard
	next   atomic.Uint32
	stop   chan struct{}
	done   chan struct{}
}

type watchShard struct {
	mu      sync.Mutex
	entries []*Watched
	polls   []unix.PollFd // two for each of entries: its client, and what Guard was given
	_       [64]byte      // a cache line of its own
}

// A Watched is one request under watch; it is part of the exchange, and reused with it.
type Watched struct {
	client   *ClientConn // nil: no client waits
	work     Interrupter
	stayer   Stayer
	guarded  *UpstreamConn // nil: none
	orphaned bool          // the client has left, and stayer lets the work go on
	wakes    bool          // whoever does it is woken then
	at       atomic.Pointer[watchShard]
	index    int
	gone     atomic.Bool
}

// An Interrupter is what goes on for a client: it is told, from another goroutine, that the client has left.
type Interrupter interface{ Interrupt() }

// A Stayer may let the work go on for others when its client leaves. It is asked from
// another goroutine, perhaps more than once, and must not call the Watch.
type Stayer interface{ ClientLeft() (goOn bool) }

// NewWatch starts watching, every so often.
func NewWatch(every time.Duration) *Watch {
	w := &Watch{stop: make(chan struct{}), done: make(chan struct{})}
	go w.run(every)
	return w
}

// Close ends the watch.
func (w *Watch) Close() {
	close(w.stop)
	<-w.done
}

// Add puts the work for a client under watch until Remove. When the client leaves, [Watched.Gone] turns true
// and then the work and the client's connection are interrupted, so that the goroutine that wakes knows why; unless stayer,
// which may be nil, lets the work go on. Without a client only [Watch.Interrupt] and [Watch.InterruptAll] do.
func (w *Watch) Add(e *Watched, client *ClientConn, work Interrupter, stayer Stayer) {
	fd := -1 // poll(2) passes over it
	if client != nil {
		fd = client.fd
	}
	e.client, e.work, e.stayer, e.orphaned, e.wakes = client, work, stayer, false, false
	s := &w.shards[w.next.Add(1)%uint32(len(w.shards))]
	s.mu.Lock()
	e.index = len(s.entries)
	e.at.Store(s)
	s.entries = append(s.entries, e)
	s.polls = append(s.polls, unix.PollFd{Fd: int32(fd), Events: hangUp}, unix.PollFd{Fd: -1})
	s.mu.Unlock()
}

// Guard has the Watch look after the connection to an upstream as well, until Remove: who receives from it by
// [UpstreamConn.ReceiveEach] is woken, once, when it has been reset or ended. Linux before 5.1, and gVisor, do not count a FIN in TCP_INQ.
func (w *Watch) Guard(e *Watched, conn *UpstreamConn) {
	s := e.at.Load()
	if s == nil || conn.direct == nil {
		return
	}
	s.mu.Lock()
	e.guarded = conn
	s.polls[2*e.index+1] = unix.PollFd{Fd: int32(conn.fd), Events: hangUp}
	s.mu.Unlock()
}

// Detach goes on watching the work, but no longer for its client.
func (w *Watch) Detach(e *Watched) {
	s := e.at.Load()
	if s == nil {
		return
	}
	s.mu.Lock()
	e.client, e.stayer, e.wakes = nil, nil, false
	s.polls[2*e.index].Fd = -1
	s.mu.Unlock()
}

// Attach takes Detach back: the work is for that client again. One that has left meanwhile is found at the next look. If it goes on for others
// then, the work is told by Wake, if it has that.
func (w *Watch) Attach(e *Watched, client *ClientConn, stayer Stayer) {
	s := e.at.Load()
	if s == nil {
		return
	}
	s.mu.Lock()
	e.client, e.stayer, e.wakes = client, stayer, true
	s.polls[2*e.index].Fd = int32(client.fd)
	s.mu.Unlock()
}

// Replace puts other work in the place of e's. It is interrupted at once if the client has left.
func (w *Watch) Replace(e *Watched, work Interrupter) {
	s := e.at.Load()
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.work = work; e.gone.Load() {
		work.Interrupt()
	}
}

// Interrupt treats the client of e as gone, whatever stayer says. It may be called from any goroutine as long as e is
// not reused.
func (w *Watch) Interrupt(e *Watched) {
	for {
		s := e.at.Load()
		if s == nil {
			return
		}
		s.mu.Lock()
		if e.at.Load() == s {
			e.interrupt()
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
	}
}

// InterruptAll treats every client under watch as gone.
func (w *Watch) InterruptAll() {
	for i := range w.shards {
		s := &w.shards[i]
		s.mu.Lock()
		for _, e := range s.entries {
			e.interrupt()
		}
		s.mu.Unlock()
	}
}

// Revoke treats every client under watch whose request has lost its permit as gone.
func (w *Watch) Revoke() {
	for i := range w.shards {
		s := &w.shards[i]
		s.mu.Lock()
		for _, e := range s.entries {
			if e.client != nil && e.client.revoked() {
				e.clientLeft()
			}
		}
		s.mu.Unlock()
	}
}

// interrupt wakes the goroutines that work for the client. The shard is locked.
func (e *Watched) interrupt() {
	if e.gone.Swap(true) {
		return
	}
	e.work.Interrupt()
	if e.client != nil {
		e.client.Interrupt()
	}
}

// clientLeft interrupts the exchange unless it goes on for others. The shard is locked.
func (e *Watched) clientLeft() {
	if e.orphaned {
		return
	}
	if e.stayer != nil && e.stayer.ClientLeft() {
		e.orphaned = true
		if w, ok := e.work.(interface{ Wake() }); ok && e.wakes {
			w.Wake()
		}
		return
	}
	e.interrupt()
}

// Remove ends the watch of an exchange; after it, the Watch does not touch its connections. It is safe to call twice.
func (w *Watch) Remove(e *Watched) {
	s := e.at.Load()
	if s == nil {
		return
	}
	s.mu.Lock()
	last := len(s.entries) - 1
	s.entries[e.index] = s.entries[last]
	copy(s.polls[2*e.index:2*e.index+2], s.polls[2*last:])
	s.entries[e.index].index = e.index
	s.entries[last] = nil
	s.entries, s.polls = s.entries[:last], s.polls[:2*last]
	e.at.Store(nil)
	s.mu.Unlock()
	e.client, e.work, e.stayer, e.guarded = nil, nil, nil, nil
}

// Gone tells whether the client has left.
func (e *Watched) Gone() bool { return e.gone.Load() }

// MarkGone notes that the client is gone, where its connection has shown it.
func (e *Watched) MarkGone() { e.gone.Store(true) }

// Reset readies e for another request.
func (e *Watched) Reset() { e.gone.Store(false) }

func (w *Watch) run(every time.Duration) {
	defer close(w.done)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	startBeating()
	defer endBeating()
	for {
		select {
		case <-w.stop:
			return
		case <-ticker.C:
		}
		beat()
		for i := range w.shards {
			w.shards[i].sweep()
		}
	}
}

// sweep asks the kernel about the clients of one shard. The lock is held meanwhile, so no entry goes away;
// a poll of a thousand descriptors, all shards together, takes some tens of microseconds.
func (s *watchShard) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.polls) == 0 {
		return
	}
	if n, err := unix.Poll(s.polls, 0); n <= 0 || err != nil {
		return
	}
	for i, e := range s.entries {
		client, upstream := &s.polls[2*i], &s.polls[2*i+1]
		if upstream.Revents != 0 {
			upstream.Fd, upstream.Revents = -1, 0 // once
			e.guarded.Wake()
		}
		if client.Revents != 0 {
			client.Revents = 0
			e.clientLeft()
		}
	}
}
