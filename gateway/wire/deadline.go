package wire

import (
	"errors"
	"net"
	"os"
	"time"
)

// longAgo is a deadline that has passed: setting it wakes the goroutine that waits on the connection.
var longAgo = time.Unix(1, 0)

// A rollingDeadline keeps a connection's deadline at least a given time away. It is set with an eighth of
// slack, so that a busy connection sets it once in a while and not at every read.
type rollingDeadline struct{ at time.Duration }

// extend makes sure that the deadline is between by and by + by/8 after now.
func (d *rollingDeadline) extend(now, by time.Duration, set func(time.Time) error) error {
	if left := d.at - now; left >= by && left <= by+by/8 {
		return nil
	}
	d.at = now + by + by/8
	return set(began.Add(d.at))
}

// offer sends what the kernel takes of p without waiting, and tells whether it can do so.
func (d *rollingDeadline) offer(s *socket, p []byte, idle time.Duration) (sent int, ok bool, err error) {
	if s.direct == nil {
		return 0, false, nil
	}
	if err := d.extend(Now(), idle/8, s.kernel().SetWriteDeadline); err != nil {
		return 0, true, err
	}
	if s.interrupted.Load() {
		return 0, true, net.ErrClosed
	}
	return s.direct.offer(p)
}

// write sends p and returns how much of it the kernel took. Its time rolls with what the peer takes: the
// kernel wakes a writer only when a good part of its buffer is free, so a slow reader may hold up a single
// write for long, and only one whose buffer does not drain for the idle time is silent. It gives up when
// interrupted is set, which is looked at after the deadline: an interruption in between has set its own,
// which is lost now. It writes below TLS, for which a write that has timed out is the last one.
func (d *rollingDeadline) write(s *socket, p []byte, idle time.Duration) (sent int, err error) {
	step := idle / 8
	if s.sealed {
		step = idle // nothing can be written after a time-out
	}
	var moved time.Duration
	conn := s.kernel()
	for queued := -1; ; {
		now := Now()
		if err := d.extend(now, step, conn.SetWriteDeadline); err != nil {
			return sent, err
		}
		if s.interrupted.Load() {
			return sent, net.ErrClosed
		}
		n, err := s.put(p[sent:])
		sent += n
		if err == nil || s.sealed || !errors.Is(err, os.ErrDeadlineExceeded) {
			return sent, err
		}
		left := unsent(s.fd)
		switch {
		case n > 0 || left < queued || StoodStill(now):
			moved = Now()
		case moved == 0:
			moved = now
		}
		if queued = left; Now()-moved >= idle {
			return sent, err
		}
	}
}
