//go:build unix && !linux

package wire

// hangUp is 0 where poll(2) has no POLLRDHUP: a client that leaves is then noticed by its reset only, which
// comes with the first byte sent to it.
const hangUp = 0

// unsent is not known here.
func unsent(int) int { return -1 }
