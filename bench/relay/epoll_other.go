//go:build !linux

package main

import (
	"errors"
	"net"
	"os"
)

func epoll(*os.File, string) error { return errors.New("epoll is there on Linux only") }

func direct(net.Listener, string, bool) error { return errors.New("that is there on Linux only") }
