// Package poll waits for many sockets in one thread, for the load generator and the upstream of the measurements.
//
// Go's own poller costs a read that returns EAGAIN per answer, and its timers are a millisecond coarse when nothing
// else happens. Both would show in what is measured: the generator shares a core with the upstream, and a request that
// is sent late counts as a late answer.
package poll

import (
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What a Slot waits for. The end of the connection is always reported, as readable.
const (
	Readable = unix.EPOLLIN | unix.EPOLLRDHUP
	Writable = unix.EPOLLOUT
)

// A Slot says who an event is for. Turn tells the present connection of a place from the ones before it, whose events
// may still be in the batch.
type Slot struct {
	Place, Turn int32
}

// Event is what happened on a socket. An error or the end of the connection is both readable and writable: whoever
// tries finds out.
type Event struct {
	Slot
	Readable, Writable bool
}

// A Poller belongs to one goroutine.
type Poller struct {
	fd     int
	raw    [512]unix.EpollEvent
	events []Event
}

// New makes a Poller and ties the goroutine to its thread, whose sleeps are exact from now on: by default Linux lets
// them end up to 50 µs late (prctl(2), PR_SET_TIMERSLACK).
func New() (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	runtime.LockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	return &Poller{fd: fd}, nil
}

// Close ends it; the sockets stay open.
func (p *Poller) Close() {
	_ = unix.Close(p.fd)
	runtime.UnlockOSThread()
}

// Add waits for what happens on a socket, until the socket is closed.
func (p *Poller) Add(fd int, s Slot, what uint32) error {
	return unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: what, Fd: s.Place, Pad: s.Turn})
}

// Change waits for something else on a socket that was added.
func (p *Poller) Change(fd int, s Slot, what uint32) error {
	return unix.EpollCtl(p.fd, unix.EPOLL_CTL_MOD, fd, &unix.EpollEvent{Events: what, Fd: s.Place, Pad: s.Turn})
}

// Wait returns what happened, after at most the given time; a negative one does not wait. The result is borrowed until
// the next call.
func (p *Poller) Wait(most time.Duration) ([]Event, error) {
	limit := unix.NsecToTimespec(max(int64(most), 0))
	n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(p.fd), uintptr(unsafe.Pointer(&p.raw[0])), uintptr(len(p.raw)),
		uintptr(unsafe.Pointer(&limit)), 0, 0)
	switch errno {
	case 0:
	case unix.EINTR:
		return nil, nil
	default:
		return nil, errno
	}
	p.events = p.events[:0]
	for _, e := range p.raw[:n] {
		end := e.Events&(unix.EPOLLERR|unix.EPOLLHUP) != 0
		p.events = append(p.events, Event{
			Slot:     Slot{Place: e.Fd, Turn: e.Pad},
			Readable: end || e.Events&Readable != 0,
			Writable: end || e.Events&Writable != 0,
		})
	}
	return p.events, nil
}
