package server

import (
	"fmt"
	"slices"
	"testing"
)

// A head is a head however it is cut into packets, down to single bytes.
func TestClientSplitHeads(t *testing.T) {
	up := startRecorder(t)
	g := startGateway(t, "PY_SERVICE_URL="+up.URL)
	const request = "GET /infer/python?prompt=x HTTP/1.1\r\nHost: a\r\nX-A: b\r\n\r\n"
	t.Run("bytes", func(t *testing.T) {
		c := g.dial()
		for round := range 3 {
			for i := range len(request) {
				c.send("%s", request[i:i+1])
				spin()
			}
			if m := c.readResponse(); m.status() != 200 {
				t.Fatalf("round %d: %q %v", round, m.first, m.err)
			}
		}
	})
	t.Run("three pieces", func(t *testing.T) {
		c := g.dial()
		n := len(request)
		for i := n - 8; i < n; i++ {
			for j := i + 1; j < n; j++ {
				c.send("%s", request[:i])
				spin()
				c.send("%s", request[i:j])
				spin()
				c.send("%s", request[j:])
				if m := c.readResponse(); m.status() != 200 {
					t.Fatalf("cut at %d and %d of %d: %q %v", i, j, n, m.first, m.err)
				}
			}
		}
	})
}

// Two requests on one connection, cut at every place: the upstream sees exactly these two, and the answers
// come in order.
func TestClientSplitPipelines(t *testing.T) {
	up := startRecorder(t)
	g := startGateway(t, "PY_SERVICE_URL="+up.URL)
	pairs := []struct {
		name   string
		bytes  string
		bodies [2]string
	}{
		{"GET GET", "GET /infer/python?1 HTTP/1.1\r\nHost: a\r\n\r\nGET /infer/python?2 HTTP/1.1\r\nHost: a\r\n\r\n", [2]string{}},
		{"POST GET", "POST /infer/python?1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /infer/python?2 HTTP/1.1\r\nHost: a\r\n\r\n", [2]string{"abc"}},
		{"chunked POST", "POST /infer/python?1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\nT: 1\r\n\r\n" +
			"POST /infer/python?2 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nde", [2]string{"abc", "de"}},
		{"POST chunked, empty lines", "\r\nPOST /infer/python?1 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n\r\n\r\n\r\n" +
			"POST /infer/python?2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n0\r\n\r\r\n0\r\n\r\n", [2]string{"\r\n\r\n", "0\r\n\r"}},
	}
	for _, p := range pairs {
		t.Run(p.name, func(t *testing.T) {
			check := func(what string, c *peer) {
				t.Helper()
				for n := 1; n <= 2; n++ {
					m := c.readResponse()
					if m.status() != 200 || m.body[len(m.body)-10:] != fmt.Sprintf("%d HTTP/1.1", n) {
						t.Fatalf("%s: answer %d is %q, body %q, %v", what, n, m.first, m.body, m.err)
					}
				}
				seen := up.whole()
				if len(seen) != 2 || seen[0].body != p.bodies[0] || seen[1].body != p.bodies[1] || len(up.broken()) > 0 {
					t.Fatalf("%s: the upstream saw %q, broken %q", what, firsts(seen), firsts(up.broken()))
				}
				if !slices.Equal([]string{seen[0].first[len(seen[0].first)-10:], seen[1].first[len(seen[1].first)-10:]}, []string{"1 HTTP/1.1", "2 HTTP/1.1"}) {
					t.Fatalf("%s: the upstream saw %q", what, firsts(seen))
				}
				up.reset()
			}
			c := g.dial()
			c.send("%s", p.bytes)
			check("in one packet", c)
			for i := 1; i < len(p.bytes); i++ {
				c.send("%s", p.bytes[:i])
				spin()
				c.send("%s", p.bytes[i:])
				check(fmt.Sprintf("cut at %d", i), c)
			}
			c = g.dial()
			for i := range len(p.bytes) {
				c.send("%s", p.bytes[i:i+1])
				spin()
			}
			check("byte by byte", c)
		})
	}
}
