//go:build !race

package wire

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"
)

// guarded is an upstream's connection under a Watch that sweeps often.
func guarded(t testing.TB) (u *UpstreamConn, far *net.TCPConn) {
	t.Helper()
	u, far = upstreamPair(t)
	w := NewWatch(testTick)
	t.Cleanup(w.Close)
	var e Watched
	w.Add(&e, nil, u, nil)
	w.Guard(&e, u)
	t.Cleanup(func() { w.Remove(&e) })
	return u, far
}

// run receives all of what comes.
func (u *UpstreamConn) run(room int) (got []byte, err error) {
	p := make([]byte, room)
	err = u.ReceiveEach(Place{p: p}, patience, func(n int) bool {
		got = append(got, p[:n]...)
		return true
	})
	return got, err
}

func isReset(err error) bool {
	return err != nil && err != io.EOF && !errors.Is(err, os.ErrDeadlineExceeded)
}

// An end that comes with the last bytes has no edge of its own.
func TestRunSeesTheEnd(t *testing.T) {
	for _, reset := range []bool{false, true} {
		for _, room := range []int{3, 5, 4096} {
			u, far := guarded(t)
			_, _ = far.Write([]byte("later"))
			want := "later"
			if reset {
				_ = far.SetLinger(0)
			}
			_ = far.Close() // both are here before the first read
			got, err := u.run(room)
			if reset && (!isReset(err) || len(got) > 0 && string(got) != want) || !reset && (err != io.EOF || string(got) != want) {
				t.Errorf("reset %v, room %d: %q, %v", reset, room, got, err)
			}
		}
	}
}

// Pieces and ends of any kind at any time: nothing is lost, and the run ends.
func TestRunInPieces(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 1))
	for range 200 {
		u, far := guarded(t)
		var sent []byte
		pieces, reset, room := random.IntN(20), random.IntN(2) == 0, 1+random.IntN(200)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := range pieces {
				piece := make([]byte, 1+(i*37)%150)
				for j := range piece {
					piece[j] = byte(i + j)
				}
				sent = append(sent, piece...)
				_, _ = far.Write(piece)
			}
			if reset {
				_ = far.SetLinger(0)
			}
			_ = far.Close()
		}()
		got, err := u.run(room)
		<-done
		switch {
		case !reset && (err != io.EOF || string(got) != string(sent)):
			t.Fatalf("%d of %d bytes, %v", len(got), len(sent), err)
		case reset && (!isReset(err) || len(got) > len(sent) || string(got) != string(sent[:len(got)])):
			t.Fatalf("%d of %d bytes, %v, at a reset", len(got), len(sent), err)
		}
	}
}

// Who was woken has a look behind what lies there: the edge of the end is gone, and nobody wakes twice.
func TestRunWokenBeforeTheLastBytes(t *testing.T) {
	f := func(name string, room int, woken func(u *UpstreamConn, beforehand bool)) {
		t.Run(name, func(t *testing.T) {
			near, far := tcpPair(t)
			u := NewUpstream(near)
			_, _ = far.Write([]byte("the last bytes"))
			_ = far.SetLinger(0)
			_ = far.Close()
			eventually(t, "the reset is here", func() bool { return u.ready(0) })
			time.Sleep(3 * testTick) // for Go's poller to hear of it, before the run
			woken(u, true)
			began := Now()
			err := u.ReceiveEach(Place{p: make([]byte, room)}, patience, func(int) bool {
				woken(u, false)
				return true
			})
			if !isReset(err) || Now()-began > patience/2 {
				t.Errorf("%v after %v", err, Now()-began)
			}
		})
	}
	f("before", 100, func(u *UpstreamConn, beforehand bool) {
		if beforehand {
			u.Wake()
		}
	})
	f("as the deadline is moved", 7, func(u *UpstreamConn, beforehand bool) {
		if !beforehand && u.reads.at > 0 {
			u.Wake()
			u.reads.at = 1 // the piece took a good part of the time
		}
	})
}

// Where TCP_INQ does not count it, an end behind the last bytes is found by the Watch.
func TestGuardSeesTheEnd(t *testing.T) {
	u, far := guarded(t)
	time.Sleep(2 * testTick)
	if u.woken.Load() {
		t.Fatal("woken, and nothing has ended")
	}
	_, _ = far.Write([]byte("later"))
	_ = far.CloseWrite()
	eventually(t, "it is woken", u.woken.Load)
	if got, err := u.run(100); err != io.EOF || string(got) != "later" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestRunEnds(t *testing.T) {
	u, far := guarded(t)
	p := make([]byte, 9)
	want := func(what string, err error, is bool) {
		t.Helper()
		if !is {
			t.Errorf("%s: %v", what, err)
		}
	}
	err := u.ReceiveEach(Place{p: p}, time.Millisecond, nil)
	want("silence", err, errors.Is(err, os.ErrDeadlineExceeded))

	_, _ = far.Write([]byte("one"))
	err = u.ReceiveEach(Place{p: p}, patience, func(n int) bool { return false })
	want("enough", err, err == nil)

	_, _ = far.Write([]byte("two"))
	err = u.ReceiveEach(Place{p: p}, patience, func(n int) bool {
		u.Interrupt()
		return true
	})
	want("interrupted while it works", err, errors.Is(err, net.ErrClosed))
	err = u.ReceiveEach(Place{p: p}, patience, nil)
	want("interrupted before", err, errors.Is(err, net.ErrClosed))

	u, _ = guarded(t)
	time.AfterFunc(testTick, u.Interrupt)
	err = u.ReceiveEach(Place{p: p}, patience, nil)
	want("interrupted while it waits", err, isReset(err) || errors.Is(err, os.ErrDeadlineExceeded))
}

func TestRunAllocs(t *testing.T) {
	u, far := guarded(t)
	p, left := make([]byte, 100), 0
	got := func(n int) bool {
		left -= n
		return left > 0
	}
	piece := make([]byte, 50)
	if n := testing.AllocsPerRun(100, func() {
		left = 2 * len(piece)
		_, _ = far.Write(piece)
		_, _ = far.Write(piece)
		if err := u.ReceiveEach(Place{p: p}, patience, got); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
