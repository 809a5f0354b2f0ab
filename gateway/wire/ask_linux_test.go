//go:build !race

package wire

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"
)

// asked is an upstream's connection over which a request has gone, and its answer, and the upstream's end of it.
func asked(t testing.TB) (u *UpstreamConn, far *net.TCPConn) {
	t.Helper()
	u, far = upstreamPair(t)
	answer(t, u, far, "ping", "pong")
	return u, far
}

func take(t testing.TB, far io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(far, got); err != nil || string(got) != want {
		t.Fatalf("the upstream got %q, %v; want %q", got, err, want)
	}
}

// answer has the upstream answer once it has got the request.
func answer(t testing.TB, u *UpstreamConn, far *net.TCPConn, request, response string) {
	t.Helper()
	told := 0
	if !u.Ask([]byte(request), func() { told++ }) {
		t.Fatal("a TCP connection cannot be asked")
	}
	go func() {
		take(t, far, request)
		_, _ = io.WriteString(far, response)
	}()
	got := make([]byte, 0, len(response))
	for len(got) < len(response) {
		n, err := u.Receive(got[len(got):cap(got)], patience)
		if err != nil {
			t.Fatalf("%v after %q", err, got)
		}
		got = got[:len(got)+n]
	}
	if string(got) != response || told != 1 || !u.Used() {
		t.Fatalf("%q, told %d times, used %v", got, told, u.Used())
	}
}

