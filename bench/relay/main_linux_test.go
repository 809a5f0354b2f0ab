package main

import (
	"net"
	"strings"
	"testing"
	"time"

	"aigateway/bench/drive"
)

func TestFramer(t *testing.T) {
	const text = "HTTP/1.1 200 OK\r\nA: b\r\n\r\n5\r\nhello\r\n1a\r\n" + "abcdefghijklmnopqrstuvwxyz" + "\r\n0\r\n\r\n"
	for cut := 1; cut < len(text); cut++ {
		var f framer
		first, err := f.feed([]byte(text[:cut]))
		second, err2 := f.feed([]byte(text[cut:]))
		if err != nil || err2 != nil || first || !second {
			t.Fatalf("cut at %d: %v %v, %v %v", cut, first, second, err, err2)
		}
	}
	var f framer
	if _, err := f.feed([]byte("HTTP/1.1 200 OK\r\n\r\nxyz")); err == nil {
		t.Error("no size is taken for one")
	}
}

// Both relays pass whole streams, one behind the other on each connection.
func TestRelays(t *testing.T) {
	free := func() string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		return ln.Addr().String()
	}
	serve := func(way, to string) string {
		addr := free()
		go func() { t.Log(play(way, addr, to)) }()
		for range 1000 {
			if c, err := net.Dial("tcp", addr); err == nil {
				c.Close()
				return addr
			}
			time.Sleep(time.Millisecond)
		}
		t.Fatal(way, "does not listen")
		return ""
	}
	up := serve("upstream", "")
	for _, way := range []string{"epoll", "goroutines", "direct", "held"} {
		request := "POST /v1/events/7/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"
		r, err := drive.Run(drive.Plan{Targets: []drive.Target{{Addr: serve(way, up), Request: []byte(request)}}, Conns: 4, Most: 40, Timeout: time.Minute})
		if err != nil || r.Done != 40 || r.Events != 280 || r.Dialed != 4 {
			t.Errorf("%s: %v, %+v", way, err, r)
		}
	}
	if err := play("sideways", free(), ""); err == nil || !strings.Contains(err.Error(), "sideways") {
		t.Error(err)
	}
}
