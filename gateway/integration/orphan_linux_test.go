//go:build integration

package integration

import "syscall"

// withParent makes a process end when this one is killed and cannot clean up: a test run over its time-out.
func withParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
