//go:build unix && !linux

package wire

import (
	"io"

	"golang.org/x/sys/unix"
)

// hangUp is 0 where poll(2) has no POLLRDHUP: a client that leaves is then noticed by its reset only, which
// comes with the first byte sent to it.
const hangUp = 0

// something tells whether a read would return at once.
func (s *socket) something() bool { return s.ready(unix.POLLIN) }

// receiveNow reads what is there without waiting: errNothing if nothing is.
func receiveNow(fd int, p []byte) (int, error) {
	n, _, err := unix.Recvfrom(fd, p, unix.MSG_DONTWAIT)
	switch {
	case err == unix.EAGAIN:
		return 0, errNothing
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// wasReset is not known here.
func wasReset(int) bool { return false }

// unsent is not known here.
func unsent(int) int { return -1 }
