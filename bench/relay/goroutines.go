package main

import (
	"bytes"
	"net"
)

// goroutines relays with a goroutine for each connection, as Go programs do.
func goroutines(ln net.Listener, to string) error {
	return inPairs(ln, to, func(client, up net.Conn) {
		buf := make([]byte, 4<<10)
		for exchange(client, up, buf) == nil {
		}
	})
}

// inPairs accepts clients, and has each relayed by a goroutine of its own over a connection to the upstream, which is kept as long as
// the client's.
func inPairs(ln net.Listener, to string, relay func(client, up net.Conn)) error {
	for {
		client, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer client.Close()
			up, err := net.Dial("tcp", to)
			if err != nil {
				return
			}
			defer up.Close()
			relay(client, up)
		}()
	}
}

// exchange relays one request, which comes in one piece, and its response.
func exchange(client, up net.Conn, buf []byte) error {
	n, err := client.Read(buf)
	if err != nil {
		return err
	}
	if !bytes.HasSuffix(buf[:n], []byte("{}")) {
		return errFraming
	}
	if _, err := up.Write(buf[:n]); err != nil {
		return err
	}
	for f := (framer{}); ; {
		n, err := up.Read(buf)
		if err != nil {
			return err
		}
		ended, err := f.feed(buf[:n])
		if err != nil {
			return err
		}
		if _, err := client.Write(buf[:n]); err != nil || ended {
			return err
		}
	}
}
