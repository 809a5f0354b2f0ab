//go:build !linux

package testkit

import "syscall"

func WithParent() *syscall.SysProcAttr { return nil }
