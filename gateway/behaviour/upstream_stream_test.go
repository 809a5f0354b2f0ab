package behaviour

import (
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"aigateway/gateway/testkit"
)

// Answers that go through as they arrive, and what of them is the upstream's to the byte.

// The head arrives before the first event, and each event before the next is made: the upstream waits until
// the client has seen the one before.
func TestEachEventAtOnce(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]struct {
		head   string
		framed func(event string) string
		end    string
	}{
		"chunks": {"Transfer-Encoding: chunked\r\n", func(e string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(e), e) }, "0\r\n\r\n"},
		"length": {"Content-Length: 80\r\n", func(e string) string { return e }, ""},
		"close":  {"Connection: close\r\n", func(e string) string { return e }, ""},
		"split chunks": {"Transfer-Encoding: chunked\r\n", func(e string) string {
			var b strings.Builder
			for _, c := range e {
				fmt.Fprintf(&b, "1;x=y\r\n%c\r\n", c)
			}
			return b.String()
		}, "0\r\nX-Trailer: 1\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			testkit.EachWay(t, func(t *testing.T, method string, second bool) {
				for _, minor := range []int{1, 0} {
					next := make(chan struct{})
					up, _ := testkit.StartOdd(t, func(c *testkit.Peer, _ testkit.Message) bool {
						c.Send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n%s\r\n", f.head)
						for i := range 8 {
							<-next
							c.Send("%s", f.framed(fmt.Sprintf("data: %d\n\n", 10+i)))
						}
						<-next
						c.Send("%s", f.end)
						return f.head[0] != 'C' || f.end != ""
					})
					g := startGateway(t, "PY_SERVICE_URL="+up.URL)
					c := g.client(second)
					c.Send("%s", strings.Replace(testkit.Ask(method, "odd"), "HTTP/1.1", fmt.Sprintf("HTTP/1.%d", minor), 1))
					h := c.ReadHead()
					if h.Err != nil || h.Status() != 200 || h.Field("Content-Type") != "text/event-stream; charset=utf-8" {
						t.Fatalf("got %q, %v\n%s", h.First, h.Err, h.Head)
					}
					chunked := h.Field("Transfer-Encoding") == "chunked"
					if chunked != (minor == 1 && name != "length") {
						t.Errorf("HTTP/1.%d got\n%s", minor, h.Head)
					}
					for i := range 8 {
						next <- struct{}{}
						want, got := fmt.Sprintf("data: %d\n\n", 10+i), ""
						for len(got) < len(want) {
							var s string
							var err error
							if chunked {
								s, err = c.ReadChunk()
							} else {
								b := make([]byte, len(want)-len(got))
								var n int
								n, err = c.R.Read(b)
								s = string(b[:n])
							}
							if got += s; err != nil {
								t.Fatalf("event %d: got %q, %v", i, got, err)
							}
						}
						if got != want {
							t.Fatalf("event %d: got %q, want %q", i, got, want)
						}
					}
					close(next)
					switch {
					case chunked:
						if s, err := c.ReadChunk(); s != "" || err != nil {
							t.Errorf("at the end got %q, %v", s, err)
						}
						wantOwn(t, g, c, method, "next")
					case name != "length":
						if s, err := c.Rest(); s != "" || err != nil {
							t.Errorf("at the end got %q, %v", s, err)
						}
					}
				}
			})
		})
	}
}

// Many events in one packet are all there, in order, whatever their chunks.
func TestManyEventsInOnePacket(t *testing.T) {
	var plain, chunks strings.Builder
	for i := range 3000 {
		e := fmt.Sprintf("data: {\"n\":%d}\n\n", i)
		plain.WriteString(e)
		fmt.Fprintf(&chunks, "%x\r\n%s\r\n", len(e), e)
	}
	testkit.EachWay(t, func(t *testing.T, method string, second bool) {
		up, _ := testkit.StartOdd(t, func(c *testkit.Peer, _ testkit.Message) bool {
			c.Send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n%s0\r\n\r\n", chunks.String())
			return true
		})
		g := startGateway(t, "PY_SERVICE_URL="+up.URL)
		c := g.client(second)
		for range 3 {
			c.Send("%s", testkit.Ask(method, "odd"))
			if r := c.ReadResponse(); r.Err != nil || r.Body != plain.String() {
				t.Errorf("got %q, %d bytes, %v", r.First, len(r.Body), r.Err)
			}
		}
		wantOwn(t, g, c, method, "next")
		if n := up.Connections(); n != 1 {
			t.Errorf("%d connections to the upstream, want one", n)
		}
	})
}

