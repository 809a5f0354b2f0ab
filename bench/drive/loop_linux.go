package drive

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"aigateway/bench/internal/poll"

	"golang.org/x/sys/unix"
)

// loop is one run of a Plan. All times are since its start.
type loop struct {
	Plan
	res    *Result
	poller *poll.Poller
	conns  []conn
	addrs  []unix.Sockaddr // of the targets
	free   fifo[int32]     // connections that may send, the one that waits longest first
	wait   fifo[time.Duration]
	leave  fifo[departure]
	start  time.Time
	now    time.Duration
	begun  int64 // requests that became due
	open   int   // requests that are sent and not over
	swept  time.Duration
	told   time.Duration
	buf    []byte
}

// conn is a connection and the request on it.
type conn struct {
	fd    int // -1: none
	turn  int32
	state connState
	watch uint32        // what the poller waits for
	due   time.Duration // of the request
	sent  time.Duration
	last  time.Duration // when the last event of a stream came
	todo  []byte        // of the request, still to be written
	answer
}

type connState uint8

const (
	idle connState = iota // nothing to do
	dialing
	sending
	awaiting
)

// departure is when a client leaves, if it still waits for the same answer.
type departure struct {
	at  time.Duration
	who poll.Slot
	due time.Duration
}

// Run carries out a plan and returns once every request is answered or given up.
func Run(p Plan) (*Result, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	l := &loop{Plan: p, buf: make([]byte, 256<<10), conns: make([]conn, p.Conns),
		res: &Result{Status: make(map[int]int64), Errors: make(map[string]int64)}}
	for _, t := range p.Targets {
		a, err := sockaddr(t.Addr)
		if err != nil {
			return nil, err
		}
		l.addrs = append(l.addrs, a)
	}
	var err error
	if l.poller, err = poll.New(); err != nil {
		return nil, err
	}
	defer l.poller.Close()
	defer l.closeAll()
	if err := l.prepare(); err != nil {
		return nil, err
	}
	return l.res, l.run()
}

func sockaddr(addr string) (unix.Sockaddr, error) {
	a, err := netip.ParseAddrPort(addr)
	switch {
	case err != nil:
		return nil, fmt.Errorf("an IP address and a port are needed, not %q", addr)
	case a.Addr().Is4() || a.Addr().Is4In6():
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().Unmap().As4()}, nil
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}, nil
}

// prepare opens the connections that will be kept, before the clock starts. A server that is not there is told at once.
func (l *loop) prepare() error {
	l.start = time.Now()
	for i := range l.conns {
		l.conns[i].fd = -1
		if l.Fresh && i >= len(l.addrs) {
			continue
		}
		if err := l.dial(int32(i)); err != nil {
			return fmt.Errorf("cannot connect to %s: %w", l.target(int32(i)).Addr, err)
		}
	}
	for l.dialing() > 0 {
		if err := l.step(time.Millisecond); err != nil {
			return err
		}
		if l.now > l.Timeout {
			return errors.New("cannot connect to all targets in time")
		}
		for i := range l.conns {
			if c := &l.conns[i]; c.state == idle && c.fd < 0 && (!l.Fresh || i < len(l.addrs)) {
				return fmt.Errorf("cannot connect to %s", l.target(int32(i)).Addr)
			}
		}
	}
	clear(l.res.Errors)
	l.res.Latency = Histogram{}
	l.free = fifo[int32]{}
	for i := range l.conns {
		if l.Fresh {
			l.hangUp(int32(i))
		}
		l.free.push(int32(i))
	}
	if l.Fresh {
		l.res.Dialed = 0
	}
	l.start, l.now, l.swept, l.told = time.Now(), 0, 0, 0
	return nil
}

func (l *loop) dialing() (n int) {
	for i := range l.conns {
		if l.conns[i].state == dialing {
			n++
		}
	}
	return n
}

func (l *loop) target(i int32) *Target { return &l.Targets[int(i)%len(l.Targets)] }

func (l *loop) run() error {
	for {
		l.admit()
		for l.free.len() > 0 && l.wait.len() > 0 && !l.late() {
			l.send(l.free.pop(), l.wait.pop())
		}
		if l.done() {
			break
		}
		if err := l.step(l.pause()); err != nil {
			return err
		}
	}
	for l.wait.len() > 0 { // each waited at least this long
		l.fail(KindUnsent, l.wait.pop())
	}
	l.res.Due = l.begun
	l.res.Elapsed = l.now
	return nil
}

