package wire

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// hangUp asks poll(2) for the peer's FIN, also behind unread bytes. RST and errors come unasked.
const hangUp = unix.POLLRDHUP

// something tells whether a read would return at once. A peek without the scheduler's bookkeeping, because it
// never waits, takes half the time of poll(2); it is made once a request.
func (s *socket) something() bool {
	_, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(s.fd), uintptr(unsafe.Pointer(&s.peek[0])), 1,
		unix.MSG_PEEK|unix.MSG_DONTWAIT, 0, 0)
	return errno != unix.EAGAIN
}

// unsent is how many bytes written to a socket the peer has not acknowledged, or -1. tcp(7), SIOCOUTQ.
func unsent(fd int) int {
	if n, err := unix.IoctlGetInt(fd, unix.TIOCOUTQ); err == nil {
		return n
	}
	return -1
}
