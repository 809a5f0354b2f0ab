package wire

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

func TestUpstreamStale(t *testing.T) {
	f := func(name string, want bool, use func(u *UpstreamConn, far *net.TCPConn)) {
		t.Run(name, func(t *testing.T) {
			near, far := tcpPair(t)
			u := upstreamOf(near)
			use(u, far)
			if want {
				eventually(t, "stale", u.Stale)
				return
			}
			time.Sleep(5 * time.Millisecond)
			if u.Stale() {
				t.Error("stale")
			}
		})
	}
	// request and answer, as a connection in the pool has them behind it.
	exchange := func(u *UpstreamConn, far *net.TCPConn) {
		b := make([]byte, 16)
		if _, err := u.Send([]byte("ping"), time.Second); err != nil || !u.Used() {
			t.Fatal(err, u.Used())
		}
		if _, err := io.ReadFull(far, b[:4]); err != nil {
			t.Fatal(err)
		}
		_, _ = far.Write([]byte("pong"))
		if n, err := u.Receive(b, patience); n != 4 || err != nil {
			t.Fatal(n, err)
		}
	}
	f("fresh", false, func(u *UpstreamConn, _ *net.TCPConn) {
		if u.Used() {
			t.Error("used")
		}
	})
	f("fresh, which nobody asks about", false, func(_ *UpstreamConn, far *net.TCPConn) { _, _ = far.Write([]byte("x")) })
	f("silent", false, exchange)
	f("twice", false, func(u *UpstreamConn, far *net.TCPConn) { exchange(u, far); exchange(u, far) })
	f("bytes", true, func(u *UpstreamConn, far *net.TCPConn) { exchange(u, far); _, _ = far.Write([]byte("x")) })
	f("FIN", true, func(u *UpstreamConn, far *net.TCPConn) { exchange(u, far); _ = far.CloseWrite() })
	f("close", true, func(u *UpstreamConn, far *net.TCPConn) { exchange(u, far); _ = far.Close() })
	f("bytes, then FIN", true, func(u *UpstreamConn, far *net.TCPConn) {
		exchange(u, far)
		_, _ = far.Write([]byte("HTTP/1.1 408 x\r\n\r\n"))
		_ = far.Close()
	})
	f("RST", true, func(u *UpstreamConn, far *net.TCPConn) { exchange(u, far); _ = far.SetLinger(0); _ = far.Close() })
}

func TestUpstreamInMemoryIsNeverStale(t *testing.T) {
	u := upstreamOf(&scripted{})
	if _, err := u.Send([]byte("x"), time.Second); err != nil || u.Stale() {
		t.Error(err, u.Stale())
	}
}

func TestUpstreamTimeouts(t *testing.T) {
	run := func(name string, f func(t *testing.T, u *UpstreamConn, far net.Conn)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				f(t, upstreamOf(near), far)
				_, _ = near.Close(), far.Close()
				settle()
			})
		})
	}
	const idle = 20 * time.Second
	receive := func(u *UpstreamConn) func() error {
		return func() error { _, err := u.Receive(make([]byte, 9), idle); return err }
	}
	send := func(u *UpstreamConn) func() error {
		return func() error { _, err := u.Send([]byte("x"), idle); return err }
	}
	run("silent", func(t *testing.T, u *UpstreamConn, _ net.Conn) {
		took, err := timed(receive(u))
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		between(t, "Receive", took, idle)
	})
	run("slow but steady", func(t *testing.T, u *UpstreamConn, far net.Conn) {
		go func() {
			for range 20 {
				time.Sleep(idle - time.Second)
				_, _ = far.Write([]byte("x"))
			}
		}()
		for range 20 {
			if err := receive(u)(); err != nil {
				t.Fatal(err)
			}
		}
	})
	run("takes nothing", func(t *testing.T, u *UpstreamConn, _ net.Conn) {
		took, err := timed(send(u))
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		between(t, "Send", took, idle)
	})
	for name, op := range map[string]func(u *UpstreamConn) func() error{
		"Receive": receive,
		"Send":    send,
	} {
		run(name+" interrupted", func(t *testing.T, u *UpstreamConn, _ net.Conn) {
			time.AfterFunc(time.Second, u.Interrupt)
			if took, err := timed(op(u)); err == nil || took != time.Second {
				t.Errorf("%v after %v", err, took)
			}
		})
		// The pump that gives up is faster than the exchange that begins to wait, or the other way round:
		// an interruption must not be lost in between.
		run(name+" interrupted before", func(t *testing.T, u *UpstreamConn, _ net.Conn) {
			u.Interrupt()
			if took, err := timed(op(u)); err == nil || took != 0 {
				t.Errorf("%v after %v", err, took)
			}
		})
	}
}

func TestRollingDeadline(t *testing.T) {
	var d rollingDeadline
	var set []time.Duration
	f := func(now, by time.Duration, want ...time.Duration) {
		t.Helper()
		set = set[:0]
		err := d.extend(now, by, func(at time.Time) error { set = append(set, at.Sub(began)); return nil })
		if err != nil || len(set) != len(want) || len(want) > 0 && set[0] != want[0] {
			t.Errorf("at %v by %v: set to %v; want %v", now, by, set, want)
		}
	}
	s := time.Second
	f(0, 8*s, 9*s)
	f(0, 8*s)
	f(s, 8*s)            // still eight seconds away
	f(s+1, 8*s, 10*s+1)  // no longer
	f(s+1, 16*s, 19*s+1) // a longer phase
	f(s+1, 8*s, 10*s+1)  // a shorter one
	f(60*s, 8*s, 69*s)   // long passed
	broken := errors.New("broken")
	if err := d.extend(120*s, s, func(time.Time) error { return broken }); err != broken {
		t.Error(err)
	}
}
