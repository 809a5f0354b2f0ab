//go:build !race

package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"aigateway/gateway/wire"
)

// keeper takes every response.
type keeper struct{}

func (keeper) ClientLeft() bool                        { return true }
func (keeper) Take(_ *wire.ResponseHead, _ int64) bool { return true }

// A request goes out with the wait for its response. What the kernel does not take at once follows, and is sent once; an idle
// connection that has come to its end is passed by, and counts as nothing.
func TestRequestsGoOutWhole(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	seen := make(chan request, 10)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go answerEach(conn, seen)
		}
	}()
	p, err := New(poolConfig("round_robin", ""), Options{MaxHeadBytes: 1 << 16, OnPanic: func(v any) { t.Error(v) }, OnRetry: func(Retry) { t.Error("sent again") },
		Dial: func(string) (net.Conn, error) {
			conn, err := net.Dial("tcp", ln.Addr().String())
			if err == nil {
				err = conn.(*net.TCPConn).SetWriteBuffer(4 << 10)
			}
			return conn, err
		}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ask := func(size int) net.Conn {
		t.Helper()
		var head wire.RequestHead
		if v := head.Scan([]byte("GET"), []byte("/"), []byte("HTTP/1.1"), []byte("Host: a\r\n\r\n")); v != wire.None {
			t.Fatal(v)
		}
		x := &Exchange{Request: Request{Head: &head, Target: []byte("/"), RequestID: []byte("id"), Peer: []byte("192.0.2.1"),
			Lines: []byte("X-Long: " + strings.Repeat("x", size) + "\r\n"), Targets: []Target{{Pool: p.Pool("llm")}}}, Taker: keeper{}}
		if o := p.Forward(x); o != Taken || x.Attempts != 1 {
			t.Fatalf("%v after %d attempts", o.Fault(), x.Attempts)
		}
		var body []byte
		f := p.Receive(x, func(piece []byte) error { body = append(body, piece...); return nil })
		got := <-seen
		if f != Relayed || string(body) != "answer" || got.size != size {
			t.Fatalf("%v, %q, %d bytes of %d", f, body, got.size, size)
		}
		return got.on
	}
	first := ask(10)
	for _, size := range []int{200 << 10, 10, 100 << 10} {
		if ask(size) != first {
			t.Error("not on the idle connection")
		}
	}
	first.Close()
	time.Sleep(20 * time.Millisecond)
	if ask(10) == first {
		t.Error("on a connection that has ended")
	}
}

type request struct {
	size int
	on   net.Conn
}

// answerEach answers requests, and tells how long a field of theirs was.
func answerEach(conn net.Conn, seen chan<- request) {
	defer conn.Close()
	for r := bufio.NewReader(conn); ; {
		asked, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		if size := len(asked.Header.Get("X-Long")); size > 0 { // else it is a probe
			seen <- request{size, conn}
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nanswer")
	}
}
