package testkit

import (
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// An Upstream runs its script for each connection that it accepts but the gateway's probes.
type Upstream struct {
	t    testing.TB
	URL  string
	Addr string

	mu    sync.Mutex
	conns int
	all   []net.Conn
}

// A Script is what a scripted upstream does on its n-th connection (from 0). The connection is closed when it
// returns. It runs in a goroutine of its own: report with t.Errorf, not t.Fatal.
type Script func(n int, c *Peer)

// StartUpstream starts an upstream that follows the script until the test ends. Health probes are answered
// for it and not counted.
func StartUpstream(t testing.TB, do Script) *Upstream {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &Upstream{t: t, URL: "http://" + ln.Addr().String(), Addr: ln.Addr().String()}
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			u.mu.Lock()
			u.all = append(u.all, conn)
			u.mu.Unlock()
			wg.Add(1)
			go func() {
				defer wg.Done()
				defer conn.Close()
				u.serve(conn, do)
			}()
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		u.mu.Lock()
		for _, c := range u.all {
			c.Close()
		}
		u.mu.Unlock()
		ended := make(chan struct{})
		go func() { wg.Wait(); close(ended) }()
		select {
		case <-ended:
		case <-time.After(Patience): // it waits for a test that has given up, say
			t.Error("the script of an upstream does not end")
		}
	})
	return u
}

func (u *Upstream) serve(conn net.Conn, do Script) {
	p := NewPeer(u.t, conn)
	// A probe says who it is in its first bytes; a connection that never says anything is a request's.
	head, _ := p.R.Peek(12)
	if string(head) == "GET /healthz" || string(head) == "GET /health " {
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
		return
	}
	if len(head) == 0 {
		return
	}
	u.mu.Lock()
	n := u.conns
	u.conns++
	u.mu.Unlock()
	do(n, p)
}

// Connections is how many connections have brought a request so far.
func (u *Upstream) Connections() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.conns
}

// Answer is a short response with a length.
func Answer(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// Refusing is the URL of a port at which nobody listens, nor will while the test runs.
func Refusing(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("http://127.0.0.1:%d", FreePort(t))
}
