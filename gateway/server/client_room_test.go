package server

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"time"
)

// The time between two requests is a setting, also for connections that are open when it changes.
func TestKeepAliveTimeout(t *testing.T) {
	g := startGateway(t, "KEEPALIVE_TIMEOUT=100ms")
	request := "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
	c, begun := g.dial(), time.Now()
	c.send("%s", request)
	if m := c.readResponse(); m.status() != 200 {
		t.Fatal(m.first, m.err)
	}
	if !c.closed() || time.Since(begun) < 100*time.Millisecond {
		t.Errorf("the connection did not end in its time, or after %v", time.Since(begun))
	}
	if err := g.Reload(loadSettings(t, "", []string{"KEEPALIVE_TIMEOUT=1h"})); err != nil {
		t.Fatal(err)
	}
	c = g.dial()
	for range 2 {
		c.send("%s", request)
		if m := c.readResponse(); m.status() != 200 {
			t.Fatal(m.first, m.err)
		}
		if !c.silent(300 * time.Millisecond) {
			t.Error("the connection ended by the time of before")
		}
	}
}

// A client has so many connections and no more; one that may speak for others has any number.
func TestMaxConnsPerClient(t *testing.T) {
	request := "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
	up, _ := startOdd(t, func(c *peer, _ message) bool { return c.closed() })
	g := startGateway(t, "MAX_CONNS_PER_CLIENT=3", "TRUSTED_PROXIES=none", "PY_SERVICE_URL="+up.URL)
	idle, busy := g.dial(), g.dial()
	idle.send("%s", request)
	idle.readResponse()
	busy.send("%s", ask("GET", "odd"))
	eventually(t, "the busy one is served", func() bool { return up.connections() == 1 })
	for range 10 {
		eventually(t, "a new one is served", func() bool { // one that has just been answered may not be idle yet
			conn, err := net.Dial("tcp", g.addr)
			if err != nil {
				return false
			}
			t.Cleanup(func() { conn.Close() })
			c := newPeer(t, conn)
			c.send("%s", request)
			return c.readResponse().status() == 200
		})
	}
	if !idle.closed() {
		t.Error("the one that was idle for longest is still open")
	}
	if n := g.listener.Open(); n > 3 {
		t.Errorf("%d are open", n)
	}
	for up.connections() < 3 {
		before := up.connections()
		eventually(t, "one more is served", func() bool {
			conn, err := net.Dial("tcp", g.addr)
			if err != nil {
				return false
			}
			t.Cleanup(func() { conn.Close() })
			c := newPeer(t, conn)
			c.send("%s", ask("GET", "odd"))
			return c.silent(50*time.Millisecond) && up.connections() > before
		})
	}
	eventually(t, "three are served", func() bool { return up.connections() == 3 })
	conn, err := net.Dial("tcp", g.addr)
	if err == nil {
		defer conn.Close()
	}
	if err == nil && !newPeer(t, conn).hasReset() || err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a fourth one was let in, or %v", err)
	}
	trusting := startGateway(t, "MAX_CONNS_PER_CLIENT=3")
	var all []*peer
	for range 10 {
		c := trusting.dial()
		c.send("%s", request)
		if m := c.readResponse(); m.status() != 200 {
			t.Fatal(m.first, m.err)
		}
		all = append(all, c)
	}
	for _, c := range all {
		c.send("%s", request)
		if m := c.readResponse(); m.status() != 200 {
			t.Errorf("a connection of a trusted proxy has ended: %v", m.err)
		}
	}
}
