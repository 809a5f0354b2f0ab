package wire

import (
	"cmp"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A Listener accepts client connections for fasthttp.Server and knows the open ones, so that a shutdown can
// end those that fasthttp would wait for in vain.
type Listener struct {
	net.Listener
	options  ClientOptions
	idle     atomic.Int64 // options.Idle in force, in nanoseconds
	bodyRate atomic.Int64 // options.BodyRate in force
	keep     atomic.Int64 // the same of options.KeepAlive
	patient  *Patient
	mu       sync.Mutex
	open     map[*ClientConn]struct{}
	crowds   map[netip.Prefix]*crowd
	draining atomic.Bool
	lingers  lingers

	lastDescriptor int

	handedOver atomic.Bool   // the socket is another process' now
	closed     chan struct{} // by Close
	once       sync.Once
}

// Listen wraps ln. onFault is told why accepting was put off (out of file descriptors or memory); it may be
// nil.
func Listen(ln net.Listener, o ClientOptions, onFault func(error)) *Listener {
	if onFault == nil {
		onFault = func(error) {}
	}
	l := &Listener{Listener: ln, options: o, open: make(map[*ClientConn]struct{}), closed: make(chan struct{}),
		crowds: make(map[netip.Prefix]*crowd), lastDescriptor: lastDescriptor()}
	l.patient = NewPatient(ln, func() bool { return l.MakeRoom() || o.Room != nil && o.Room() }, onFault)
	l.lingers.time, l.lingers.silence = cmp.Or(o.Linger, lingerTime), cmp.Or(o.LingerIdle, lingerSilence)
	l.options.BodyWindow = cmp.Or(o.BodyWindow, bodyWindow)
	l.options.MaxHead = cmp.Or(o.MaxHead, maxHead)
	l.SetIdle(o.Idle)
	l.SetBodyRate(o.BodyRate)
	l.SetKeepAlive(o.KeepAlive)
	return l
}

// SetIdle changes how long a client may be silent inside a body and take nothing of a reply, also for
// connections that are open.
func (l *Listener) SetIdle(d time.Duration) { l.idle.Store(int64(d)) }

// SetBodyRate changes how many bytes a second a body must bring, also for connections that are open. 0: none.
func (l *Listener) SetBodyRate(n int64) { l.bodyRate.Store(n) }

// SetKeepAlive changes how long a client may be silent between two requests, for open connections from their next
// silence on.
func (l *Listener) SetKeepAlive(d time.Duration) { l.keep.Store(int64(d)) }

func (l *Listener) keepAliveTime() time.Duration { return time.Duration(l.keep.Load()) }

func (l *Listener) idleTime() time.Duration { return time.Duration(l.idle.Load()) }

// Accept waits for the next connection, patiently: see [Patient].
func (l *Listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.patient.Accept()
		if err != nil {
			if l.handedOver.Load() {
				<-l.closed
				return nil, net.ErrClosed
			}
			return nil, err
		}
		if c := l.admit(conn); c != nil {
			return c, nil
		}
	}
}

// A Patient listener outlives a lack of file descriptors or memory, which would end fasthttp.Server for good.
type Patient struct {
	net.Listener
	room    func() bool // has an idle connection make room, and tells whether one did; nil: there is none
	onFault func(error)
}

// NewPatient wraps ln. onFault is told why accepting was put off.
func NewPatient(ln net.Listener, room func() bool, onFault func(error)) *Patient {
	if room == nil {
		room = func() bool { return false }
	}
	return &Patient{ln, room, onFault}
}

// Accept waits for the next connection.
func (p *Patient) Accept() (net.Conn, error) {
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		conn, err := p.Listener.Accept()
		switch {
		case err == nil:
			return conn, nil
		case lacking(err) && p.room():
		case !passing(err):
			return nil, err
		default:
			p.onFault(err)
			time.Sleep(wait)
		}
	}
}

// HandOver accepts no more: the socket, with the connections that were not accepted, is another process' from now on. The open
// connections go on, and Accept waits for Close.
func (l *Listener) HandOver() {
	l.handedOver.Store(true)
	_ = l.Listener.Close()
}

// HandedOver tells whether Leave was called.
func (l *Listener) HandedOver() bool { return l.handedOver.Load() }

// Close ends Accept, and soon the connections that only linger.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	l.lingers.shorten(lingerLast)
	if l.HandedOver() {
		return nil
	}
	return l.Listener.Close()
}

// Open is how many connections are open.
func (l *Listener) Open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.open)
}

// passing tells whether an accept that failed so may succeed later. accept(2).
func passing(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (l *Listener) wrap(conn net.Conn) *ClientConn {
	c := &ClientConn{socket: socket{Conn: conn, fd: descriptor(conn), direct: newDirect(conn)}, listener: l}
	if addr, err := netip.ParseAddrPort(conn.RemoteAddr().String()); err == nil {
		c.peer = addr.Addr().Unmap().WithZone("")
		c.peerText = c.peer.AppendTo(nil)
	}
	c.secure(l.options.TLS)
	c.silence.begin(Now())
	return c
}

func (l *Listener) forget(c *ClientConn) {
	l.mu.Lock()
	delete(l.open, c)
	l.leaveCrowd(c)
	l.mu.Unlock()
}

// Drain wakes the connections on which no byte has arrived yet: fasthttp counts them as busy for their first
// five seconds. Those that linger end soon.
func (l *Listener) Drain() {
	l.lingers.shorten(lingerLast)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.draining.Store(true)
	for c := range l.open {
		if !c.begun.Load() || c.silence.whole() {
			_ = c.Conn.SetReadDeadline(longAgo)
		}
	}
}

// ResetRevoked resets the connections whose requests have lost their permit. What works for them is told by [Watch.Revoke].
func (l *Listener) ResetRevoked() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.open {
		if c.revoked() {
			c.Reset()
			c.resetOnClose()
			c.Interrupt()
			n++
		}
	}
	return n
}

// ResetAll resets every open connection: what is cut now must not look complete. It returns how many. Those that
// linger have had their reply, and end.
func (l *Listener) ResetAll() int {
	l.lingers.shorten(0)
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.open {
		c.Reset()
		c.resetOnClose()
		c.Interrupt()
	}
	return len(l.open)
}
