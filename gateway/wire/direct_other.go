//go:build !linux || race

package wire

import (
	"net"
	"time"
)

// A direct is there on Linux only, and not under the race detector: see direct_linux.go.
type direct struct{}

func newDirect(net.Conn) *direct { return nil }

func (*direct) read(Place) (int, bool, error) { return 0, false, nil }

func (*direct) write([]byte) (int, bool, error) { return 0, false, nil }

func (*direct) offer([]byte) (int, bool, error) { return 0, false, nil }

func (*direct) later([]byte, bool, func()) bool { return false }

func (*direct) asks() bool { return false }

func (*direct) unasked() ([]byte, bool) { return nil, false }

func (*direct) each(*socket, Place, time.Duration, func(int) bool) error { return nil }

func (*direct) now(int, []byte) int { return 0 }
