package wire

import "golang.org/x/sys/unix"

// hangUp asks poll(2) for the peer's FIN, also behind unread bytes. RST and errors come unasked.
const hangUp = unix.POLLRDHUP

// unsent is how many bytes written to a socket the peer has not acknowledged, or -1. tcp(7), SIOCOUTQ.
func unsent(fd int) int {
	if n, err := unix.IoctlGetInt(fd, unix.TIOCOUTQ); err == nil {
		return n
	}
	return -1
}