// over tells whether no further request becomes due.
func (l *loop) over() bool {
	return l.Time > 0 && l.now >= l.Time || l.Most > 0 && l.begun >= l.Most
}

func (l *loop) done() bool {
	if !l.over() || l.open > 0 {
		return false
	}
	return l.wait.len() == 0 || l.late()
}

// late tells whether what is not sent by now will not be.
func (l *loop) late() bool { return l.Time > 0 && l.now > l.Time+l.Timeout }

// admit notes the requests whose time has come. In a closed loop that is one for every free connection.
func (l *loop) admit() {
	if l.Rate == 0 {
		for n := l.free.len(); n > l.wait.len() && !l.over(); l.begun++ {
			l.wait.push(l.now)
		}
		return
	}
	for {
		due := l.due(l.begun)
		if due > l.now || l.Most > 0 && l.begun >= l.Most || l.Time > 0 && due >= l.Time {
			return
		}
		l.wait.push(due)
		l.begun++
	}
}

// due is when request number i is: computed from the number, so that no error adds up.
func (l *loop) due(i int64) time.Duration { return time.Duration(float64(i) * 1e9 / l.Rate) }

// pause is how long nothing needs to be done unless something happens.
func (l *loop) pause() time.Duration {
	d := 10 * time.Millisecond
	if l.Rate > 0 && !l.over() {
		d = min(d, l.due(l.begun)-l.now)
	}
	if l.leave.len() > 0 {
		d = min(d, l.leave.first().at-l.now)
	}
	return d
}

// step waits for what happens and sees to it.
func (l *loop) step(most time.Duration) error {
	events, err := l.poller.Wait(most)
	if err != nil {
		return err
	}
	l.now = time.Since(l.start)
	for _, e := range events {
		if c := &l.conns[e.Place]; c.turn == e.Turn && c.fd >= 0 {
			l.happened(e)
		}
	}
	for l.leave.len() > 0 && l.leave.first().at <= l.now {
		l.depart(l.leave.pop())
	}
	if l.now-l.swept > 50*time.Millisecond {
		l.swept = l.now
		l.sweep()
	}
	if l.Every > 0 && l.now-l.told >= l.Every {
		l.told = l.now
		l.res.Elapsed, l.res.Due = l.now, l.begun
		l.Progress(l.now, l.res)
	}
	return nil
}

func (l *loop) happened(e poll.Event) {
	c := &l.conns[e.Place]
	if e.Writable && c.state == dialing {
		if code, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil || code != 0 {
			l.lost(e.Place, KindConnect)
			return
		}
		c.state = idle
		if c.todo != nil {
			c.state = sending
		}
		l.want(e.Place, poll.Readable)
	}
	if e.Writable && c.state == sending {
		l.write(e.Place)
	}
	if e.Readable && c.fd >= 0 && c.turn == e.Turn && c.state != dialing {
		l.read(e.Place)
	}
}

// send begins a request on a connection, which it opens if there is none.
func (l *loop) send(i int32, due time.Duration) {
	c := &l.conns[i]
	c.due, c.sent, c.state = due, l.now, sending
	if c.todo = l.target(i).Request; l.target(i).Next != nil {
		c.todo = l.target(i).Next()
	}
	c.reset(l.target(i).HEAD)
	l.open++
	if c.fd < 0 {
		if err := l.dial(i); err != nil {
			l.lost(i, KindConnect)
		}
		return
	}
	l.write(i)
}

