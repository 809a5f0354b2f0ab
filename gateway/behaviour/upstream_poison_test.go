package behaviour

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"aigateway/gateway/testkit"
)

// What an upstream says at the wrong time reaches nobody: a client gets its own answer, or a fault.
func TestStrayBytesReachNobody(t *testing.T) {
	const stray = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nX-Stray: 1\r\n\r\nFOREIGN"
	cases := []struct {
		name, method string
		now          string // sent as the answer
		later        string // sent when the client has its answer
		closes       bool   // the upstream closes then
		status       int    // what the client gets; 0: 502
	}{
		{"second answer in the packet", "", testkit.Answer("odd") + stray, "", false, 200},
		{"second answer later", "", testkit.Answer("odd"), stray, false, 200},
		{"second answer later, closed", "", testkit.Answer("odd"), stray, true, 200},
		{"half an answer later", "", testkit.Answer("odd"), stray[:20], false, 200},
		{"bytes in the packet", "", testkit.Answer("odd") + "FOREIGN", "", false, 200},
		{"one byte later", "", testkit.Answer("odd"), "F", false, 200},
		{"CRLF later", "", testkit.Answer("odd"), "\r\n", false, 200},
		{"408 later, closed", "", testkit.Answer("odd"), "HTTP/1.1 408 Request Timeout\r\nContent-Length: 7\r\nConnection: close\r\n\r\nFOREIGN", true, 200},
		{"101 later", "", testkit.Answer("odd"), "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n" + stray, false, 200},
		{"behind chunks", "", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nodd\r\n0\r\n\r\n" + stray, "", false, 200},
		{"behind chunks later", "", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nodd\r\n0\r\n\r\n", stray, false, 200},
		{"behind a length of 0", "", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" + stray, "", false, 200},
		{"behind events with a length", "", "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 3\r\n\r\nodd" + stray, "", false, 200},
		{"behind a large body", "", "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("o", 100000) + stray, "", false, 200},
		{"behind a large body later", "", "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("o", 100000), stray, false, 200},
		{"behind 204", "", "HTTP/1.1 204 No Content\r\n\r\nFOREIGN", "", false, 204},
		{"behind 204 with a length", "", "HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\nFOREIGN", "", false, 204},
		{"behind 204 later", "", "HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n", "FOREIGN", false, 204},
		{"answer behind 204 later", "", "HTTP/1.1 204 No Content\r\n\r\n", stray, false, 204},
		{"behind 304", "", "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\nFOREIGN", "", false, 304},
		{"behind 304 later", "", "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", "FOREIGN", false, 304},
		{"behind 304 in chunks", "", "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", "7\r\nFOREIGN\r\n0\r\n\r\n", false, 304},
		{"behind HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nFOREIGN", "", false, 200},
		{"behind HEAD later", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", "FOREIGN", false, 200},
		{"answer behind HEAD later", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", stray, false, 200},
		{"behind HEAD in chunks", "HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nFOREIGN\r\n0\r\n\r\n", "", false, 200},
		{"unsolicited 101", "", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", "", false, 0},
		{"unsolicited 101, answer in the packet", "", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n" + stray, "", false, 0},
		{"unsolicited 101, answer later", "", "HTTP/1.1 101 Switching Protocols\r\n\r\n", stray, false, 0},
		{"1xx without end", "", strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 1000), "", false, 0},
		{"100 without end", "", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 1000) + stray, "", false, 0},
		{"103 with a body", "", "HTTP/1.1 103 Early Hints\r\nContent-Length: 7\r\n\r\nFOREIGN" + testkit.Answer("odd"), "", false, 0},
		{"103, then 200", "", "HTTP/1.1 103 Early Hints\r\nLink: <FOREIGN>\r\n\r\n" + testkit.Answer("odd"), "", false, 200},
		{"102, 103, then 200 and more", "", "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + testkit.Answer("odd"), stray, false, 200},
		{"103, then 200 in chunks", "", "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nodd\r\n0\r\n\r\n", stray, false, 200},
	}
	for _, f := range cases {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			testkit.EachWay(t, func(t *testing.T, method string, second bool) {
				if f.method != "" {
					method = f.method
				}
				got, said := make(chan struct{}), make(chan struct{})
				up, seen := testkit.StartOdd(t, func(c *testkit.Peer, _ testkit.Message) bool {
					c.Send("%s", f.now)
					<-got
					if f.later != "" {
						c.Send("%s", f.later)
					}
					if f.closes {
						c.Close()
					}
					close(said)
					return !f.closes
				})
				g := startGateway(t, "PY_SERVICE_URL="+up.URL)
				c := g.client(second)
				c.Send("%s", testkit.Ask(method, "odd"))
				r := c.ReadResponse(method == "HEAD")
				close(got)
				<-said
				if f.status == 0 {
					testkit.WantFault(t, r, 502, "bad_upstream_response", false)
				} else if r.Err != nil || r.Status() != f.status {
					t.Errorf("got %q, %v", r.First, r.Err)
				}
				if strings.Contains(r.First+r.Head+r.Body, "FOREIGN") {
					t.Errorf("got foreign bytes:\n%s\n%s%s", r.First, r.Head, r.Body)
				}
				// The same client, then many others, one after the other and at once.
				for i := range 3 {
					c = wantOwn(t, g, c, method, fmt.Sprint("own-", i))
				}
				for i := range 5 {
					wantOwn(t, g, g.Dial(), method, fmt.Sprint("one-", i))
				}
				var wg sync.WaitGroup
				for i := range 20 {
					c := g.Dial()
					wg.Add(1)
					go func() {
						defer wg.Done()
						wantOwn(t, g, c, method, fmt.Sprint("many-", i))
					}()
				}
				wg.Wait()
				if n := seen.Of("odd"); n != 1 {
					t.Errorf("the odd request was sent %d times", n)
				}
			})
		})
	}
}

// wantOwn asks on the connection and checks that the answer is the request's. It returns the connection for
// the next request, a new one if that has been announced to close.
func wantOwn(t *testing.T, g *testGateway, c *testkit.Peer, method, name string) *testkit.Peer {
	t.Helper()
	c.Send("%s", testkit.Ask(method, name))
	r := c.ReadResponse(method == "HEAD")
	if r.Err != nil || r.Status() != 200 || method != "HEAD" && r.Body != name || r.Field("X-Stray") != "" ||
		method == "HEAD" && r.Field("Content-Length") != fmt.Sprint(len(name)) {
		t.Errorf("%s got %q, body %q, %v", name, r.First, r.Body, r.Err)
		c.Close()
		return g.Dial()
	}
	return c
}

// An upstream that sends two answers to each request, for as long as it is asked: each client still gets its
// own. The second comes as soon as it can, so that it races with the next request.
func TestTwoAnswersToEachRequest(t *testing.T) {
	t.Parallel()
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for {
			r := c.ReadRequest()
			if r.Err != nil {
				return
			}
			c.Send("%s%s", testkit.Answer(r.Name()), testkit.Answer("FOREIGN"))
		}
	})
	g := startGateway(t, "PY_SERVICE_URL="+up.URL)
	inParallel(16, func(i int) {
		c := g.Dial()
		defer c.Close()
		for j := range 30 {
			method := "GET"
			if j%2 == 1 {
				method = "POST"
			}
			name := fmt.Sprintf("c%d-%d", i, j)
			c.Send("%s", testkit.Ask(method, name))
			if r := c.ReadResponse(); r.Err != nil || r.Body != name {
				t.Errorf("%s got %q, body %q, %v", name, r.First, r.Body, r.Err)
				return
			}
		}
	})
}
