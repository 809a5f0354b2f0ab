package behaviour

import (
	"fmt"
	"strings"
	"testing"

	"aigateway/gateway/testkit"
)

// What goes through as it came, and what is the gateway's own.
func TestForwardedHead(t *testing.T) {
	t.Parallel()
	seen := make(chan testkit.Message, 1)
	up := testkit.StartUpstream(t, func(n int, c *testkit.Peer) {
		seen <- c.ReadRequest()
		c.Send("%s", "HTTP/1.1 201 Fine by me\r\nX-Odd_name: 1\r\nx-lower: a  b\r\nDate: Mon, 01 Jan 2001 00:00:00 GMT\r\nETag: \"x\"\r\n"+
			"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nConnection: X-Hop\r\nX-Hop: secret\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok")
	})
	g := startGateway(t, "PY_SERVICE_URL="+up.URL, "TRUSTED_PROXIES=none")
	c := g.Dial()
	c.Send("%s", "POST /infer/python?a=%2F..&b=\xc3\xa9 HTTP/1.1\r\nhOsT: client.example:99\r\nx-lower: 1\r\nX-Forwarded-For: 6.6.6.6\r\n"+
		"Connection: keep-alive, X-Private\r\nX-Private: p\r\nTE: trailers\r\nUpgrade: h2c\r\nProxy-Authorization: Basic eA==\r\n"+
		"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: a=b\r\nX-Request-ID: abc\r\n"+
		"Content-Length: 5\r\nAccept: */*\r\n\r\nhello")
	got := c.ReadResponse()
	up1 := <-seen
	want := "POST /infer?a=%2F..&b=\xc3\xa9 HTTP/1.1"
	if up1.First != want {
		t.Errorf("upstream got %q, want %q", up1.First, want)
	}
	wantHead := "Host: " + up.Addr + "\r\nx-lower: 1\r\nAccept: */*\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n" +
		"X-Forwarded-Host: client.example:99\r\nVia: 1.1 " + g.Parts().Via + "\r\nX-Request-ID: abc\r\n" +
		"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: a=b\r\nContent-Length: 5\r\n"
	if up1.Head != wantHead {
		t.Errorf("upstream got fields\n%s\nwant\n%s", up1.Head, wantHead)
	}
	if up1.Body != "hello" {
		t.Errorf("upstream got body %q", up1.Body)
	}
	if got.First != "HTTP/1.1 201 Fine by me" || got.Body != "ok" {
		t.Errorf("client got %q, body %q", got.First, got.Body)
	}
	wantHead = "X-Odd_name: 1\r\nx-lower: a  b\r\nDate: Mon, 01 Jan 2001 00:00:00 GMT\r\nETag: \"x\"\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n" +
		"Via: 1.1 aigateway\r\nX-Request-ID: abc\r\nContent-Length: 2\r\n"
	if got.Head != wantHead {
		t.Errorf("client got fields\n%s\nwant\n%s", got.Head, wantHead)
	}
}

// Bodies of every size pass both ways, unchanged, on one connection.
func TestBodiesPass(t *testing.T) {
	t.Parallel()
	up := testkit.StartUpstream(t, func(n int, c *testkit.Peer) {
		for {
			r := c.ReadRequest()
			if r.Err != nil {
				return
			}
			if strings.Contains(r.First, "chunked") {
				c.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
				for b := r.Body; len(b) > 0; {
					k := min(len(b), 7777)
					c.Send("%x\r\n%s\r\n", k, b[:k])
					b = b[k:]
				}
				c.Send("0\r\n\r\n")
				continue
			}
			c.Send("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(r.Body), r.Body)
		}
	})
	g := startGateway(t, "PY_SERVICE_URL="+up.URL)
	for _, answer := range []string{"length", "chunked"} {
		c := g.Dial()
		for _, n := range []int{0, 1, 100, 16 << 10, 20 << 10, 64<<10 - 1, 64 << 10, 64<<10 + 1, 1 << 20} {
			body := strings.Repeat("0123456789abcdef", n/16+1)[:n]
			go c.Send("POST /infer/python?%s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", answer, n, body)
			if r := c.ReadResponse(); r.Err != nil || r.Body != body {
				t.Fatalf("length %d, answer by %s: status %d, %d bytes, %v", n, answer, r.Status(), len(r.Body), r.Err)
			}
			var b strings.Builder
			for rest := body; len(rest) > 0; {
				k := min(len(rest), 4321)
				fmt.Fprintf(&b, "%X;ext=1\r\n%s\r\n", k, rest[:k])
				rest = rest[k:]
			}
			go c.Send("POST /infer/python?%s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%s0\r\nX-T: 1\r\n\r\n", answer, b.String())
			if r := c.ReadResponse(); r.Err != nil || r.Body != body {
				t.Fatalf("chunks of %d, answer by %s: status %d, %d bytes, %v", n, answer, r.Status(), len(r.Body), r.Err)
			}
		}
	}
}
