//go:build integration

package integration

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// A client that leaves ends its work at the backend within a second: no token is made for nobody.
func TestClientLeaves(t *testing.T) {
	t.Parallel()
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			// Longer than the second that the contract gives, so that neither an answer nor the next token shows the backend
			// that nobody is there.
			b := k.start(t, 0, "INFER_LATENCY_MS=3000", "TOKEN_LATENCY_MS=20000")
			g := inFrontOf(t, []*backend{b}, "LLM_SERVICE_URL="+b.url)
			leaveWhileWaiting(t, g, b)
			leaveInStream(t, g, b)
			leaveTogether(t, g, b)
			a := ask(t, request{url: b.route(g), body: promptBody("the next")})
			if err := a.echo("the next", b.model); err != nil {
				t.Error(err)
			}
			if s := b.stats(t); s.Executions-s.Cancelled != 1 {
				t.Errorf("%d executions, %d of them cancelled; want all but one", s.Executions, s.Cancelled)
			}
		})
	}
}

// cancelledSince waits the second until so many more clients have been noticed.
func (b *backend) cancelledSince(t *testing.T, before stats, more int) {
	t.Helper()
	eventually(t, time.Second, fmt.Sprintf("%d clients that left are counted", more),
		func() bool { return b.stats(t).Cancelled-before.Cancelled == more })
}

func (b *backend) executedSince(t *testing.T, before stats, more int) {
	t.Helper()
	eventually(t, patience, fmt.Sprintf("%d requests have begun", more),
		func() bool { return b.stats(t).Executions-before.Executions == more })
}

func leaveWhileWaiting(t *testing.T, g *gateway, b *backend) {
	t.Helper()
	for name, leave := range map[string]func(*net.TCPConn){
		"closes": func(c *net.TCPConn) { _ = c.Close() },
		"resets": func(c *net.TCPConn) { _ = c.SetLinger(0); _ = c.Close() },
		"pipelines a request and closes": func(c *net.TCPConn) {
			_, _ = c.Write([]byte("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"))
			_ = c.Close()
		},
	} {
		before := b.stats(t)
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", g.port))
		if err != nil {
			t.Fatal(err)
		}
		body := promptBody("nobody waits for this")
		_, err = fmt.Fprintf(conn, "POST /infer/%s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", b.name, len(body), body)
		if err != nil {
			t.Fatal(err)
		}
		b.executedSince(t, before, 1)
		t.Logf("a client waits and %s", name)
		leave(conn.(*net.TCPConn))
		b.cancelledSince(t, before, 1)
	}
}

// The stream's first event comes 20 s before its second: a gateway that waits for more before it passes it on fails here.
func leaveInStream(t *testing.T, g *gateway, b *backend) {
	t.Helper()
	before := b.stats(t)
	s := openStream(t, request{url: g.url + "/v1/chat/completions", body: chatBody(b.model, "never heard")})
	first, err := s.next()
	if err != nil || !strings.Contains(first.text, `"role":"assistant"`) {
		t.Fatalf("%q, %v", first.text, err)
	}
	t.Log("a client reads an event and closes")
	s.leave()
	_ = s.Body.Close()
	b.cancelledSince(t, before, 1)
}

func leaveTogether(t *testing.T, g *gateway, b *backend) {
	t.Helper()
	const clients = 20
	before := b.stats(t)
	ctx, leave := context.WithCancel(context.Background())
	defer leave()
	c := newClient()
	defer c.CloseIdleConnections()
	left := make(chan error, clients)
	for range clients {
		req, err := request{url: b.route(g), body: promptBody("nobody waits for this")}.make(ctx)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			resp, err := c.Do(req)
			if err == nil {
				_ = resp.Body.Close()
			}
			left <- err
		}()
	}
	b.executedSince(t, before, clients)
	t.Logf("%d clients wait and close", clients)
	leave()
	b.cancelledSince(t, before, clients)
	for range clients {
		if err := <-left; err == nil {
			t.Error("a client that left has got an answer")
		}
	}
}
