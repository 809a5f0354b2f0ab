//go:build integration

package integration

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// startShort starts a gateway with so few descriptors.
func startShort(t *testing.T, descriptors int, o options) *gateway {
	t.Helper()
	o.args = append([]string{"-c", fmt.Sprintf(`ulimit -n %d; exec "$0" "$@"`, descriptors), binary}, o.args...)
	o.path = "/bin/sh"
	return startGateway(t, o)
}

// crowd opens connections to the gateway that say what they are told, and keeps them until the test ends.
func (g *gateway) crowd(t *testing.T, n int, says string) (all []net.Conn) {
	t.Helper()
	for range n {
		conn, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_, _ = io.WriteString(conn, says)
		all = append(all, conn)
	}
	return all
}

// A client with more connections than the gateway has descriptors keeps nobody out: those that have been idle for longest make
// room, for clients and for connections to upstreams.
func TestIdleConnectionsMakeRoom(t *testing.T) {
	b := node.shared(t)
	for name, says := range map[string]string{
		"silent":      "",
		"kept alive":  "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n",
		"half a head": "GET /livez HTTP/1.1\r\nHost: a\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := startShort(t, 256, options{env: []string{b.setting()}})
			g.awaitReady(t)
			g.crowd(t, 600, says)
			begun := time.Now()
			var all sync.WaitGroup
			for i := range 40 { // each on a connection of its own, and so is its way to the upstream
				all.Go(func() {
					prompt := fmt.Sprint("room ", i)
					a, err := do(request{url: g.url + "/infer/node", body: promptBody(prompt)})
					if err == nil {
						err = a.echo(prompt, node.model)
					}
					if err != nil {
						t.Errorf("number %d: %v", i, err)
					}
				})
			}
			all.Wait()
			if took := time.Since(begun); took > 15*time.Second {
				t.Errorf("that took %v", took)
			}
			if said, _ := g.all.read(); !strings.Contains(said, "to make room") {
				t.Error("the log has no line about it")
			}
		})
	}
}

// Streams that are being read are nobody's room.
func TestStreamsDoNotMakeRoom(t *testing.T) {
	b := node.shared(t)
	g := startShort(t, 256, options{env: []string{strings.Replace(b.setting(), "NODE_SERVICE_URL", "LLM_SERVICE_URL", 1)}})
	eventually(t, patience, "streams can be had", func() bool {
		a, err := do(request{url: g.url + "/v1/chat/completions", body: chatBody(node.model, "ready")})
		return err == nil && a.status == 200
	})
	words := strings.TrimSpace(strings.Repeat("word ", 40))
	var streams []*stream
	for range 5 {
		streams = append(streams, openStream(t, request{url: g.url + "/v1/chat/completions", body: chatBody(node.model, words)}))
	}
	for range 3 {
		g.crowd(t, 200, "")
	}
	for _, s := range streams {
		if events, err := s.rest(); err != nil && !errors.Is(err, io.EOF) || len(events) == 0 {
			t.Errorf("a stream ended after %d events: %v", len(events), err)
		}
	}
}
