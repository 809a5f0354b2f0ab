//go:build !linux

package main

import (
	"errors"
	"os"
)

func epoll(*os.File, string) error { return errors.New("epoll is there on Linux only") }
