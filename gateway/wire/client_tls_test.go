package wire

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A counted connection counts what is written to it, and fails from a write on.
type counted struct {
	net.Conn
	writes atomic.Int32
	fails  atomic.Int32 // the write that fails; 0: none
}

var errFails = errors.New("fails")

func (c *counted) Write(p []byte) (int, error) {
	n := c.writes.Add(1)
	if f := c.fails.Load(); f > 0 && n >= f {
		return 0, errFails
	}
	return c.Conn.Write(p)
}

// tlsClient is a client over TLS whose handshake is done.
func tlsClient(t *testing.T, version uint16) (c *ClientConn, below *counted, client *tls.Conn) {
	t.Helper()
	certificate, roots := certify(t)
	var certificates Certificates
	certificates.Use([]*tls.Certificate{&certificate})
	near, far := tcpPair(t)
	below = &counted{Conn: near}
	options := testOptions
	options.TLS = ServerTLS(&certificates)
	c = Listen(nil, options, nil).admit(below)
	client = tls.Client(far, &tls.Config{RootCAs: roots, ServerName: "up.example", MaxVersion: version})
	shaken := make(chan error)
	go func() { shaken <- client.Handshake() }()
	if ok, err := c.handshake(), <-shaken; !ok || err != nil {
		t.Fatalf("handshake: %v, %v", ok, err)
	}
	below.writes.Store(0)
	return c, below, client
}

// What is sent at once leaves in a write for five records or so, and comes whole.
func TestTLSGathers(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		c, below, client := tlsClient(t, version)
		for _, one := range []struct{ bytes, writes int }{
			{1, 1}, {16 << 10, 1}, {16<<10 + 1, 1}, {20 << 10, 1}, {5 * 16 << 10, 1}, {5*16<<10 + 1, 1}, {100 << 10, 2}, {1 << 20, 13}, {3, 1},
		} {
			sent := bytes.Repeat([]byte{byte(one.bytes)}, one.bytes)
			copy(sent, "begins")
			got := make([]byte, len(sent))
			read := make(chan error)
			go func() { _, err := io.ReadFull(client, got); read <- err }()
			before := below.writes.Load()
			if err := errors.Join(c.Send(sent), <-read); err != nil || !bytes.Equal(got, sent) {
				t.Fatalf("%x: %d bytes: %v, the same: %v", version, one.bytes, err, bytes.Equal(got, sent))
			}
			if n := int(below.writes.Load() - before); n != one.writes {
				t.Errorf("%x: %d bytes leave in %d writes, not %d", version, one.bytes, n, one.writes)
			}
		}
		if c.records.buffer != nil || c.records.left.Load() != 0 {
			t.Errorf("%x: a silent connection holds a buffer", version)
		}
	}
}

// A write that fails, at once or after others, ends what is sent, and is told.
func TestTLSGatheringFails(t *testing.T) {
	for write := range int32(3) {
		c, below, client := tlsClient(t, tls.VersionTLS13)
		go func() { _, _ = io.Copy(io.Discard, client) }()
		below.fails.Store(write + 1)
		if err := c.Send(make([]byte, 200<<10)); !errors.Is(err, errFails) {
			t.Errorf("write %d: %v", write, err)
		}
		before := below.writes.Load()
		if err := c.Send(make([]byte, 200<<10)); err == nil || below.writes.Load() != before {
			t.Errorf("after write %d: %v, %d more", write, err, below.writes.Load()-before)
		}
		if c.records.left.Load() != 0 {
			t.Error("it gathers on")
		}
	}
}

// Records of another goroutine, such as an answer to an update of keys, keep their place among those of a Write, and none is lost.
func TestTLSGatheringBesideOthers(t *testing.T) {
	c, _, client := tlsClient(t, tls.VersionTLS13)
	const times, large, small = 200, 40 << 10, 7
	total := make(chan int)
	go func() {
		n, _ := io.Copy(io.Discard, client)
		total <- int(n)
	}()
	var all sync.WaitGroup
	all.Add(1)
	go func() {
		defer all.Done()
		for range times {
			_, _ = c.tls.Write(make([]byte, small))
		}
	}()
	for range times {
		if err := c.Send(make([]byte, large)); err != nil {
			t.Fatal(err)
		}
	}
	all.Wait()
	_ = c.CloseWrite()
	_ = c.kernel().(*counted).Conn.(*net.TCPConn).CloseWrite()
	select {
	case n := <-total:
		if want := times * (large + small); n != want {
			t.Errorf("%d bytes, not %d", n, want)
		}
	case <-time.After(patience):
		t.Error("there is no end")
	}
}

// Gathering allocates nothing.
func TestTLSGatheringAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	c, _, client := tlsClient(t, tls.VersionTLS13)
	go func() {
		for p := make([]byte, 64<<10); ; {
			if _, err := client.NetConn().Read(p); err != nil {
				return
			}
		}
	}()
	p := make([]byte, 100<<10)
	if n := testing.AllocsPerRun(100, func() { _ = c.Send(p) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
