//go:build integration && !linux

package integration

import "syscall"

func withParent() *syscall.SysProcAttr { return nil }
