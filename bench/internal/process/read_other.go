//go:build !linux

package process

import (
	"errors"
	"os/exec"
	"time"
)

var errLinux = errors.New("the comparison needs Linux")

// PinSelf is there on Linux only.
func PinSelf(int) error { return errLinux }

// CPU is there on Linux only.
func CPU(int) time.Duration { return 0 }

// Memory is there on Linux only.
func Memory(int) int64 { return 0 }

// Children is there on Linux only.
func Children(int) []int { return nil }

// Occupied is there on Linux only.
func Occupied(string) int64 { return 0 }

// AllowOpenFiles is there on Linux only.
func AllowOpenFiles() int { return 0 }

func launch(*exec.Cmd, []int) (*Process, error) { return nil, errLinux }

func (*Process) end() {}
