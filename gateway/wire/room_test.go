package wire

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A guest is a client and its connection, from which somebody reads heads as fasthttp does.
type guest struct {
	*ClientConn
	client *net.TCPConn
	ended  chan error // receives the end of reading
	heads  chan string
	goOn   chan struct{} // a head that was read is answered
}

// enterGuest has a listener admit a client over loopback, and waits until it is idle.
func enterGuest(t *testing.T, l *Listener) *guest {
	t.Helper()
	near, far := tcpPair(t)
	c := l.admit(near)
	if c == nil {
		return nil
	}
	g := &guest{c, far, make(chan error, 1), make(chan string), make(chan struct{})}
	go func() {
		buf := make([]byte, 4096)
		for {
			head, err := readHead(c, buf)
			if err != nil {
				_ = c.Close()
				g.ended <- err
				return
			}
			takeHead(c, head)
			g.heads <- head
			<-g.goOn
		}
	}()
	t.Cleanup(func() { _ = far.Close() })
	return g
}

func (g *guest) say(t *testing.T, s string) {
	t.Helper()
	if _, err := io.WriteString(g.client, s); err != nil {
		t.Fatal(err)
	}
}

// gone tells whether the client's connection is at its end, and its reader knows.
func (g *guest) gone(t *testing.T) bool {
	t.Helper()
	_ = g.client.SetReadDeadline(time.Now().Add(patience))
	if n, err := g.client.Read(make([]byte, 1)); n != 0 || errors.Is(err, syscall.ETIMEDOUT) {
		return false
	}
	<-g.ended
	return true
}

func roomy(more ClientOptions) *Listener {
	more.HeadTimeout, more.KeepAlive, more.Idle = testOptions.HeadTimeout, testOptions.KeepAlive, testOptions.Idle
	return Listen(nil, more, nil)
}

// Who has been idle for longest goes first: new ones that say nothing, those between two requests, and those that do not
// come to the end of a head. Who is served stays.
func TestRoomIsMadeByWhoIsIdleLongest(t *testing.T) {
	l := roomy(ClientOptions{})
	silent, served, busy, slow := enterGuest(t, l), enterGuest(t, l), enterGuest(t, l), enterGuest(t, l)
	busy.say(t, anyHead)
	<-busy.heads
	slow.say(t, "GET / HTTP/1.1\r\n")
	eventually(t, "the slow head has begun", func() bool { v := slow.silence.Load(); return v > 0 && v&1 == 1 })
	served.say(t, anyHead)
	<-served.heads
	served.goOn <- struct{}{}
	eventually(t, "the served one waits again", func() bool { return served.silence.whole() })
	for i, g := range []*guest{silent, slow, served} {
		if !l.MakeRoom() || !g.gone(t) {
			t.Fatalf("number %d was not the next to go", i)
		}
	}
	if l.MakeRoom() {
		t.Error("somebody who is served has made room")
	}
	busy.goOn <- struct{}{}
	busy.say(t, anyHead)
	if got := <-busy.heads; got != anyHead {
		t.Errorf("the next request of the one that was busy: %q", got)
	}
	if n := l.Open(); n != 1 {
		t.Errorf("%d are open", n)
	}
	_ = busy.client.Close()
	busy.goOn <- struct{}{}
	<-busy.ended
}

// The listener makes room when accepting fails for want of descriptors, and when the limit is near.
func TestListenerMakesRoom(t *testing.T) {
	near, far := tcpPair(t)
	defer far.Close()
	told := 0
	l := roomy(ClientOptions{OnRoom: func(n int) { told += n }})
	idle := enterGuest(t, l)
	l.patient.Listener = &queue{script: []any{accept(syscall.EMFILE), near}}
	conn, err := l.Accept()
	if err != nil || !idle.gone(t) || told != 1 {
		t.Fatalf("%v, told of %d", err, told)
	}
	defer conn.Close()

	l = roomy(ClientOptions{MaxConns: 2})
	first, second, third := enterGuest(t, l), enterGuest(t, l), enterGuest(t, l)
	if !first.gone(t) || l.Open() != 2 {
		t.Errorf("%d are open", l.Open())
	}
	for _, g := range []*guest{second, third} {
		_ = g.client.Close()
		<-g.ended
	}
	// The newest one is never the one to go.
	l = roomy(ClientOptions{MaxConns: 1})
	l.admit(&scripted{}).silence.end()
	if newest := enterGuest(t, l); !newest.silence.whole() {
		t.Error("who came last has made room")
	} else {
		_ = newest.client.Close()
		<-newest.ended
	}
}