func TestAsk(t *testing.T) {
	u, far := asked(t)
	for range 100 {
		answer(t, u, far, "another request", "and what comes of it")
	}
	request, p, q := []byte("ping"), make([]byte, 9), make([]byte, 9)
	sent := func() {
		_, _ = io.ReadFull(far, q[:len(request)])
		_, _ = far.Write(q[:4])
	}
	if n := testing.AllocsPerRun(100, func() {
		u.Ask(request, sent)
		if n, err := u.Receive(p, patience); n != 4 || err != nil {
			t.Fatal(n, err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// However an upstream ends or answers once it has the request, the wait is over with it.
func TestAskIsWoken(t *testing.T) {
	f := func(name, want string, wantEnd func(error) bool, do func(far *net.TCPConn)) {
		t.Run(name, func(t *testing.T) {
			for range 50 {
				u, far := asked(t)
				u.Ask([]byte("request"), func() {})
				go func() {
					take(t, far, "request")
					do(far)
				}()
				var got []byte
				var err error
				within(t, patience, "the answer", func() {
					for p := make([]byte, 100); err == nil; {
						var n int
						n, err = u.Receive(p, time.Hour)
						got = append(got, p[:n]...)
					}
				})
				if string(got) != want || !wantEnd(err) {
					t.Fatalf("%q, %v", got, err)
				}
				_ = u.Conn.Close()
			}
		})
	}
	end := func(err error) bool { return err == io.EOF }
	reset := func(err error) bool { return err != nil && err != io.EOF && !errors.Is(err, os.ErrDeadlineExceeded) }
	f("close", "", end, func(far *net.TCPConn) { _ = far.Close() })
	f("half-close", "", end, func(far *net.TCPConn) { _ = far.CloseWrite() })
	f("reset", "", reset, func(far *net.TCPConn) { _ = far.SetLinger(0); _ = far.Close() })
	f("answer and end", "answer", end, func(far *net.TCPConn) { _, _ = far.Write([]byte("answer")); _ = far.CloseWrite() })
	f("answer, end later", "answer", end, func(far *net.TCPConn) {
		_, _ = far.Write([]byte("answer"))
		time.Sleep(time.Millisecond)
		_ = far.CloseWrite()
	})
	f("byte by byte", "answer", end, func(far *net.TCPConn) {
		for _, b := range []byte("answer") {
			_, _ = far.Write([]byte{b})
			time.Sleep(50 * time.Microsecond)
		}
		_ = far.Close()
	})
}

// What an upstream says between two requests is no answer: nothing is sent to it.
func TestAskOfTheStale(t *testing.T) {
	for name, do := range map[string]func(far *net.TCPConn){
		"bytes":      func(far *net.TCPConn) { _, _ = far.Write([]byte("x")) },
		"half-close": func(far *net.TCPConn) { _ = far.CloseWrite() },
		"close":      func(far *net.TCPConn) { _ = far.Close() },
		"reset":      func(far *net.TCPConn) { _ = far.SetLinger(0); _ = far.Close() },
	} {
		u, far := asked(t)
		do(far)
		eventually(t, "it is there", u.Stale)
		u.Ask([]byte("request"), func() { t.Error(name, ": sent") })
		if n, err := u.Receive(make([]byte, 9), patience); n != 0 || err != ErrUnasked {
			t.Error(name, n, err)
		}
		if rest, stale := u.Unasked(); !stale || string(rest) != "request" {
			t.Errorf("%s: %q, %v", name, rest, stale)
		}
		_ = u.Conn.Close()
		if name == "half-close" || name == "bytes" {
			if b, _ := io.ReadAll(far); len(b) > 0 {
				t.Errorf("%s: the upstream got %q", name, b)
			}
		}
	}
}

// An upstream that has spoken before its first request is asked all the same, and heard: it may refuse the connection.
func TestAskOfTheFresh(t *testing.T) {
	near, far := tcpPair(t)
	_, _ = far.Write([]byte("busy"))
	_ = far.CloseWrite()
	u := NewUpstream(near)
	eventually(t, "it is there", u.readable)
	u.Ask([]byte("request"), func() {})
	p := make([]byte, 9)
	if n, err := u.Receive(p, patience); string(p[:n]) != "busy" || err != nil {
		t.Errorf("%q, %v", p[:n], err)
	}
	if n, err := u.Receive(p, patience); n != 0 || err != io.EOF {
		t.Errorf("%d, %v", n, err)
	}
	take(t, far, "request")
}

// A request that the kernel takes in parts is the caller's to finish.
func TestAskTooMuch(t *testing.T) {
	u, far := asked(t)
	request := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	u.Ask(request, func() { t.Error("told of what is not sent") })
	if n, err := u.Receive(make([]byte, 9), patience); n != 0 || err != ErrUnasked {
		t.Fatal(n, err)
	}
	rest, stale := u.Unasked()
	if stale || len(rest) == 0 || len(rest) == len(request) {
		t.Fatalf("%d of %d bytes are left, stale %v", len(rest), len(request), stale)
	}
	go func() { take(t, far, string(request)); _, _ = far.Write([]byte("answer")) }()
	if _, err := u.Send(rest, patience); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 9)
	if n, err := u.Receive(p, patience); string(p[:n]) != "answer" || err != nil {
		t.Errorf("%q, %v", p[:n], err)
	}
}

// A wait that ends too early is taken up again, whether or not the request is out; who is interrupted sends nothing more.
func TestAskAgain(t *testing.T) {
	u, far := asked(t)
	u.Ask([]byte("request"), func() {})
	p := make([]byte, 9)
	for range 3 {
		if n, err := u.Receive(p, time.Millisecond); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(n, err)
		}
	}
	take(t, far, "request")
	_, _ = far.Write([]byte("answer"))
	if n, err := u.Receive(p, patience); string(p[:n]) != "answer" || err != nil {
		t.Errorf("%q, %v", p[:n], err)
	}

	u.Ask([]byte("another"), func() {})
	for _, wake := range []func(){u.Interrupt, func() { _ = u.Conn.Close() }} {
		time.AfterFunc(5*time.Millisecond, wake)
		within(t, patience, "Receive", func() {
			if n, err := u.Receive(p, time.Hour); n != 0 || err == nil {
				t.Error(n, err)
			}
		})
	}
	if b, _ := io.ReadAll(far); string(b) != "another" {
		t.Errorf("the upstream got %q", b)
	}
}

// Answers and ends that come at any moment around the request are not missed: nothing but the hour's wait would end it then.
func TestAskAtAnyMoment(t *testing.T) {
	for range 300 {
		u, far := asked(t)
		at, kind := time.Duration(rand.IntN(60))*time.Microsecond, rand.IntN(4)
		go func() {
			for began := time.Now(); time.Since(began) < at; {
			}
			switch kind {
			case 0:
				_, _ = far.Write([]byte("answer"))
			case 1:
				_ = far.CloseWrite()
			case 2:
				_, _ = far.Write([]byte("answer"))
				_ = far.CloseWrite()
			case 3:
				_ = far.Close()
			}
		}()
		u.Ask([]byte("request"), func() {})
		within(t, patience, "Receive", func() {
			if n, err := u.Receive(make([]byte, 9), time.Hour); n == 0 && err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error(kind, n, err)
			}
		})
		_ = u.Conn.Close()
	}
}

func TestAskIsForTCP(t *testing.T) {
	near, far := net.Pipe()
	defer func() { _, _ = near.Close(), far.Close() }()
	if u := NewUpstream(near); u.Looks() || u.Ask([]byte("request"), func() {}) || u.Used() {
		t.Error("a pipe can be asked")
	}
}
