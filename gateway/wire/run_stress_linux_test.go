//go:build !race

package wire

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Streams of upstreams that end in any way at any time, to clients that read, dawdle and leave, beside sweeps without a pause: each client has the
// bytes that were sent for it, and each stream its end at once.
func TestRunsBesideSweeps(t *testing.T) {
	w := NewWatch(20 * time.Microsecond)
	defer w.Close()
	var workers sync.WaitGroup
	var streams atomic.Int64
	until := time.Now().Add(time.Second)
	for n := range 6 {
		workers.Go(func() {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = ln.Close() }()
			random := rand.New(rand.NewPCG(7, uint64(n)))
			for time.Now().Before(until) && !t.Failed() {
				s := swept{T: t, watch: w, ln: ln, Rand: random}
				s.relay()
				streams.Add(1)
			}
		})
	}
	workers.Wait()
	if streams.Load() < 10 {
		t.Errorf("%d streams", streams.Load())
	}
}

// A swept stream is one on its way through.
type swept struct {
	*testing.T
	*rand.Rand
	watch *Watch
	ln    net.Listener
	sent  []byte
	began time.Duration
	err   error // of the run
	gone  bool  // the client could not be written to
}

// pair is two ends over loopback.
func (s *swept) pair() (near, far *net.TCPConn) {
	conn, err := net.Dial("tcp", s.ln.Addr().String())
	if err != nil {
		s.Fatal(err)
	}
	there, err := s.ln.Accept()
	if err != nil {
		s.Fatal(err)
	}
	return there.(*net.TCPConn), conn.(*net.TCPConn)
}

func (s *swept) relay() {
	near, upstream := s.pair()
	defer func() { _ = near.Close() }()
	inner, client := s.pair()
	s.sent = make([]byte, 1+s.IntN(3000))
	if s.IntN(16) == 0 {
		s.sent = make([]byte, 300_000)
		_, _ = inner.SetWriteBuffer(16<<10), client.SetReadBuffer(16<<10)
	}
	for i := range s.sent {
		s.sent[i] = byte(s.Uint32())
	}
	reset, pieces, leaves := s.IntN(3) > 0, 1+s.IntN(3), s.IntN(8) == 0
	dawdles := time.Duration(s.IntN(4)/3*s.IntN(300)) * time.Microsecond
	options := testOptions
	room := 1 + s.IntN(2*len(s.sent))
	options.Handle = func(c *ClientConn, _ []byte) Handled {
		c.TakeHead()
		s.serve(c, NewUpstream(near), make([]byte, room))
		c.Reset()
		if s.err == io.EOF {
			c.Complete()
		}
		return Ended
	}
	c := Listen(nil, options, nil).admit(inner)
	go func() {
		for i := range pieces {
			_, _ = upstream.Write(s.sent[i*len(s.sent)/pieces : (i+1)*len(s.sent)/pieces])
		}
		if reset {
			_ = upstream.SetLinger(0)
		}
		_ = upstream.Close()
	}()
	var got []byte
	read := make(chan error, 1)
	go func() {
		var err error
		defer func() { _ = client.Close(); read <- err }()
		_ = client.SetDeadline(time.Now().Add(patience))
		_, _ = client.Write([]byte(anyHead))
		p := make([]byte, 1+len(s.sent)/3)
		for n := 0; err == nil; got = append(got, p[:n]...) {
			time.Sleep(dawdles)
			if n, err = client.Read(p); leaves {
				return
			}
		}
	}()
	_, _ = c.Read(make([]byte, 4096))
	_ = c.Close()
	s.judge(reset, leaves, <-read, got)
}

// serve relays, under watch.
func (s *swept) serve(c *ClientConn, u *UpstreamConn, p []byte) {
	var e Watched
	s.watch.Add(&e, c, u, nil)
	s.watch.Guard(&e, u)
	s.began = Now()
	s.err = u.ReceiveEach(Place{p: p}, patience, func(n int) bool {
		s.gone = c.Send(p[:n]) != nil
		if n%4 == 0 {
			u.reads = rollingDeadline{} // as if that had taken long
		}
		return !s.gone
	})
	s.gone = s.gone || e.Gone()
	s.watch.Remove(&e)
}

func (s *swept) judge(reset, leaves bool, read error, got []byte) {
	took := Now() - s.began
	switch {
	case took > patience/2:
	case !bytes.HasPrefix(s.sent, got):
	case leaves:
		return
	case s.gone:
	case reset && isReset(s.err) && read != io.EOF, !reset && s.err == io.EOF && errors.Is(read, io.EOF) && len(got) == len(s.sent):
		return
	}
	s.Errorf("reset %v, leaves %v, gone %v: %v after %v; the client has %d of %d bytes, %v", reset, leaves, s.gone, s.err, took, len(got), len(s.sent), read)
}