// Large bodies pass unchanged in every framing, and their connections are used again where they can be.
func TestLargeBodies(t *testing.T) {
	for _, size := range []int{64<<10 - 1, 64 << 10, 64<<10 + 1, 3 << 20} {
		body := strings.Repeat("0123456789abcdef", size/16+1)[:size]
		for name, f := range map[string]struct {
			bytes string
			conns int
		}{
			"length":   {fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", size, body), 1},
			"chunk":    {fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", size, body), 1},
			"close":    {"HTTP/1.1 200 OK\r\n\r\n" + body, 2},
			"HTTP/1.0": {"HTTP/1.0 200 OK\r\n\r\n" + body, 2},
		} {
			t.Run(fmt.Sprintf("%s %d", name, size), func(t *testing.T) {
				t.Parallel()
				testkit.EachWay(t, func(t *testing.T, method string, second bool) {
					up, _ := testkit.StartOdd(t, func(c *testkit.Peer, _ testkit.Message) bool {
						c.Send("%s", f.bytes)
						return f.conns == 1
					})
					g := startGateway(t, "PY_SERVICE_URL="+up.URL)
					begun := time.Now()
					c := g.client(second)
					c.Send("%s", testkit.Ask(method, "odd"))
					r := c.ReadResponse()
					if r.Err != nil || r.First != "HTTP/1.1 200 OK" || r.Body != body {
						t.Errorf("got %q, %d bytes, %v", r.First, len(r.Body), r.Err)
					}
					wantOwn(t, g, c, method, "next")
					if n := up.Connections(); n != f.conns && time.Since(begun) < 4*time.Second { // for so long an idle one is kept
						t.Errorf("%d connections to the upstream, want %d", n, f.conns)
					}
				})
			})
		}
	}
}

// A client that does not read stops its upstream: what is on its way is what the kernel holds.
func TestBackPressure(t *testing.T) {
	t.Parallel()
	const size = 256 << 20
	for _, head := range []string{
		fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size),
		fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n", size),
		"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n",
	} {
		var sent atomic.Int64
		ended := make(chan struct{})
		up, _ := testkit.StartOdd(t, func(c *testkit.Peer, _ testkit.Message) bool {
			defer close(ended)
			c.Send("%s", head)
			piece := make([]byte, 64<<10)
			for sent.Load() < size {
				n, err := c.Write(piece)
				sent.Add(int64(n))
				if err != nil {
					return false
				}
			}
			return false
		})
		g := startGateway(t, "PY_SERVICE_URL="+up.URL)
		c := g.Dial()
		c.Send("%s", testkit.Ask("GET", "odd"))
		if r := c.ReadHead(); r.Status() != 200 {
			t.Fatalf("got %q, %v", r.First, r.Err)
		}
		for last := int64(-1); sent.Load() != last; time.Sleep(300 * time.Millisecond) {
			last = sent.Load()
		}
		if n := sent.Load(); n > 64<<20 {
			t.Errorf("the upstream could send %d bytes to a client that reads none", n)
		}
		// It reads on: all goes on.
		before := sent.Load()
		if _, err := io.CopyN(io.Discard, c.R, before+1<<20); err != nil {
			t.Errorf("cannot read on: %v", err)
		}
		testkit.Eventually(t, "the upstream sends on", func() bool { return sent.Load() > before })
		begun := time.Now()
		c.Close()
		<-ended
		testkit.WantQuick(t, "letting the upstream go", begun, time.Second)
	}
}

// Heads of answers without a body, for each method and with each way to say how long it would be.
func TestAnswersWithoutBody(t *testing.T) {
	for _, f := range []struct{ method, sent, want string }{
		{"HEAD", "200 OK\r\nContent-Length: 12345", "Content-Length: 12345\r\n"},
		{"HEAD", "200 OK\r\nContent-Length: 1000000000000", "Content-Length: 1000000000000\r\n"},
		{"HEAD", "200 OK\r\nContent-Length: 0", "Content-Length: 0\r\n"},
		{"HEAD", "200 OK", ""},
		{"HEAD", "200 OK\r\nTransfer-Encoding: chunked", "?"},
		{"HEAD", "200 OK\r\nContent-Type: text/event-stream", "Content-Type: text/event-stream\r\n"},
		{"HEAD", "404 Not Found\r\nContent-Length: 9", "Content-Length: 9\r\n"},
		{"", "204 No Content", ""},
		{"", "204 No Content\r\nContent-Length: 0", ""},
		{"", "304 Not Modified", ""},
		{"", "304 Not Modified\r\nContent-Length: 12345", "Content-Length: 12345\r\n"},
		{"", "304 Not Modified\r\nETag: \"x\"", "ETag: \"x\"\r\n"},
		{"", "200 OK\r\nContent-Length: 0", "Content-Length: 0\r\n"},
		{"", "200 OK\r\nContent-Length: 0\r\nContent-Type: text/event-stream", "Content-Type: text/event-stream\r\nContent-Length: 0\r\n"},
		{"", "404 Not Found\r\nContent-Length: 0", "Content-Length: 0\r\n"},
	} {
		t.Run(strings.ReplaceAll(strings.TrimSpace(f.method+" "+f.sent), "\r\n", ", "), func(t *testing.T) {
			t.Parallel()
			testkit.EachWay(t, func(t *testing.T, method string, second bool) {
				if f.method != "" {
					method = f.method
				}
				up, _ := testkit.StartOdd(t, func(c *testkit.Peer, _ testkit.Message) bool {
					c.Send("HTTP/1.1 %s\r\nDate: x\r\n\r\n", f.sent)
					return true
				})
				g := startGateway(t, "PY_SERVICE_URL="+up.URL)
				c := g.client(second)
				c.Send("%s", strings.Replace(testkit.Ask(method, "odd"), "\r\n", "\r\nX-Request-ID: i\r\n", 1))
				r := c.ReadResponse(method == "HEAD")
				var head []string
				for _, line := range strings.SplitAfter(r.Head, "\r\n") {
					if !strings.HasPrefix(line, "Date:") && !strings.HasPrefix(line, "Via:") && !strings.HasPrefix(line, "X-Request-ID:") {
						head = append(head, line)
					}
				}
				got := strings.Join(head, "")
				if f.want == "?" { // both are right for a HEAD: RFC 9112 §6.1
					got = f.want
				}
				if r.Err != nil || !strings.HasPrefix(r.First, "HTTP/1.1 "+f.sent[:3]) || r.Body != "" || got != f.want {
					t.Errorf("got %q, %v\n%s, want\n%s", r.First, r.Err, got, f.want)
				}
				wantOwn(t, g, c, method, "next")
			})
		})
	}
}

// The fields of an answer: the upstream's to the byte and in their order, without what is hop-by-hop, and
// one Date.
func TestFieldsOfAnAnswer(t *testing.T) {
	for name, f := range map[string]struct{ sent, want string }{
		"names and order": {"x-lower: 1\r\nX-UPPER: 2\r\nSet-Cookie: a=1; Path=/\r\nset-cookie: b=2\r\nSet-Cookie:c=3\r\nserver: uvicorn\r\ncontent-type: text/plain\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\ncontent-encoding: br\r\nServer: twice\r\ndate: Mon, 01 Jan 2001 00:00:00 GMT\r\n",
			"x-lower: 1\r\nX-UPPER: 2\r\nSet-Cookie: a=1; Path=/\r\nset-cookie: b=2\r\nSet-Cookie:c=3\r\nserver: uvicorn\r\ncontent-type: text/plain\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\ncontent-encoding: br\r\nServer: twice\r\ndate: Mon, 01 Jan 2001 00:00:00 GMT\r\n"},
		"spaces in values": {"X-A:  two  spaces  \r\nX-B:\t\ttabs\t\r\nX-Empty:\r\nX-C: \xff\xfe\r\nDate: not a date\r\n",
			"X-A:  two  spaces  \r\nX-B:\t\ttabs\t\r\nX-Empty:\r\nX-C: \xff\xfe\r\nDate: not a date\r\n"},
		"hop-by-hop": {"Connection: keep-alive, X-One ,, x-two\r\nconnection: X-Three\r\nX-One: 1\r\nX-TWO: 2\r\nX-Three: 3\r\nx-three: 4\r\nX-Four: 5\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\nTE: x\r\nTrailer: X-T\r\nDate: x\r\n",
			"X-Four: 5\r\nDate: x\r\n"},
		"nominated framing": {"Connection: Content-Length, Transfer-Encoding, Host\r\nDate: x\r\n", "Date: x\r\n"},
		"no Date":           {"X-A: 1\r\n", "X-A: 1\r\n+Date"},
		"nominated Date":    {"X-A: 1\r\nConnection: date\r\nDate: x\r\n", "X-A: 1\r\n+Date"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for framing, body := range map[string]string{
				"Content-Length: 2\r\n":          "ok",
				"Transfer-Encoding: chunked\r\n": "2\r\nok\r\n0\r\n\r\n",
			} {
				testkit.EachWay(t, func(t *testing.T, method string, second bool) {
					up, _ := testkit.StartOdd(t, func(c *testkit.Peer, _ testkit.Message) bool {
						c.Send("%s", "HTTP/1.1 200 OK\r\n"+framing+f.sent+"\r\n"+body)
						return true
					})
					g := startGateway(t, "PY_SERVICE_URL="+up.URL)
					c := g.client(second)
					c.Send("%s", strings.Replace(testkit.Ask(method, "odd"), "\r\n", "\r\nX-Request-ID: i\r\n", 1))
					r := c.ReadResponse()
					want, added := strings.CutSuffix(f.want, "+Date")
					got, own, _ := strings.Cut(r.Head, "Via: ")
					if added {
						var date string
						got, date, _ = strings.Cut(got, "Date: ")
						if when, err := time.Parse("Mon, 02 Jan 2006 15:04:05 GMT\r\n", date); err != nil || time.Since(when).Abs() > time.Minute {
							t.Errorf("a Date is missing or wrong: %q", date)
						}
					}
					if r.Err != nil || r.Body != "ok" || got != want {
						t.Errorf("got body %q, %v and\n%s, want\n%s", r.Body, r.Err, got, want)
					}
					if own = "Via: " + own; own != "Via: 1.1 aigateway\r\nX-Request-ID: i\r\n"+framing {
						t.Errorf("the gateway's own fields are\n%s", own)
					}
				})
			}
		})
	}
}
