package behaviour

import (
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"aigateway/gateway/testkit"
)

// startWayBack starts what leads to a gateway that may not be there yet: a port that passes connections on. It counts
// those that brought a request and no probe.
func startWayBack(t *testing.T, to *atomic.Pointer[testGateway]) (url string, requests func() int) {
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		g := to.Load()
		if g == nil {
			return
		}
		conn, err := net.Dial("tcp", g.Addr)
		if err != nil {
			return
		}
		defer conn.Close()
		go func() { _, _ = io.Copy(conn, c.R) }()
		_, _ = io.Copy(c.Conn, conn)
	})
	return up.URL, up.Connections
}

// wantLoop checks the refusal of a request that has come back.
func wantLoop(t *testing.T, what string, m testkit.Message, begun time.Time) {
	t.Helper()
	if m.Status() != 508 || !strings.Contains(m.Body, `"loop_detected"`) {
		t.Errorf("%s: %q, %v: %s", what, m.First, m.Err, m.Body)
	}
	testkit.WantQuick(t, what, begun, 5*time.Second)
}

func TestLoop(t *testing.T) {
	for name, environ := range map[string][]string{"plain": nil, "cached": {"CACHE_ENABLED=true"}} {
		t.Run(name, func(t *testing.T) {
			var back atomic.Pointer[testGateway]
			url, requests := startWayBack(t, &back)
			g := startGateway(t, append([]string{"LLM_SERVICE_URL=" + url, "PY_SERVICE_URL=" + url}, environ...)...)
			back.Store(g)
			n := 0
			for _, request := range []string{
				"POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab",
				"POST /v1/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
				"GET /v1/x HTTP/1.1\r\nHost: a\r\nVia: 1.0 fred, 1.1 p.example.net (Apache/1.1)\r\nVia: 2 x\r\n\r\n",
				"GET /v1/x HTTP/1.0\r\n\r\n",
				"GET /infer?prompt=x HTTP/1.1\r\nHost: a\r\n\r\n",
				"GET /v1/chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
			} {
				begun := time.Now()
				wantLoop(t, request, g.Do(request), begun)
				if n++; requests() > n {
					t.Fatalf("%q: %d requests went out", request, requests()-n+1)
				}
			}
		})
	}
}

// Two gateways that lead to each other: the first one that meets its own request ends it.
func TestLoopOfTwo(t *testing.T) {
	t.Parallel()
	var back atomic.Pointer[testGateway]
	url, requests := startWayBack(t, &back)
	b := startGateway(t, "LLM_SERVICE_URL="+url)
	a := startGateway(t, "LLM_SERVICE_URL=http://"+b.Addr, "CACHE_ENABLED=true")
	back.Store(a)
	for i, method := range []string{"GET", "POST"} {
		begun := time.Now()
		wantLoop(t, method, a.Do(method+" /v1/x HTTP/1.1\r\nHost: a\r\n\r\n"), begun)
		if n := requests(); n > i+1 {
			t.Errorf("%s: %d came back", method, n-i)
		}
	}
	// What another gateway has sent is no loop.
	if m := b.Do("GET /livez HTTP/1.1\r\nHost: a\r\nVia: 1.1 " + a.Parts().Via + "\r\n\r\n"); m.Status() != 200 {
		t.Errorf("by way of another gateway: %q", m.First)
	}
}

// Probes that come back are noticed, and shown.
func TestLoopShownByHealth(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := startGatewayFile(t, "", []string{"LLM_SERVICE_URL=http://" + ln.Addr().String()}...)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				to, err := net.Dial("tcp", g.Addr)
				if err != nil {
					return
				}
				defer to.Close()
				go func() { _, _ = io.Copy(to, conn); _ = to.(*net.TCPConn).CloseWrite() }()
				_, _ = io.Copy(conn, to)
			}()
		}
	}()
	t.Cleanup(func() { _ = ln.Close() })
	testkit.Eventually(t, "/healthz tells of the loop", func() bool {
		return strings.Contains(g.Do("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").Body, `"reason":"probe: loop_detected"`)
	})
	// Requests are answered by what they meet, not by a closed door.
	for range 10 {
		wantLoop(t, "behind the probe", g.Do("POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"), time.Now())
	}
}
