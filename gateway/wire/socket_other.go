//go:build unix && !linux

package wire

import "golang.org/x/sys/unix"

// hangUp is 0 where poll(2) has no POLLRDHUP: a client that leaves is then noticed by its reset only, which
// comes with the first byte sent to it.
const hangUp = 0

// something tells whether a read would return at once.
func (s *socket) something() bool { return s.ready(unix.POLLIN) }

// unsent is not known here.
func unsent(int) int { return -1 }
