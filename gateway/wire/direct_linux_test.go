//go:build !race

package wire

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// directPair is two ends of a connection over loopback.
func directPair(t *testing.T) (a, b *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	d, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); d.Close() })
	return c.(*net.TCPConn), d.(*net.TCPConn)
}

// A direct connection does what net.Conn says: it waits, ends, is over at its deadline, and loses nothing of a write that
// the kernel takes in parts.
func TestDirect(t *testing.T) {
	a, b := directPair(t)
	_, _ = a.SetWriteBuffer(64<<10), b.SetReadBuffer(64<<10) // or some kernels take all that is written here
	d := newDirect(a)
	if d == nil {
		t.Fatal("a TCP connection is not direct")
	}
	buf := make([]byte, 1<<10)
	go func() { time.Sleep(5 * time.Millisecond); _, _ = b.Write([]byte("hello")) }()
	if n, ok, err := d.read(Place{p: buf}); string(buf[:n]) != "hello" || err != nil || !ok {
		t.Errorf("%q, %v, %v", buf[:n], err, ok)
	}
	if _, ok, _ := d.read(Place{}); ok {
		t.Error("an empty read waits")
	}

	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // more than the kernel has room for
	got := make(chan []byte)
	go func() { p := make([]byte, len(large)); _, _ = io.ReadFull(b, p); got <- p }()
	if n, _, err := d.write(large); n != len(large) || err != nil || !bytes.Equal(<-got, large) {
		t.Errorf("%d of %d bytes, %v", n, len(large), err)
	}

	_ = a.SetDeadline(longAgo)
	if n, _, err := d.read(Place{p: buf}); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d, %v", n, err)
	}
	twice := append(large, large...)
	_ = a.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	n, _, err := d.write(twice) // nobody reads
	if n == 0 || n == 2*len(large) || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d, %v", n, err)
	}
	_ = a.SetDeadline(time.Time{})

	_ = b.CloseWrite()
	if n, _, err := d.read(Place{p: buf}); n != 0 || err != io.EOF {
		t.Errorf("%d, %v", n, err)
	}
	_ = b.SetLinger(0)
	b.Close()
	if _, _, err := d.write(large); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) || !errors.As(err, new(*net.OpError)) {
		t.Errorf("%v", err)
	}
	a.Close()
	if _, _, err := d.read(Place{p: buf}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
}

// Who waits is woken by a deadline that is set meanwhile, and by Close.
func TestDirectIsWoken(t *testing.T) {
	for name, wake := range map[string]func(*net.TCPConn){
		"deadline": func(c *net.TCPConn) { _ = c.SetDeadline(longAgo) }, "close": func(c *net.TCPConn) { c.Close() }} {
		a, _ := directPair(t)
		d, done := newDirect(a), make(chan error)
		go func() { _, _, err := d.read(Place{p: make([]byte, 1)}); done <- err }()
		time.Sleep(5 * time.Millisecond)
		wake(a)
		if err := <-done; err == nil {
			t.Error(name, "no error")
		}
	}
}

func TestDirectAllocNothing(t *testing.T) {
	a, b := directPair(t)
	d, e, p := newDirect(a), newDirect(b), make([]byte, 100)
	if n := testing.AllocsPerRun(100, func() { _, _, _ = d.write(p); _, _, _ = e.read(Place{p: p}) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestDirectIsForTCP(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if newDirect(a) != nil {
		t.Error("a pipe is direct")
	}
}

// What the kernel takes at once is what it is said to be: nothing is lost between that and the write that follows.
func TestDirectOffer(t *testing.T) {
	a, b := directPair(t)
	c := NewUpstream(a)
	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // more than the kernel has room for
	n := c.Offer(large, time.Minute)
	if n <= 0 || n == len(large) || c.Offer(nil, time.Minute) != 0 {
		t.Fatalf("%d of %d bytes", n, len(large))
	}
	got := make(chan []byte)
	go func() { p := make([]byte, len(large)); _, _ = io.ReadFull(b, p); got <- p }()
	if m, err := c.Send(large[n:], time.Minute); n+m != len(large) || err != nil || !bytes.Equal(<-got, large) {
		t.Errorf("%d and %d of %d bytes, %v", n, m, len(large), err)
	}
	c.Interrupt()
	if n := c.Offer(large, time.Minute); n != 0 {
		t.Errorf("interrupted: %d bytes", n)
	}
	_ = a.Close()
	if n := c.Offer(large, time.Minute); n != 0 {
		t.Errorf("after the end: %d bytes", n)
	}
}
