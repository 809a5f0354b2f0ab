//go:build !race

package wire

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

// Who waits for what an upstream sends has no buffer, and gets one with the first byte.
func TestReceiveLate(t *testing.T) {
	a, b := directPair(t)
	c := NewUpstream(a)
	buffer := GetBuffer(SmallBuffer)
	if n, err := c.ReceiveInto(Late(&buffer, 10, 100), 5*time.Millisecond); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || buffer != nil {
		t.Fatalf("%d bytes, %v, buffer %v", n, err, buffer != nil)
	}
	sent := strings.Repeat("0123456789", 20)
	go func() { time.Sleep(5 * time.Millisecond); _, _ = b.Write([]byte(sent)) }()
	n, err := c.ReceiveInto(Late(&buffer, 10, 100), time.Minute)
	if n != 90 || err != nil || string(buffer.B[10:100]) != sent[:90] || len(buffer.B) != SmallBuffer {
		t.Fatalf("%d bytes, %v", n, err)
	}
	if n, err = c.ReceiveInto(Late(&buffer, 0, SmallBuffer), time.Minute); n != len(sent)-90 || err != nil || string(buffer.B[:n]) != sent[90:] {
		t.Fatalf("%d bytes, %v", n, err)
	}
	_ = b.Close()
	if n, err = c.ReceiveInto(Late(&buffer, 0, SmallBuffer), time.Minute); n != 0 || err != io.EOF {
		t.Fatalf("%d bytes, %v", n, err)
	}
}

func TestReceiveLateAllocNothing(t *testing.T) {
	a, b := directPair(t)
	c, d, p := NewUpstream(a), newDirect(b), make([]byte, 100)
	var buffer *Buffer
	if n := testing.AllocsPerRun(100, func() {
		_, _, _ = d.write(p)
		_, _ = c.ReceiveInto(Late(&buffer, 0, SmallBuffer), time.Minute)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A request that is on its way holds its head and no more, and a connection that waits for the next one holds nothing.
func TestClientHoldsItsHeadAlone(t *testing.T) {
	near, far := tcpPair(t)
	held := make(chan int, 1)
	o := testOptions
	o.Handle = func(c *ClientConn, head []byte) Handled {
		c.TakeHead()
		c.ExpectBody(5000, 5000)
		if body, err := readBody(c, 6000); len(body) != 5000 || err != nil || !strings.HasPrefix(string(head), "POST /a ") {
			t.Errorf("%d bytes, %v, of %q", len(body), err, head)
		}
		if c.buffer != nil || len(c.head.B) != MiniBuffer {
			t.Errorf("a buffer of %d bytes for a head of %d", len(c.head.B), len(head))
		}
		held <- len(head)
		return Served
	}
	c := Listen(nil, o, nil).admit(near)
	_, _ = far.Write([]byte("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n" + strings.Repeat("x", 5000)))
	_ = near.SetReadDeadline(time.Now().Add(time.Minute))
	done := make(chan error, 1)
	go func() { _, err := c.Read(make([]byte, 1)); done <- err }()
	<-held
	_ = far.CloseWrite()
	if err := <-done; err != io.EOF || c.buffer != nil || c.head != nil {
		t.Errorf("%v; a buffer %v, a head %v", err, c.buffer != nil, c.head != nil)
	}
}
