package wire

import (
	"io"
	"net"
	"testing"
	"time"
)

const lastAnswer = "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

// lingering is a client over loopback that has had its last answer and may still be sending.
func lingering(t *testing.T, l *Listener) (client *net.TCPConn) {
	t.Helper()
	near, far := tcpPair(t)
	c := l.admit(near)
	if err := c.Send([]byte(lastAnswer)); err != nil {
		t.Fatal(err)
	}
	c.Linger()
	if err := c.Close(); err != nil { // and does not wait
		t.Fatal(err)
	}
	return far
}

// sendFor writes pieces, one every so often, as long as that, or until it cannot.
func sendFor(conn net.Conn, d, every time.Duration, piece []byte) error {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(every) {
		if _, err := conn.Write(piece); err != nil {
			return err
		}
	}
	return nil
}

// A client that sends on without looking sees the answer when it looks, whatever its pace, and however much it sends.
func TestLingerLetsSendersReadTheAnswer(t *testing.T) {
	f := func(name string, send func(conn net.Conn) error) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := lingering(t, Listen(nil, testOptions, nil))
			if err := send(client); err != nil {
				t.Fatalf("the client cannot send on: %v", err)
			}
			if got, err := io.ReadAll(client); err != nil || string(got) != lastAnswer {
				t.Errorf("the client reads %q, %v", got, err)
			}
		})
	}
	f("slow", func(conn net.Conn) error {
		return sendFor(conn, 2500*time.Millisecond, 50*time.Millisecond, make([]byte, 1000))
	})
	f("pauses", func(conn net.Conn) error {
		return sendFor(conn, 2500*time.Millisecond, time.Second, make([]byte, 1000))
	})
	f("much", func(conn net.Conn) error {
		for range 200 {
			if _, err := conn.Write(make([]byte, 1<<20)); err != nil {
				return err
			}
		}
		return nil
	})
}

// A client that never stops sending, or never closes, costs a bounded time.
func TestLingerIsBounded(t *testing.T) {
	o := testOptions
	o.Linger, o.LingerIdle = 1500*time.Millisecond, 300*time.Millisecond
	f := func(name string, least time.Duration, send func(conn net.Conn)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := Listen(nil, o, nil)
			began := time.Now()
			client := lingering(t, l)
			go send(client)
			for l.Lingering() > 0 && time.Since(began) < patience {
				time.Sleep(time.Millisecond)
			}
			if took := time.Since(began); took < least || took >= patience {
				t.Errorf("it lasts %v, want %v and not much more", took, least)
			}
		})
	}
	f("silent", o.LingerIdle, func(net.Conn) {})
	f("endless", o.Linger, func(conn net.Conn) { _ = sendFor(conn, patience, 0, make([]byte, 64<<10)) })
	f("drop by drop", o.Linger, func(conn net.Conn) { _ = sendFor(conn, patience, 10*time.Millisecond, []byte("x")) })
	f("leaves", 0, func(conn net.Conn) { _ = conn.Close() })
}

// Whoever lingers does not hold up the end of the gateway, and has its moment all the same.
func TestLingerEndsWithTheListener(t *testing.T) {
	f := func(name string, end func(l *Listener)) {
		t.Run(name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			l := Listen(ln, testOptions, nil)
			before := lingering(t, l)
			end(l)
			after := lingering(t, l)
			within(t, lingerTime/2, "the end of both", func() {
				for _, conn := range []net.Conn{before, after} {
					go sendFor(conn, lingerTime, 10*time.Millisecond, []byte("x"))
				}
				for l.Lingering() > 0 {
					time.Sleep(time.Millisecond)
				}
			})
		})
	}
	f("drains", (*Listener).Drain)
	f("closed", func(l *Listener) { _ = l.Close() })
	f("reset", func(l *Listener) { l.ResetAll() })
}

// Connections that linger are no way to use up descriptors: beyond some number the first of them makes room.
func TestLingersAreBoundedInNumber(t *testing.T) {
	l := Listen(nil, testOptions, nil)
	var clients []net.Conn
	for range maxLingering {
		clients = append(clients, lingering(t, l))
	}
	clients = append(clients, lingering(t, l))
	within(t, patience, "room", func() {
		for l.Lingering() > maxLingering {
			time.Sleep(time.Millisecond)
		}
	})
	for _, conn := range clients {
		_ = conn.Close()
	}
	within(t, patience, "the end of all", func() {
		for l.Lingering() > 0 {
			time.Sleep(time.Millisecond)
		}
	})
}
