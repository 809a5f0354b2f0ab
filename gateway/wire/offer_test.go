package wire

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// What is offered never waits: a client that does not read takes what there is room for, and has it all when the rest is sent.
func TestClientOffer(t *testing.T) {
	near, far := tcpPair(t)
	c := Listen(nil, testOptions, nil).admit(near)
	piece := bytes.Repeat([]byte("0123456789abcdef"), 1<<10)
	var want []byte
	var rest []byte
	within(t, patience, "offering", func() {
		for len(rest) == 0 {
			n, err := c.Offer(piece)
			if err != nil || n > len(piece) {
				t.Fatal(n, err)
			}
			want, rest = append(want, piece...), piece[n:]
		}
	})
	if got := c.Sent(); !c.Replied() || got != int64(len(want)-len(rest)) {
		t.Errorf("%d bytes are sent", got)
	}
	read := make(chan []byte)
	go func() {
		got := make([]byte, len(want))
		_, _ = io.ReadFull(far, got)
		read <- got
	}()
	if err := c.Send(rest); err != nil || !bytes.Equal(<-read, want) {
		t.Errorf("another one, %v", err)
	}

	c.Interrupt()
	if _, err := c.Offer(piece); err == nil {
		t.Error("a connection at its end takes something")
	}
}

// A connection of which the kernel does not tell takes nothing: it is sent to.
func TestClientOfferInMemory(t *testing.T) {
	c, s := scriptedClient()
	if n, err := c.Offer([]byte("x")); n != 0 || err != nil || s.wrote.Len() != 0 {
		t.Errorf("%d, %v", n, err)
	}
}

// A client that has gone is told apart from one that is slow.
func TestClientOfferToNobody(t *testing.T) {
	near, far := tcpPair(t)
	c := Listen(nil, testOptions, nil).admit(near)
	_ = far.SetLinger(0)
	_ = far.Close()
	eventually(t, "an error", func() bool { _, err := c.Offer([]byte("x")); return err != nil })
}

// Wake ends a receive that waits, or the next one, once, and no byte is lost. The time-out of the next one is its own.
func TestUpstreamWake(t *testing.T) {
	near, far := tcpPair(t)
	u := upstreamOf(near)
	b := make([]byte, 9)
	for _, wait := range []time.Duration{0, 5 * time.Millisecond} { // before it waits, and while it does
		woken := time.AfterFunc(wait, u.Wake)
		if wait == 0 {
			eventually(t, "it is woken", u.woken.Load)
		}
		within(t, patience, "Receive", func() {
			if n, err := u.Receive(b, time.Hour); n != 0 || err != ErrWoken {
				t.Errorf("%d, %v", n, err)
			}
		})
		woken.Stop()
		_, _ = far.Write([]byte("hello"))
		if n, err := u.Receive(b, time.Hour); string(b[:n]) != "hello" || err != nil {
			t.Errorf("%q, %v", b[:n], err)
		}
	}
	u.Wake()
	if !u.Woken() || u.Woken() {
		t.Error("it is not taken back")
	}
	if n, err := u.Receive(b, 20*time.Millisecond); n != 0 || !isTimeout(err) {
		t.Errorf("%d, %v", n, err)
	}
	u.Wake()
	u.Interrupt()
	if _, err := u.Receive(b, time.Hour); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

// A client that leaves while the work goes on for others wakes who does it, if the work is for that client again.
func TestWatchAttach(t *testing.T) {
	w, v := newTestWatch(t), newVisit(t)
	near, _ := tcpPair(t)
	up := upstreamOf(near)
	w.Attach(&v.Watched, v.conn, stays{}) // not watched: nothing happens
	w.Add(&v.Watched, v.conn, up, stays{})
	w.Detach(&v.Watched)
	w.Attach(&v.Watched, v.conn, stays{})
	time.AfterFunc(3*testTick, func() { _ = v.client.Close() })
	within(t, patience, "Receive", func() {
		if n, err := up.Receive(make([]byte, 9), time.Hour); n != 0 || err != ErrWoken {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
	if v.Gone() {
		t.Error("the work does not go on")
	}
	w.Remove(&v.Watched)
}

type stays struct{}

func (stays) ClientLeft() bool { return true }
