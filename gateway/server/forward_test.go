package server

import (
	"fmt"
	"strings"
	"testing"
)

// What goes through as it came, and what is the gateway's own.
func TestForwardedHead(t *testing.T) {
	seen := make(chan message, 1)
	up := startUpstream(t, func(n int, c *peer) {
		seen <- c.readRequest()
		c.send("%s", "HTTP/1.1 201 Fine by me\r\nX-Odd_name: 1\r\nx-lower: a  b\r\nDate: Mon, 01 Jan 2001 00:00:00 GMT\r\nETag: \"x\"\r\n"+
			"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nConnection: X-Hop\r\nX-Hop: secret\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok")
	})
	g := startGateway(t, "PY_SERVICE_URL="+up.URL, "TRUSTED_PROXIES=none")
	c := g.dial()
	c.send("%s", "POST /infer/python?a=%2F..&b=\xc3\xa9 HTTP/1.1\r\nhOsT: client.example:99\r\nx-lower: 1\r\nX-Forwarded-For: 6.6.6.6\r\n"+
		"Connection: keep-alive, X-Private\r\nX-Private: p\r\nTE: trailers\r\nUpgrade: h2c\r\nProxy-Authorization: Basic eA==\r\n"+
		"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: a=b\r\nX-Request-ID: abc\r\n"+
		"Content-Length: 5\r\nAccept: */*\r\n\r\nhello")
	got := c.readResponse()
	up1 := <-seen
	want := "POST /infer?a=%2F..&b=\xc3\xa9 HTTP/1.1"
	if up1.first != want {
		t.Errorf("upstream got %q, want %q", up1.first, want)
	}
	wantHead := "Host: " + up.addr + "\r\nx-lower: 1\r\nAccept: */*\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n" +
		"X-Forwarded-Host: client.example:99\r\nVia: 1.1 " + viaName(g.token) + "\r\nX-Request-ID: abc\r\n" +
		"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: a=b\r\nContent-Length: 5\r\n"
	if up1.head != wantHead {
		t.Errorf("upstream got fields\n%s\nwant\n%s", up1.head, wantHead)
	}
	if up1.body != "hello" {
		t.Errorf("upstream got body %q", up1.body)
	}
	if got.first != "HTTP/1.1 201 Fine by me" || got.body != "ok" {
		t.Errorf("client got %q, body %q", got.first, got.body)
	}
	wantHead = "X-Odd_name: 1\r\nx-lower: a  b\r\nDate: Mon, 01 Jan 2001 00:00:00 GMT\r\nETag: \"x\"\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n" +
		"Via: 1.1 aigateway\r\nX-Request-ID: abc\r\nContent-Length: 2\r\n"
	if got.head != wantHead {
		t.Errorf("client got fields\n%s\nwant\n%s", got.head, wantHead)
	}
}

// Bodies of every size pass both ways, unchanged, on one connection.
func TestBodiesPass(t *testing.T) {
	up := startUpstream(t, func(n int, c *peer) {
		for {
			r := c.readRequest()
			if r.err != nil {
				return
			}
			if strings.Contains(r.first, "chunked") {
				c.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
				for b := r.body; len(b) > 0; {
					k := min(len(b), 7777)
					c.send("%x\r\n%s\r\n", k, b[:k])
					b = b[k:]
				}
				c.send("0\r\n\r\n")
				continue
			}
			c.send("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(r.body), r.body)
		}
	})
	g := startGateway(t, "PY_SERVICE_URL="+up.URL)
	for _, answer := range []string{"length", "chunked"} {
		c := g.dial()
		for _, n := range []int{0, 1, 100, 16 << 10, 20 << 10, 64<<10 - 1, 64 << 10, 64<<10 + 1, 1 << 20} {
			body := strings.Repeat("0123456789abcdef", n/16+1)[:n]
			go c.send("POST /infer/python?%s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", answer, n, body)
			if r := c.readResponse(); r.err != nil || r.body != body {
				t.Fatalf("length %d, answer by %s: status %d, %d bytes, %v", n, answer, r.status(), len(r.body), r.err)
			}
			var b strings.Builder
			for rest := body; len(rest) > 0; {
				k := min(len(rest), 4321)
				fmt.Fprintf(&b, "%X;ext=1\r\n%s\r\n", k, rest[:k])
				rest = rest[k:]
			}
			go c.send("POST /infer/python?%s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%s0\r\nX-T: 1\r\n\r\n", answer, b.String())
			if r := c.readResponse(); r.err != nil || r.body != body {
				t.Fatalf("chunks of %d, answer by %s: status %d, %d bytes, %v", n, answer, r.status(), len(r.body), r.err)
			}
		}
	}
}
