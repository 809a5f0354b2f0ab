package proxy

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"

	"aigateway/gateway/wire"
)

// Tunnels is how many tunnels are open, and how many there have been.
func (p *Proxy) Tunnels() (open, ever int64) { return p.tunnels.Load(), p.tunnelsEver.Load() }

// A TunnelTap sees what an upstream says in a tunnel.
type TunnelTap interface {
	// Hear sees a piece before the client gets it. If last is not nil, the tunnel ends: the client gets the first n bytes of the piece and
	// then last, and the upstream nothing more.
	Hear(piece []byte) (n int, last []byte)
}

// A tunnel is two connections on which each byte goes on as it comes. An end of one direction is passed on, and the
// other goes on; anything else ends both, and so does silence in both for the idle time.
type tunnel struct {
	client *wire.ClientConn
	conn   *wire.UpstreamConn
	idle   time.Duration
	last   atomic.Int64 // when a byte came from either side, as wire.Now
	broken atomic.Bool  // an end came that is none in order
	ended  atomic.Bool  // the tap has ended it
	tap    TunnelTap    // nil: none
	panics func(any)
}

// tunnel passes on the upstream's 101, with what has come behind it, and then everything, until both sides have ended.
// The connections carry nothing else after that.
func (p *Proxy) tunnel(x *Exchange) Fault {
	x.dirty, x.switchedAt = true, x.HeadAt
	x.Client.EndAfter()
	if x.Tunnel != nil { // what was not asked for cannot be granted
		x.response.Drop(extensions)
	}
	x.head = appendSwitchingHead(x.head[:0], x)
	end, last := x.hearEarly()
	if f := x.sendBehindHead(x.down.B, x.body, end); f != None {
		return f
	}
	p.tunnels.Add(1)
	defer p.tunnels.Add(-1)
	p.tunnelsEver.Add(1)
	// Who leaves is noticed by reading from now on, and half of an end is not the whole.
	p.watch.Detach(&x.watched)
	t := &tunnel{client: x.Client, conn: x.conn, idle: x.upstream.timeouts.Idle, tap: x.Tunnel, panics: p.options.OnPanic}
	if last != nil {
		_ = t.endWith(last)
		return None
	}
	toClient := t.client.Send
	if t.tap != nil {
		toClient = t.toHeard
	}
	t.last.Store(int64(wire.Now()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if r := recover(); r != nil {
				p.options.OnPanic(r)
				t.end()
			}
		}()
		b := wire.GetBuffer(wire.SmallBuffer)
		defer b.Put()
		t.carry(b.B, t.client.Receive, t.toUpstream, t.conn.CloseWrite)
	}()
	t.carry(x.down.B, t.conn.Receive, toClient, t.client.CloseWrite)
	<-done
	if t.broken.Load() && !t.ended.Load() {
		x.Client.Reset()
	}
	return None
}

// hearEarly has the tap see what came with the upstream's head. It returns where that ends which the client gets of it.
func (x *Exchange) hearEarly() (end int, last []byte) {
	if x.Tunnel == nil || x.end == x.body {
		return x.end, nil
	}
	n, last := x.Tunnel.Hear(x.down.B[x.body:x.end])
	if last == nil {
		return x.end, nil
	}
	return x.body + n, last
}

// toHeard passes on what the tap has seen.
func (t *tunnel) toHeard(p []byte) (err error) {
	defer func() { // the other direction must not outlive the exchange
		if r := recover(); r != nil {
			t.panics(r)
			err = errTunnelEnded
		}
	}()
	n, last := t.tap.Hear(p)
	if last == nil {
		return t.client.Send(p)
	}
	if err = t.client.Send(p[:n]); err == nil {
		err = t.endWith(last)
	}
	return err
}

var errTunnelEnded = errors.New("the gateway ended the tunnel")

// endWith ends the tunnel in order: the client, which may still be sending, gets a last word.
func (t *tunnel) endWith(last []byte) error {
	err := t.client.Send(last)
	if err == nil {
		t.client.Linger()
		_ = t.client.CloseWrite() // the last word of TLS, too, as long as something can be written
		t.ended.Store(true)
		err = errTunnelEnded
	}
	t.end()
	return err
}

func (t *tunnel) toUpstream(p []byte) error {
	_, err := t.conn.Send(p, t.idle)
	return err
}

// carry passes on one direction until its end. finish passes the end on.
func (t *tunnel) carry(b []byte, receive func([]byte, time.Duration) (int, error), send func([]byte) error, finish func() error) {
	wait := t.idle
	for {
		n, err := receive(b, wait)
		if n > 0 {
			t.last.Store(int64(wire.Now()))
			if send(b[:n]) != nil {
				t.end()
				return
			}
		}
		wait = t.idle
		switch {
		case err == nil:
		case err == io.EOF && finish() == nil:
			return
		case errors.Is(err, os.ErrDeadlineExceeded):
			if wait -= wire.Now() - time.Duration(t.last.Load()); wait <= 0 {
				t.end()
				return
			}
		default:
			t.end()
			return
		}
	}
}

// end wakes both directions, for good.
func (t *tunnel) end() {
	t.broken.Store(true)
	t.conn.Interrupt()
	t.client.Interrupt()
}
