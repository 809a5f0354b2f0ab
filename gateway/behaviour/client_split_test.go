package behaviour

import (
	"fmt"
	"slices"
	"testing"

	"aigateway/gateway/testkit"
)

// A head is a head however it is cut into packets, down to single bytes.
func TestClientSplitHeads(t *testing.T) {
	t.Parallel()
	up := testkit.StartRecorder(t)
	g := startGateway(t, "PY_SERVICE_URL="+up.URL)
	const request = "GET /infer/python?prompt=x HTTP/1.1\r\nHost: a\r\nX-A: b\r\n\r\n"
	t.Run("bytes", func(t *testing.T) {
		c := g.Dial()
		for round := range 3 {
			for i := range len(request) {
				c.Send("%s", request[i:i+1])
				testkit.Spin()
			}
			if m := c.ReadResponse(); m.Status() != 200 {
				t.Fatalf("round %d: %q %v", round, m.First, m.Err)
			}
		}
	})
	t.Run("three pieces", func(t *testing.T) {
		c := g.Dial()
		n := len(request)
		for i := n - 8; i < n; i++ {
			for j := i + 1; j < n; j++ {
				c.Send("%s", request[:i])
				testkit.Spin()
				c.Send("%s", request[i:j])
				testkit.Spin()
				c.Send("%s", request[j:])
				if m := c.ReadResponse(); m.Status() != 200 {
					t.Fatalf("cut at %d and %d of %d: %q %v", i, j, n, m.First, m.Err)
				}
			}
		}
	})
}

// Two requests on one connection, cut at every place: the upstream sees exactly these two, and the answers
// come in order.
func TestClientSplitPipelines(t *testing.T) {
	t.Parallel()
	up := testkit.StartRecorder(t)
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
			check := func(what string, c *testkit.Peer) {
				t.Helper()
				for n := 1; n <= 2; n++ {
					m := c.ReadResponse()
					if m.Status() != 200 || m.Body[len(m.Body)-10:] != fmt.Sprintf("%d HTTP/1.1", n) {
						t.Fatalf("%s: answer %d is %q, body %q, %v", what, n, m.First, m.Body, m.Err)
					}
				}
				seen := up.Whole()
				if len(seen) != 2 || seen[0].Body != p.bodies[0] || seen[1].Body != p.bodies[1] || len(up.Broken()) > 0 {
					t.Fatalf("%s: the upstream saw %q, broken %q", what, testkit.Firsts(seen), testkit.Firsts(up.Broken()))
				}
				if !slices.Equal([]string{seen[0].First[len(seen[0].First)-10:], seen[1].First[len(seen[1].First)-10:]}, []string{"1 HTTP/1.1", "2 HTTP/1.1"}) {
					t.Fatalf("%s: the upstream saw %q", what, testkit.Firsts(seen))
				}
				up.Reset()
			}
			c := g.Dial()
			c.Send("%s", p.bytes)
			check("in one packet", c)
			for i := 1; i < len(p.bytes); i++ {
				c.Send("%s", p.bytes[:i])
				testkit.Spin()
				c.Send("%s", p.bytes[i:])
				check(fmt.Sprintf("cut at %d", i), c)
			}
			c = g.Dial()
			for i := range len(p.bytes) {
				c.Send("%s", p.bytes[i:i+1])
				testkit.Spin()
			}
			check("byte by byte", c)
		})
	}
}