// What came while a connection made room is nobody's request: whoever serves it hears of the end alone.
func TestWhatCameTooLateIsNotHandedOut(t *testing.T) {
	for _, pieces := range [][]string{{"GET / HTTP/1.1\r\n\r\n"}, {"GET / HT"}, {"GET / HTTP/1.1\r\n", "\r\n"}} {
		c, s := scriptedClient(pieces...)
		left := len(pieces)
		c.Conn = evicting{s, func() {
			if left--; left == 0 {
				c.silence.Store(evicted)
			}
		}}
		if head, err := readHead(c, make([]byte, 64)); head != "" || err == nil || c.buffer != nil {
			t.Errorf("%q: %q, %v, a buffer %v", pieces, head, err, c.buffer != nil)
		}
	}
}

// An evicting connection tells of each read, before it brings something.
type evicting struct {
	net.Conn
	reads func()
}

func (e evicting) Read(p []byte) (int, error) {
	e.reads()
	return e.Conn.Read(p)
}

// A queue is a listener with connections and errors in it.
type queue struct {
	net.Listener
	script []any
}

func (q *queue) Accept() (net.Conn, error) {
	next := q.script[0]
	q.script = q.script[1:]
	if err, ok := next.(error); ok {
		return nil, err
	}
	return next.(net.Conn), nil
}

func TestConnectionsOfAClient(t *testing.T) {
	var most atomic.Int64
	most.Store(2)
	refused := 0
	l := roomy(ClientOptions{
		PerClient: func(netip.Addr) int { return int(most.Load()) },
		OnRefused: func(netip.Addr) { refused++ },
	})
	a, b := enterGuest(t, l), enterGuest(t, l)
	a.say(t, anyHead)
	<-a.heads
	c := enterGuest(t, l)
	if c == nil || !b.gone(t) {
		t.Fatal("the idle one has not made room for the new one")
	}
	c.say(t, anyHead)
	<-c.heads
	near, far := tcpPair(t)
	if l.admit(near) != nil || refused != 1 {
		t.Fatalf("a third one was let in while two are busy, refused %d", refused)
	}
	if _, err := far.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the refused one sees %v", err)
	}
	// Another client is not concerned.
	if x := l.admit(&scripted{}); x == nil {
		t.Error("another client was refused")
	} else {
		_ = x.Close()
	}
	// What ends is not counted any more.
	_ = a.client.Close()
	a.goOn <- struct{}{}
	<-a.ended
	d := enterGuest(t, l)
	if d == nil || l.Open() != 2 {
		t.Fatalf("%d are open", l.Open())
	}
	// Less from now on; then without a limit.
	most.Store(1)
	if e := enterGuest(t, l); e != nil || !d.gone(t) {
		t.Error("more than the new limit")
	}
	most.Store(0)
	for range 5 {
		e := enterGuest(t, l)
		_ = e.client.Close()
		<-e.ended
	}
	_ = c.client.Close()
	c.goOn <- struct{}{}
	<-c.ended
	if n := len(l.crowds); n != 0 || l.Open() != 0 {
		t.Errorf("%d crowds and %d connections are left", n, l.Open())
	}
}

// A connection that its client has closed does not stand in the way of the next one, though it is served.
func TestClosedConnectionsDoNotCount(t *testing.T) {
	l := roomy(ClientOptions{PerClient: func(netip.Addr) int { return 1 }})
	a := enterGuest(t, l)
	a.say(t, anyHead)
	<-a.heads
	_ = a.client.CloseWrite()
	eventually(t, "the end has come", func() bool { return polled(a.fd, hangUp) })
	b := enterGuest(t, l)
	if b == nil || l.Open() != 2 {
		t.Fatalf("%d are open", l.Open())
	}
	// One that is idle, and closed, makes room too.
	_ = b.client.Close()
	c := enterGuest(t, l)
	if c == nil {
		t.Fatal("refused")
	}
	<-b.ended
	_ = c.client.Close()
	<-c.ended
	a.goOn <- struct{}{}
	<-a.ended
	if len(l.crowds) != 0 {
		t.Error("a crowd is left")
	}
}

func TestCrowdOf(t *testing.T) {
	f := func(a, b string, same bool) {
		t.Helper()
		if got := crowdOf(netip.MustParseAddr(a)) == crowdOf(netip.MustParseAddr(b)); got != same {
			t.Errorf("%s and %s: %v", a, b, got)
		}
	}
	f("192.0.2.1", "192.0.2.1", true)
	f("192.0.2.1", "192.0.2.2", false)
	f("2001:db8::1", "2001:db8::ffff:0:0:2", true)
	f("2001:db8::1", "2001:db8:0:1::1", false)
}

func TestKeptFree(t *testing.T) {
	for most, want := range map[int]int{64: 8, 256: 32, 1024: 128, 1 << 20: 1024} {
		if got := keptFree(most); got != want {
			t.Errorf("of %d: %d", most, got)
		}
	}
}
