package wire

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// An acceptor is a listener that follows a script of errors; nil is a connection.
type acceptor struct {
	net.Listener
	script []error
}

func (a *acceptor) Accept() (net.Conn, error) {
	if len(a.script) == 0 {
		return nil, net.ErrClosed
	}
	err := a.script[0]
	a.script = a.script[1:]
	if err != nil {
		return nil, err
	}
	return &scripted{}, nil
}

func accept(e error) error {
	return &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", e)}
}

func TestListenerOutlivesLack(t *testing.T) {
	f := func(want error, faults int, waited time.Duration, script ...error) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			var seen []error
			l := Listen(&acceptor{script: script}, testOptions, func(err error) { seen = append(seen, err) })
			start := time.Now()
			conn, err := l.Accept()
			if !errors.Is(err, want) || want == nil && conn == nil || len(seen) != faults || time.Since(start) != waited {
				t.Errorf("%v: %v, %d faults, after %v; want %v, %d, %v", script, err, len(seen), time.Since(start), want, faults, waited)
			}
			for i, e := range seen {
				if e != script[i] {
					t.Errorf("told %v", e)
				}
			}
		})
	}
	ms := time.Millisecond
	f(nil, 0, 0, nil)
	f(net.ErrClosed, 0, 0)
	f(syscall.EBADF, 0, 0, accept(syscall.EBADF), nil)
	f(syscall.EINVAL, 0, 0, accept(syscall.EINVAL), nil)
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		f(nil, 1, 5*ms, accept(e), nil)
		f(nil, 1, 5*ms, fmt.Errorf("wrapped: %w", accept(e)), nil)
		f(net.ErrClosed, 2, 15*ms, accept(e), accept(e))
	}
	var many []error
	for range 12 {
		many = append(many, accept(syscall.EMFILE))
	}
	f(nil, 12, (5+10+20+40+80+160+320+640+4*1000)*ms, append(many, nil)...)

	// Nobody has to listen to the faults.
	synctest.Test(t, func(t *testing.T) {
		if _, err := Listen(&acceptor{script: []error{accept(syscall.EMFILE), nil}}, testOptions, nil).Accept(); err != nil {
			t.Error(err)
		}
	})
}

func TestListenerKnowsTheOpen(t *testing.T) {
	l := Listen(&acceptor{script: make([]error, 3)}, testOptions, nil)
	var conns []*ClientConn
	for range 3 {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c.(*ClientConn))
	}
	_ = conns[1].Close()
	_ = conns[1].Close()
	if n := l.ResetAll(); n != 2 {
		t.Errorf("%d connections reset", n)
	}
	if conns[1].interrupted.Load() {
		t.Error("a closed connection was interrupted")
	}
	for _, i := range []int{0, 2} {
		if !conns[i].interrupted.Load() || conns[i].ending.Load() != endReset {
			t.Errorf("connection %d was not reset", i)
		}
		_ = conns[i].Close()
	}
	if n := l.ResetAll(); n != 0 {
		t.Errorf("%d connections reset", n)
	}
}

// On a real socket, the client sees the reset, and who reads or writes wakes.
func TestListenerResetAll(t *testing.T) {
	near, client := tcpPair(t)
	l := Listen(nil, testOptions, nil)
	c := l.admit(near)
	_, _ = client.Write([]byte(anyHead))
	mustTakeHead(t, c)
	c.ExpectBody(5, 5)
	time.AfterFunc(10*time.Millisecond, func() { l.ResetAll() })
	within(t, patience, "ReadBody", func() {
		if _, err := readBody(c, 9); err != ErrBodyCut {
			t.Error(err)
		}
	})
	if err := c.Send([]byte("x")); err == nil {
		t.Error("Send on a connection that was reset")
	}
	_ = c.Close()
	if b, err := io.ReadAll(client); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client reads %q, %v", b, err)
	}
}

func TestListenerDrain(t *testing.T) {
	const head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	run := func(name string, f func(t *testing.T, l *Listener)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f(t, Listen(nil, testOptions, nil))
				settle()
			})
		})
	}
	// next waits for a head and says what came of it, and when.
	next := func(c *ClientConn) (took time.Duration, err error) {
		return timed(func() error { _, err := readHead(c, make([]byte, 64)); return err })
	}
	run("silent", func(t *testing.T, l *Listener) {
		c, _ := pipedClient(t, l)
		time.AfterFunc(3*time.Second, l.Drain)
		if took, err := next(c); took != 3*time.Second || err != io.EOF {
			t.Errorf("%v after %v", err, took)
		}
	})
	run("between requests", func(t *testing.T, l *Listener) {
		c, client := pipedClient(t, l)
		go func() { _, _ = client.Write([]byte(head)) }()
		mustTakeHead(t, c)
		c.ExpectBody(0, 0)
		time.AfterFunc(3*time.Second, l.Drain)
		if took, err := next(c); took != 3*time.Second || err != io.EOF {
			t.Errorf("%v after %v", err, took)
		}
	})
	run("inside a head", func(t *testing.T, l *Listener) {
		c, client := pipedClient(t, l)
		go func() {
			_, _ = client.Write([]byte(head[:5]))
			time.Sleep(5 * time.Second)
			_, _ = client.Write([]byte(head[5:]))
		}()
		time.AfterFunc(3*time.Second, l.Drain)
		if took, err := next(c); took != 5*time.Second || err != nil {
			t.Errorf("%v after %v", err, took)
		}
	})
	run("inside a body", func(t *testing.T, l *Listener) {
		c, client := pipedClient(t, l)
		go func() {
			_, _ = client.Write([]byte(head))
			time.Sleep(5 * time.Second)
			_, _ = client.Write([]byte("hello"))
		}()
		mustTakeHead(t, c)
		c.ExpectBody(5, 5)
		time.AfterFunc(3*time.Second, l.Drain)
		if body, err := readBody(c, 9); body != "hello" || err != nil {
			t.Errorf("%q, %v", body, err)
		}
	})
	// A new one gets a moment to begin, not the whole time for a head.
	run("silent, accepted while draining", func(t *testing.T, l *Listener) {
		l.Drain()
		c, _ := pipedClient(t, l)
		if took, err := next(c); took > 2*time.Second || err != io.EOF {
			t.Errorf("%v after %v", err, took)
		}
	})
	run("accepted while draining, with a request", func(t *testing.T, l *Listener) {
		l.Drain()
		c, client := pipedClient(t, l)
		go func() { _, _ = client.Write([]byte(head)) }()
		if took, err := next(c); took != 0 || err != nil {
			t.Errorf("%v after %v", err, took)
		}
	})
	run("silent, drained before the first Read", func(t *testing.T, l *Listener) {
		c, _ := pipedClient(t, l)
		l.Drain()
		if took, err := next(c); took > 2*time.Second || err != io.EOF {
			t.Errorf("%v after %v", err, took)
		}
	})
}

func TestDescriptor(t *testing.T) {
	near, _ := tcpPair(t)
	if fd := descriptor(near); fd < 0 {
		t.Error("a TCP connection has no descriptor")
	}
	if fd := descriptor(wrapped{near}); fd != descriptor(near) {
		t.Error("a connection below TLS has another descriptor")
	}
	a, b := net.Pipe()
	if descriptor(a) != -1 || descriptor(&scripted{}) != -1 {
		t.Error("a connection in memory has a descriptor")
	}
	_, _ = a.Close(), b.Close()
}

// wrapped is a connection as crypto/tls makes them.
type wrapped struct{ net.Conn }

func (w wrapped) NetConn() net.Conn { return w.Conn }
