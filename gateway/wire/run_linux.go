//go:build !race

package wire

import (
	"errors"
	"io"
	"net"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A run is one read after the other inside one call of RawConn.Read, which forgets no edge in between. So where the kernel says that
// nothing is left, and no end, the next read need not look before it waits: TCP_INQ counts a FIN as a byte (tcp(7)). That is two
// system calls an event of a stream instead of three.
//
// It says nothing of a reset, whose edge may be that of the last bytes, and not every kernel counts the FIN: see [Watch.Guard].
type run struct {
	s       *socket
	to      Place
	wait    time.Duration
	since   time.Duration // when the wait under way began, as Now
	got     func(n int) (more bool)
	err     error
	looks   bool // before every wait: the connection was reset, or has ended, and the edge may be gone
	attempt func(fd uintptr) bool
	message unix.Msghdr
	vector  unix.Iovec
	control [32]byte
}

// each is [UpstreamConn.ReceiveEach] where it is one run.
func (d *direct) each(s *socket, to Place, wait time.Duration, got func(n int) bool) error {
	r := d.run
	if r == nil {
		r = &run{s: s}
		r.attempt = r.step
		d.run = r
		_ = d.raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_INQ, 1) })
	}
	r.to, r.wait, r.got, r.err, r.looks = to, wait, got, nil, false
	r.to.p = to.p[:min(len(to.p), directMost)]
	defer r.forget()
	for r.ready() {
		err := d.raw.Read(r.attempt)
		if err == nil {
			break
		}
		late := errors.Is(err, os.ErrDeadlineExceeded)
		if !late || !r.woken() && !StoodStill(r.since) {
			return err
		}
	}
	return r.err
}

func (r *run) forget() { r.to, r.got, r.vector.Base = Place{}, nil, nil }

// step reads until nothing is left; false waits for more.
func (r *run) step(fd uintptr) bool {
	for {
		r.to.take()
		n, left, errno := r.read(fd)
		switch {
		case errno == unix.EINTR:
			continue
		case errno == unix.EAGAIN:
			r.to.giveBack()
			return false
		case errno != 0:
			r.err = failed("read", errno)
			return true
		case n == 0:
			r.err = io.EOF
			return true
		case !r.got(n) || !r.ready():
			return true
		case !left && !r.looks:
			r.to.giveBack()
			return false
		}
	}
}

// read reads once, and tells whether there may be more, or an end.
func (r *run) read(fd uintptr) (n int, left bool, errno unix.Errno) {
	r.vector.Base = &r.to.p[0]
	r.vector.SetLen(len(r.to.p))
	r.message.Iov, r.message.Iovlen, r.message.Control = &r.vector, 1, &r.control[0]
	r.message.SetControllen(len(r.control))
	m, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&r.message)), 0)
	if errno != 0 {
		return 0, false, errno
	}
	note := (*unix.Cmsghdr)(unsafe.Pointer(&r.control[0]))
	told := int(r.message.Controllen) >= unix.CmsgLen(4) && note.Level == unix.IPPROTO_TCP && note.Type == unix.TCP_CM_INQ
	return int(m), !told || *(*int32)(unsafe.Pointer(&r.control[unix.CmsgLen(0)])) != 0, 0
}

// ready sets the deadline of the next wait, and tells whether there is to be one.
func (r *run) ready() bool {
	for {
		r.since = Now()
		if r.err = r.s.reads.extend(r.since, r.wait, r.s.Conn.SetReadDeadline); r.err != nil {
			return false
		}
		switch { // after the deadline, which has taken the place of an interruption's, or of Wake's
		case r.s.interrupted.Load():
			r.err = net.ErrClosed
			return false
		case !r.woken():
			return true
		}
	}
}

// woken tells whether the run was woken, which happens once: from now on it looks before it waits.
func (r *run) woken() bool {
	is := r.s.Woken()
	r.looks = r.looks || is
	return is
}
