package behaviour

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"aigateway/gateway/testkit"
)

// The time between two requests is a setting, also for connections that are open when it changes.
func TestKeepAliveTimeout(t *testing.T) {
	t.Parallel()
	g := startGateway(t, "KEEPALIVE_TIMEOUT=100ms")
	request := "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
	c, begun := g.Dial(), time.Now()
	c.Send("%s", request)
	if m := c.ReadResponse(); m.Status() != 200 {
		t.Fatal(m.First, m.Err)
	}
	if !c.Closed() || time.Since(begun) < 100*time.Millisecond {
		t.Errorf("the connection did not end in its time, or after %v", time.Since(begun))
	}
	if err := g.Reload(testkit.Settings(t, "", []string{"KEEPALIVE_TIMEOUT=1h"})); err != nil {
		t.Fatal(err)
	}
	c = g.Dial()
	for range 2 {
		c.Send("%s", request)
		if m := c.ReadResponse(); m.Status() != 200 {
			t.Fatal(m.First, m.Err)
		}
		if !c.Silent(300 * time.Millisecond) {
			t.Error("the connection ended by the time of before")
		}
	}
}

// A client has so many connections and no more; one that may speak for others has any number.
func TestMaxConnsPerClient(t *testing.T) {
	t.Parallel()
	request := "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
	up, _ := testkit.StartOdd(t, func(c *testkit.Peer, _ testkit.Message) bool { return c.Closed() })
	g := startGateway(t, "MAX_CONNS_PER_CLIENT=3", "TRUSTED_PROXIES=none", "PY_SERVICE_URL="+up.URL)
	idle, busy := g.Dial(), g.Dial()
	idle.Send("%s", request)
	idle.ReadResponse()
	busy.Send("%s", testkit.Ask("GET", "odd"))
	testkit.Eventually(t, "the busy one is served", func() bool { return up.Connections() == 1 })
	for range 10 {
		testkit.Eventually(t, "a new one is served", func() bool { // one that has just been answered may not be idle yet
			conn, err := net.Dial("tcp", g.Addr)
			if err != nil {
				return false
			}
			t.Cleanup(func() { conn.Close() })
			c := testkit.NewPeer(t, conn)
			c.Send("%s", request)
			return c.ReadResponse().Status() == 200
		})
	}
	if !idle.Closed() {
		t.Error("the one that was idle for longest is still open")
	}
	if n := g.Parts().Listener.Open(); n > 3 {
		t.Errorf("%d are open", n)
	}
	for up.Connections() < 3 {
		before := up.Connections()
		testkit.Eventually(t, "one more is served", func() bool {
			conn, err := net.Dial("tcp", g.Addr)
			if err != nil {
				return false
			}
			t.Cleanup(func() { conn.Close() })
			c := testkit.NewPeer(t, conn)
			c.Send("%s", testkit.Ask("GET", "odd"))
			return c.Silent(50*time.Millisecond) && up.Connections() > before
		})
	}
	testkit.Eventually(t, "three are served", func() bool { return up.Connections() == 3 })
	conn, err := net.Dial("tcp", g.Addr)
	if err == nil {
		defer conn.Close()
	}
	if err == nil && !testkit.NewPeer(t, conn).HasReset() || err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a fourth one was let in, or %v", err)
	}
	trusting := startGateway(t, "MAX_CONNS_PER_CLIENT=3")
	var all []*testkit.Peer
	for range 10 {
		c := trusting.Dial()
		c.Send("%s", request)
		if m := c.ReadResponse(); m.Status() != 200 {
			t.Fatal(m.First, m.Err)
		}
		all = append(all, c)
	}
	for _, c := range all {
		c.Send("%s", request)
		if m := c.ReadResponse(); m.Status() != 200 {
			t.Errorf("a connection of a trusted proxy has ended: %v", m.Err)
		}
	}
}
