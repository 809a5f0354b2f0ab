package wire

import (
	"io"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hangUp asks poll(2) for the peer's FIN, also behind unread bytes. RST and errors come unasked.
const hangUp = unix.POLLRDHUP

// something tells whether a read would return at once. A peek without the scheduler's bookkeeping, because it
// never waits, takes half the time of poll(2); it is made once a request.
func (s *socket) something() bool { return readable(uintptr(s.fd), &s.peek) }

func readable(fd uintptr, peek *[1]byte) bool {
	_, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&peek[0])), 1,
		unix.MSG_PEEK|unix.MSG_DONTWAIT, 0, 0)
	return errno != unix.EAGAIN
}

// receiveNow reads what is there without waiting: errNothing if nothing is.
func receiveNow(fd int, p []byte) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)),
		unix.MSG_DONTWAIT, 0, 0)
	switch {
	case errno == unix.EAGAIN:
		return 0, errNothing
	case errno != 0:
		return 0, errno
	case n == 0:
		return 0, io.EOF
	}
	return int(n), nil
}

// wasReset tells whether a connection that nobody here has closed is none any more: tcp(7), TCP_INFO. One that its peer has ended in
// order waits for our end.
func wasReset(fd int) bool {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	return err == nil && info.State == unix.BPF_TCP_CLOSE
}

// unsent is how many bytes written to a socket the peer has not acknowledged, or -1. tcp(7), SIOCOUTQ.
func unsent(fd int) int {
	if n, err := unix.IoctlGetInt(fd, unix.TIOCOUTQ); err == nil {
		return n
	}
	return -1
}
