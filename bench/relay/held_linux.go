package main

import (
	"bytes"
	"io"
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// direct relays as goroutines does, with recv(2) and send(2), which tell the scheduler nothing, as the gateway has it. If held, a
// stream is relayed inside one call of RawConn.Read, which is told by TCP_INQ that there is nothing left, and no end: it need not look
// before it waits.
func direct(ln net.Listener, to string, held bool) error {
	return inPairs(ln, to, func(client, up net.Conn) {
		r := &relayed{buf: make([]byte, 4<<10), held: held}
		var err error
		if r.client, err = client.(*net.TCPConn).SyscallConn(); err != nil {
			return
		}
		if r.up, err = up.(*net.TCPConn).SyscallConn(); err != nil {
			return
		}
		if held {
			_ = r.up.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_INQ, 1) })
		}
		r.fromClient, r.fromUpstream, r.toClient = r.readClient, r.readUpstream, r.write
		for r.exchange(up) == nil {
		}
	})
}

type relayed struct {
	client, up                         syscall.RawConn
	fromClient, fromUpstream, toClient func(fd uintptr) bool
	buf, out                           []byte
	n                                  int
	held                               bool
	f                                  framer
	err                                error
	message                            unix.Msghdr
	vector                             unix.Iovec
	control                            [32]byte
}

func (r *relayed) exchange(up net.Conn) error {
	if err := r.client.Read(r.fromClient); err != nil || r.n == 0 {
		return io.EOF
	}
	if !bytes.HasSuffix(r.buf[:r.n], []byte("{}")) {
		return errFraming
	}
	if _, err := up.Write(r.buf[:r.n]); err != nil {
		return err
	}
	r.f, r.err = framer{}, nil
	for {
		if err := r.up.Read(r.fromUpstream); err != nil {
			return err
		}
		if r.held {
			return r.err
		}
		if ended, err := r.pass(); err != nil || ended {
			return err
		}
	}
}

func (r *relayed) pass() (ended bool, err error) {
	if r.n == 0 {
		return false, io.EOF
	}
	if ended, err = r.f.feed(r.buf[:r.n]); err != nil {
		return false, err
	}
	r.out = r.buf[:r.n]
	return ended, r.client.Write(r.toClient)
}

func (r *relayed) readClient(fd uintptr) bool { return r.recv(fd) }

func (r *relayed) recv(fd uintptr) bool {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&r.buf[0])), uintptr(len(r.buf)), 0, 0, 0)
	if errno == unix.EAGAIN {
		return false
	}
	if r.n = int(n); errno != 0 {
		r.n = 0
	}
	return true
}

func (r *relayed) readUpstream(fd uintptr) bool {
	if !r.held {
		return r.recv(fd)
	}
	for {
		r.vector.Base = &r.buf[0]
		r.vector.SetLen(len(r.buf))
		r.message.Iov, r.message.Iovlen, r.message.Control = &r.vector, 1, &r.control[0]
		r.message.SetControllen(len(r.control))
		n, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&r.message)), 0)
		if errno == unix.EAGAIN {
			return false
		}
		if r.n = int(n); errno != 0 {
			r.n = 0
		}
		ended, err := r.pass()
		if err != nil || ended {
			r.err = err
			return true
		}
		if *(*int32)(unsafe.Pointer(&r.control[16])) == 0 {
			return false
		}
	}
}

func (r *relayed) write(fd uintptr) bool {
	for len(r.out) > 0 {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&r.out[0])), uintptr(len(r.out)), unix.MSG_NOSIGNAL, 0, 0)
		if errno == unix.EAGAIN {
			return false
		}
		if errno != 0 {
			return true
		}
		r.out = r.out[n:]
	}
	return true
}
