package wire

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A socket is a connection, and what net.Conn does not tell about it.
type socket struct {
	net.Conn
	below       net.Conn // what is below TLS; nil: Conn is the kernel's
	direct      *direct  // to the kernel's; nil: by its methods
	fd          int      // -1 if there is none, as for connections in memory
	poll        [1]unix.PollFd
	peek        [1]byte
	interrupted atomic.Bool
	woken       atomic.Bool // see Wake
	waking      sync.Mutex
	reads       rollingDeadline
	writes      rollingDeadline
	sealed      bool // Conn is TLS itself, for which a write that has timed out is the last one
}

// kernel is the connection that the file descriptor belongs to.
func (s *socket) kernel() net.Conn {
	if s.below != nil {
		return s.below
	}
	return s.Conn
}

// read reads once, through TLS if there is any.
func (s *socket) read(to Place) (int, error) {
	if s.below == nil {
		if n, ok, err := s.direct.read(to); ok {
			return n, err
		}
	}
	to.take()
	n, err := s.Conn.Read(to.p)
	if n == 0 {
		to.giveBack()
	}
	return n, err
}

// put writes to what is below TLS.
func (s *socket) put(p []byte) (int, error) {
	if n, ok, err := s.direct.write(p); ok {
		return n, err
	}
	return s.kernel().Write(p)
}

// Interrupt wakes the goroutines that read from or write to the connection, which is at its end. It may be called by
// any goroutine.
func (s *socket) Interrupt() {
	s.interrupted.Store(true)
	_ = s.Conn.SetDeadline(longAgo)
}

// Wake has a receive that waits, or else the next one, return ErrWoken, once. It may be called by any goroutine. Nothing that was sent is lost.
func (s *socket) Wake() {
	s.waking.Lock()
	defer s.waking.Unlock()
	s.woken.Store(true)
	_ = s.Conn.SetReadDeadline(longAgo)
}

// ErrWoken tells that a receive has ended because of Wake.
var ErrWoken = errors.New("wire: woken")

// Woken tells whether Wake was called, and takes that back.
func (s *socket) Woken() bool {
	if !s.woken.Load() {
		return false
	}
	s.waking.Lock() // Wake has done its part
	defer s.waking.Unlock()
	s.reads = rollingDeadline{}
	return s.woken.Swap(false)
}

// receive reads once, waiting at most the given time.
func (s *socket) receive(to Place, wait time.Duration) (int, error) {
	for {
		now := Now()
		if err := s.reads.extend(now, wait, s.Conn.SetReadDeadline); err != nil {
			return 0, err
		}
		// Looked at after the deadline is set: an interruption in between has set its own, which is lost now.
		if s.interrupted.Load() {
			return 0, net.ErrClosed
		}
		if s.Woken() {
			return 0, ErrWoken
		}
		n, err := s.read(to)
		if n > 0 || err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		if s.Woken() {
			return 0, ErrWoken
		}
		if !StoodStill(now) {
			return n, err
		}
	}
}

// readable tells whether there are bytes to read, an end or an error. One system call.
func (s *socket) readable() bool { return s.fd >= 0 && s.something() }

// HungUp tells whether the other end has closed the connection, also behind unread bytes. One system call.
func (s *socket) HungUp() bool { return s.ready(hangUp) }

func (s *socket) ready(events int16) bool {
	if s.fd < 0 {
		return false
	}
	s.poll[0] = unix.PollFd{Fd: int32(s.fd), Events: events}
	n, _ := unix.Poll(s.poll[:], 0)
	return n != 0
}

// descriptor returns the file descriptor of conn, or -1 if it has none, as connections in memory.
// It stays the connection's own until Close; nothing is read, written or closed through it.
func descriptor(conn net.Conn) int {
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = t.NetConn() // below TLS
	}
	s, ok := conn.(syscall.Conn)
	if !ok {
		return -1
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return -1
	}
	fd := -1
	if raw.Control(func(n uintptr) { fd = int(n) }) != nil {
		return -1
	}
	return fd
}
