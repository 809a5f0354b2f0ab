//go:build !linux || race

package wire

import "net"

// A direct is there on Linux only, and not under the race detector: see direct_linux.go.
type direct struct{}

func newDirect(net.Conn) *direct { return nil }

func (*direct) read([]byte) (int, bool, error) { return 0, false, nil }

func (*direct) write([]byte) (int, bool, error) { return 0, false, nil }

func (*direct) offer([]byte) (int, bool, error) { return 0, false, nil }

func (*direct) later([]byte, bool, func()) bool { return false }

func (*direct) asks() bool { return false }

func (*direct) unasked() ([]byte, bool) { return nil, false }
