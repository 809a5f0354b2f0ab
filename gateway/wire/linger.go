package wire

import (
	"container/list"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Bounds of a linger, as in nginx (lingering_time, lingering_timeout): enough for an honest client that sends on
// without looking, at whatever pace, to see its 413. Reading to nowhere is cheap, and memory is held only while
// something comes; what counts are the time and the descriptors.
const (
	lingerTime    = 30 * time.Second // in all
	lingerSilence = 5 * time.Second
	lingerLast    = time.Second // in all, once the listener drains or is closed
	maxLingering  = 1024        // connections; one more, and the one that has lingered for longest makes room
)

// lingers are a listener's connections that have nothing more to say, and whose clients may still be sending.
type lingers struct {
	mu      sync.Mutex
	all     list.List // of *linger, in the order in which they began
	time    time.Duration
	silence time.Duration
}

// A linger reads to nowhere what a client still sends, in a goroutine of its own: the one that served the connection
// is wanted for another connection.
type linger struct {
	lingers *lingers
	conn    *ClientConn
	raw     syscall.RawConn
	until   atomic.Int64 // as Now
	place   *list.Element
}

// begin lingers behind the caller's back, and closes the connection then.
func (l *lingers) begin(c *ClientConn, raw syscall.RawConn) {
	g := &linger{lingers: l, conn: c, raw: raw}
	l.mu.Lock()
	g.until.Store(int64(Now() + l.time))
	if g.place = l.all.PushBack(g); l.all.Len() > maxLingering {
		l.all.Front().Value.(*linger).shorten(0)
	}
	l.mu.Unlock()
	go g.run()
}

// count is how many there are.
func (l *lingers) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Len()
}

// shorten gives those that are there, and those that come, so much time from now.
func (l *lingers) shorten(to time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.time = min(l.time, to)
	for e := l.all.Front(); e != nil; e = e.Next() {
		e.Value.(*linger).shorten(to)
	}
}

// shorten gives it at most so much time from now.
func (g *linger) shorten(to time.Duration) {
	until := min(g.until.Load(), int64(Now()+to))
	g.until.Store(until)
	_ = g.conn.kernel().SetReadDeadline(began.Add(time.Duration(until)))
}

func (g *linger) run() {
	defer func() {
		g.lingers.mu.Lock()
		g.lingers.all.Remove(g.place)
		g.lingers.mu.Unlock()
		_ = g.conn.shut()
	}()
	var silence rollingDeadline
	conn := g.conn.kernel()
	for {
		now, until := Now(), g.until.Load()
		left := time.Duration(until) - now
		if left <= 0 || silence.extend(now, min(left, g.lingers.silence), conn.SetReadDeadline) != nil {
			return
		}
		if g.until.Load() != until {
			silence.at = 0 // shorten has set a deadline, which is lost now
			continue
		}
		if !discard(g.raw) {
			return
		}
	}
}

// discard waits for bytes and throws away what there is of them. No buffer is held while it waits.
func discard(raw syscall.RawConn) (more bool) {
	more = true
	err := raw.Read(func(fd uintptr) bool {
		got, end := discardNow(int(fd))
		more = !end
		return got || end
	})
	return more && err == nil
}

// discardNow throws away what is there, or a good part of it.
func discardNow(fd int) (got, end bool) {
	const reads = 64 // and then the time is looked at
	b := GetBuffer(SmallBuffer)
	defer b.Put()
	for range reads {
		switch _, err := receiveNow(fd, b.B); err {
		case nil:
			got = true
		case errNothing:
			return got, false
		default:
			return got, true
		}
	}
	return got, false
}

// linger ends what is sent to the client, and leaves the rest of the closing to a goroutine if the client may still be
// sending. Otherwise it returns false.
func (c *ClientConn) linger() bool {
	if c.CloseWrite() != nil || c.fd < 0 {
		return false
	}
	if _, end := discardNow(c.fd); end {
		return false
	}
	s, ok := c.kernel().(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	c.rest = nil
	c.release()
	c.dropHead()
	c.listener.lingers.begin(c, raw)
	return true
}

// Lingering is how many connections are only read to their end.
func (l *Listener) Lingering() int { return l.lingers.count() }

// EndLingers closes them.
func (l *Listener) EndLingers() { l.lingers.shorten(0) }
