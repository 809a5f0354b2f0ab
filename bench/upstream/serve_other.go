//go:build !linux

package upstream

import (
	"errors"
	"os"
)

// Serve is there on Linux only: it stands on epoll.
func Serve(*os.File) error { return errors.New("the upstream of the measurements needs Linux") }