func (l *loop) dial(i int32) error {
	c := &l.conns[i]
	addr, family := l.addrs[int(i)%len(l.addrs)], unix.AF_INET
	if _, six := addr.(*unix.SockaddrInet6); six {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	l.res.Dialed++
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	c.fd, c.state, c.watch = fd, dialing, poll.Readable|poll.Writable
	c.turn++
	if err := unix.Connect(fd, addr); err != nil && err != unix.EINPROGRESS {
		return err
	}
	return l.poller.Add(fd, poll.Slot{Place: i, Turn: c.turn}, c.watch)
}

// want changes what the poller waits for.
func (l *loop) want(i int32, what uint32) {
	c := &l.conns[i]
	if c.watch != what {
		c.watch = what
		_ = l.poller.Change(c.fd, poll.Slot{Place: i, Turn: c.turn}, what)
	}
}

func (l *loop) write(i int32) {
	c := &l.conns[i]
	n, err := unix.Write(c.fd, c.todo)
	switch {
	case err == unix.EAGAIN:
	case err != nil:
		l.lost(i, KindClosed)
		return
	default:
		c.todo = c.todo[n:]
	}
	if len(c.todo) > 0 {
		l.want(i, poll.Readable|poll.Writable)
		return
	}
	l.want(i, poll.Readable)
	c.todo, c.state = nil, awaiting
	l.res.Lag.Add(c.sent - c.due)
	if l.Leave > 0 {
		l.leave.push(departure{at: l.now + l.Leave, who: poll.Slot{Place: i, Turn: c.turn}, due: c.due})
	}
}

func (l *loop) read(i int32) {
	c := &l.conns[i]
	n, err := unix.Read(c.fd, l.buf)
	switch {
	case err == unix.EAGAIN:
		return
	case c.state == idle: // closed, or said something unasked, while nobody waited
		l.hangUp(i)
		return
	case err != nil || n == 0 && c.end() != nil:
		l.lost(i, KindClosed)
		return
	}
	if n > 0 {
		if !c.begun() {
			l.res.FirstByte.Add(l.now - c.due)
		}
		had := c.events
		if c.feed(l.buf[:n]) != nil {
			l.lost(i, KindMalformed)
			return
		}
		l.noteEvents(c, had)
	}
	if c.answer.state == complete {
		l.finish(i)
	}
}

// noteEvents takes the times of the events that came with a read, which had so many before it.
func (l *loop) noteEvents(c *conn, had int64) {
	for n := had; n < c.events; n++ {
		if n == 0 {
			l.res.Event.Add(l.now - c.due)
		} else {
			l.res.Gap.Add(l.now - c.last)
		}
		c.last = l.now
	}
}

// finish counts a whole answer and frees the connection.
func (l *loop) finish(i int32) {
	c := &l.conns[i]
	l.res.Done++
	l.res.Status[c.status]++
	l.res.Body += c.body
	l.res.Events += c.events
	l.res.Latency.Add(l.now - c.due)
	if c.close || l.Fresh || c.state == sending { // an answer before the end of the request: what follows is anybody's guess
		l.hangUp(i)
	}
	l.release(i)
}

// lost counts a request without a whole answer.
func (l *loop) lost(i int32, kind string) {
	c := &l.conns[i]
	busy := c.state != idle && (c.state != dialing || c.todo != nil)
	l.hangUp(i)
	if busy {
		l.fail(kind, c.due)
		l.release(i)
	}
}

func (l *loop) fail(kind string, due time.Duration) {
	l.res.Errors[kind]++
	l.res.Latency.Add(l.now - due)
}

func (l *loop) release(i int32) {
	c := &l.conns[i]
	c.state, c.todo = idle, nil
	l.open--
	l.free.push(i)
}

func (l *loop) hangUp(i int32) {
	c := &l.conns[i]
	if c.fd >= 0 {
		_ = unix.Close(c.fd)
	}
	c.fd, c.state = -1, idle
	c.turn++
}

// depart closes a connection whose client has waited long enough.
func (l *loop) depart(d departure) {
	c := &l.conns[d.who.Place]
	if c.turn != d.who.Turn || c.state != awaiting || c.due != d.due {
		return // answered before
	}
	l.res.Left++
	l.res.Events += c.events
	l.res.Body += c.body
	l.hangUp(d.who.Place)
	l.release(d.who.Place)
}

// sweep gives up what takes too long.
func (l *loop) sweep() {
	for i := range l.conns {
		if c := &l.conns[i]; (c.state == awaiting || c.state == sending || c.state == dialing && c.todo != nil) && l.now-c.sent > l.Timeout {
			l.lost(int32(i), KindTimeout)
		}
	}
}

func (l *loop) closeAll() {
	for i := range l.conns {
		l.hangUp(int32(i))
	}
}

// fifo is a queue in a ring that grows.
type fifo[T any] struct {
	ring        []T
	read, count int
}

func (q *fifo[T]) len() int { return q.count }

func (q *fifo[T]) first() T { return q.ring[q.read] }

func (q *fifo[T]) push(v T) {
	if q.count == len(q.ring) {
		grown := make([]T, max(64, 2*len(q.ring)))
		n := copy(grown, q.ring[q.read:])
		copy(grown[n:], q.ring[:q.read])
		q.ring, q.read = grown, 0
	}
	q.ring[(q.read+q.count)%len(q.ring)] = v
	q.count++
}

func (q *fifo[T]) pop() T {
	v := q.ring[q.read]
	q.read = (q.read + 1) % len(q.ring)
	q.count--
	return v
}
