package wire

import (
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
)

// How a connection ends, as the client sees it on a real socket.
func TestClientClose(t *testing.T) {
	const answer = "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"
	// upload is how much the client sends that the gateway does not read.
	f := func(name string, upload int, use func(c *ClientConn), want error) {
		t.Run(name, func(t *testing.T) {
			c, client := tcpClient(t)
			if _, err := client.Write([]byte(anyHead + strings.Repeat("x", upload))); err != nil {
				t.Fatal(err)
			}
			mustTakeHead(t, c)
			c.ExpectBody(int64(upload), 10)
			if err := c.Send([]byte(answer)); err != nil {
				t.Fatal(err)
			}
			use(c)
			closed := make(chan struct{})
			go func() { defer close(closed); _ = c.Close() }()
			if want != nil {
				<-closed
			}
			got, err := io.ReadAll(client)
			if !errors.Is(err, want) || want == nil && string(got) != answer {
				t.Errorf("the client reads %q, %v; want %v", got, err, want)
			}
			_ = client.Close()
			within(t, patience, "Close", func() { <-closed })
		})
	}
	f("plain", 0, func(*ClientConn) {}, nil)
	f("linger", 0, (*ClientConn).Linger, nil)
	f("linger with unread bytes", 200_000, (*ClientConn).Linger, nil)
	f("stopped body", 200_000, (*ClientConn).StopBody, nil)
	f("reset", 0, (*ClientConn).Reset, syscall.ECONNRESET)
	f("reset with unread bytes", 200_000, (*ClientConn).Reset, syscall.ECONNRESET)
	f("linger, then reset", 0, func(c *ClientConn) { c.Linger(); c.Reset() }, syscall.ECONNRESET)
	f("reset, then linger", 0, func(c *ClientConn) { c.Reset(); c.Linger() }, syscall.ECONNRESET)
	f("reset taken back", 0, func(c *ClientConn) { c.Reset(); c.Complete() }, nil)
}

// What serves a request writes to a descriptor that is the connection's own, however often and whenever somebody else closes it.
func TestClientCloseWhileServed(t *testing.T) {
	near, client := tcpPair(t)
	options := testOptions
	options.Handle = func(c *ClientConn, _ []byte) Handled {
		c.TakeHead()
		for range 3 {
			_ = c.Close()
		}
		if err := c.Send([]byte("whole")); err != nil {
			t.Error(err)
		}
		return Served
	}
	c := Listen(nil, options, nil).admit(near)
	_, _ = client.Write([]byte(anyHead))
	if n, err := c.Read(make([]byte, 4096)); n > 0 || err != io.EOF {
		t.Errorf("%d bytes, %v", n, err)
	}
	_ = c.Close()
	if got, err := io.ReadAll(client); err != nil || string(got) != "whole" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestClientCloseBeforeServed(t *testing.T) {
	near, _ := tcpPair(t)
	options := testOptions
	options.Handle = func(*ClientConn, []byte) Handled {
		t.Error("a head of a connection that is closed")
		return Served
	}
	c := Listen(nil, options, nil).admit(near)
	_ = c.Close() // between the head's last byte and the handling of it
	if h := c.handle([]byte(anyHead)); h != Ended {
		t.Error(h)
	}
}

// Once the reading of a body was stopped, the connection has no other request.
func TestClientStoppedDoesNotKeepAlive(t *testing.T) {
	c, client := tcpClient(t)
	_, _ = client.Write([]byte(anyHead + "abc"))
	mustTakeHead(t, c)
	c.ExpectBody(3, 10)
	if got, err := readBody(c, 64); err != nil || got != "abc" || !c.KeepsAlive() {
		t.Fatalf("%q, %v, keeps alive: %v", got, err, c.KeepsAlive())
	}
	if c.StopBody(); c.KeepsAlive() {
		t.Error("it keeps alive, but the next body could not be read")
	}
}

// In memory there is nothing to reset or to half-close; Close works all the same.
func TestClientCloseInMemory(t *testing.T) {
	for _, use := range []func(*ClientConn){(*ClientConn).Linger, (*ClientConn).Reset, func(*ClientConn) {}} {
		c, s := scriptedClient()
		use(c)
		if err := c.Close(); err != nil || !s.closed {
			t.Errorf("%v, closed %v", err, s.closed)
		}
	}
}

func TestClientCutOnTheWire(t *testing.T) {
	f := func(name string, end func(conn *net.TCPConn)) {
		t.Run(name, func(t *testing.T) {
			c, client := tcpClient(t)
			_, _ = client.Write([]byte(anyHead + "abc"))
			mustTakeHead(t, c)
			c.ExpectBody(10, 10)
			end(client)
			if got, err := readBody(c, 64); err != ErrBodyCut || got != "abc" && name != "RST" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	f("FIN", func(conn *net.TCPConn) { _ = conn.CloseWrite() })
	f("RST", func(conn *net.TCPConn) { _ = conn.SetLinger(0); _ = conn.Close() })
}
