package testkit

import "syscall"

// WithParent makes a process end when this one is killed and cannot clean up: a test run over its time-out.
func WithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
