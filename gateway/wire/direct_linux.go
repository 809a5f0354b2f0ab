//go:build !race

package wire

import (
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A direct reads from and writes to a TCP connection without telling the scheduler that a system call begins. On a socket
// that does not block there is nothing to tell, and telling has a price: where the process has just been idle, it wakes the runtime's
// monitor, whose thread then takes its turns beside each of the few requests (runtime.entersyscall). And it asks the socket itself, by
// recvfrom(2) and sendto(2), where read(2) and write(2) go through the layer of files. Waiting, deadlines and Close are the connection's
// own (net.RawConn). Not under the race detector, which learns from reads and writes who comes after whom.
type direct struct {
	raw     syscall.RawConn
	in, out transfer
	ask     *asking // nil: nothing has been asked
	run     *run    // nil: nothing has been received in one
}

// A transfer is one read or one write.
type transfer struct {
	Place
	n       int
	errno   syscall.Errno
	attempt func(fd uintptr) bool // made once: a closure a call would be an allocation a call
	once    func(fd uintptr) bool // attempt of a write that does not wait
}

// directMost is what is moved in one call: the collector of garbage waits for its end.
const directMost = 128 << 10

// newDirect returns nil for what is no TCP connection.
func newDirect(conn net.Conn) *direct {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	d := &direct{raw: raw}
	d.in.attempt, d.out.attempt, d.out.once = d.in.read, d.out.write, d.out.offer
	return d
}

// read reads as net.Conn does. It tells whether it is one for it.
func (d *direct) read(to Place) (n int, ok bool, err error) {
	if d == nil || len(to.p) == 0 && to.late == nil {
		return 0, false, nil
	}
	t, attempt := &d.in, d.in.attempt
	if d.asks() {
		attempt = d.ask.attempt
	}
	t.Place = to
	t.p = to.p[:min(len(to.p), directMost)]
	err = d.raw.Read(attempt)
	t.Place = Place{}
	switch {
	case err != nil:
		return 0, true, err
	case d.asks():
		return 0, true, ErrUnasked
	case t.errno != 0:
		return 0, true, failed("read", t.errno)
	case t.n == 0:
		return 0, true, io.EOF
	}
	return t.n, true, nil
}

// write writes all of p, as net.Conn does. It tells whether it is one for it.
func (d *direct) write(p []byte) (n int, ok bool, err error) {
	if d == nil || len(p) == 0 {
		return 0, false, nil
	}
	return d.put(p, d.out.attempt)
}

// now writes what is taken of p at once, past the connection's locks, deadline and poller, which lie in memory of their own: nobody may
// close the connection meanwhile. Why it is not all of p, write and offer tell.
func (d *direct) now(fd int, p []byte) int {
	if d == nil || len(p) == 0 {
		return 0
	}
	n, errno := sendNow(uintptr(fd), p)
	if errno != 0 {
		return 0
	}
	return n
}

// sendNow is sendto(2) of p, or as much of it as is moved in one call.
func sendNow(fd uintptr, p []byte) (n int, errno syscall.Errno) {
	sent, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(min(len(p), directMost)), unix.MSG_NOSIGNAL, 0, 0)
	return int(sent), errno
}

// offer writes what is taken of p at once.
func (d *direct) offer(p []byte) (n int, ok bool, err error) { return d.put(p, d.out.once) }

func (d *direct) put(p []byte, attempt func(fd uintptr) bool) (n int, ok bool, err error) {
	t := &d.out
	t.p, t.n = p, 0
	err = d.raw.Write(attempt)
	t.p = nil
	if err == nil && t.errno != 0 {
		err = failed("write", t.errno)
	}
	return t.n, true, err
}

func failed(op string, errno syscall.Errno) error {
	return &net.OpError{Op: op, Net: "tcp", Err: os.NewSyscallError(op, errno)}
}

// read is one attempt; false waits until there is something to read.
func (t *transfer) read(fd uintptr) bool {
	t.take()
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&t.p[0])), uintptr(len(t.p)), 0, 0, 0)
		switch errno {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			t.giveBack()
			return false
		}
		t.n, t.errno = int(n), errno
		return true
	}
}

// offer writes what is taken at once.
func (t *transfer) offer(fd uintptr) bool {
	t.write(fd)
	return true
}

// write writes until all is taken; false waits until there is room for more.
func (t *transfer) write(fd uintptr) bool {
	for t.errno = 0; t.n < len(t.p); {
		n, errno := sendNow(fd, t.p[t.n:])
		switch errno {
		case 0:
			t.n += n
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			t.errno = errno
			return true
		}
	}
	return true
}

// An asking is a message that goes out inside the read that waits for its answer, so that the read need not look before it waits.
// Go's poller keeps the edges that come after a read has begun, and forgets those before. The read has begun when it is
// seen that the socket has nothing to say, no byte, no end and no error; all that is to be read comes after that, and wakes it.
type asking struct {
	message transfer
	in      *transfer
	look    bool // nothing may be there before the message goes
	pending bool // it has not gone, or not all of it
	stale   bool // something was there
	peek    [1]byte
	sent    func() // told once it has
	attempt func(fd uintptr) bool
}

// later readies p to be sent by the next read.
func (d *direct) later(p []byte, look bool, sent func()) bool {
	if d == nil {
		return false
	}
	if d.ask == nil {
		d.ask = &asking{in: &d.in}
		d.ask.attempt = d.ask.step
	}
	a := d.ask
	a.message.p, a.message.n, a.look, a.pending, a.stale, a.sent = p, 0, look, true, false, sent
	return true
}

func (d *direct) asks() bool { return d.ask != nil && d.ask.pending }

// unasked gives back what has not been sent of the message, and forgets it.
func (d *direct) unasked() (rest []byte, stale bool) {
	a := d.ask
	rest, stale = a.message.p[a.message.n:], a.stale
	a.message.p, a.sent, a.pending = nil, nil, false
	return rest, stale
}

// step is one attempt of the read.
func (a *asking) step(fd uintptr) bool {
	if !a.pending {
		return a.in.read(fd)
	}
	if a.stale = a.look && readable(fd, &a.peek); a.stale {
		return true
	}
	if !a.message.write(fd) || a.message.errno != 0 {
		return true // the one who asks sends the rest, or hears why it cannot be
	}
	sent := a.sent
	a.message.p, a.sent, a.pending = nil, nil, false
	sent()
	return !a.look && a.in.read(fd)
}
