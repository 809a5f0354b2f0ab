package wire

import (
	"io"
	"net"
	"runtime"
	"testing"
	"time"
)

// A peer that had closed before a request came has not got it, and one that has read it before it closed has.
func TestUntaken(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells")
	}
	for _, reads := range []bool{false, true} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		raw, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		peer, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c := NewUpstream(raw)
		const request = "POST / HTTP/1.1\r\n\r\n"
		if !reads {
			_ = peer.Close()
		}
		if _, err := c.Send([]byte(request), time.Minute); err != nil {
			t.Fatal(err)
		}
		if reads {
			if _, err := io.ReadFull(peer, make([]byte, len(request))); err != nil {
				t.Fatal(err)
			}
			_ = peer.Close()
		}
		for n := 1; n > 0; {
			n, _ = c.Receive(make([]byte, 10), time.Minute)
		}
		if got := c.Untaken(len(request)); got == reads {
			t.Errorf("read %v: untaken %v", reads, got)
		}
		_ = c.Close()
		_ = ln.Close()
	}
}
