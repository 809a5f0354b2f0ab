package behaviour

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"aigateway/gateway/server"
	"aigateway/gateway/testkit"
)

// What happens while a long request body is still on its way up.

// unheld makes a gateway pass bodies on as soon as they are longer than what is sent at once.
const unheld = "BODY_BUFFER=65536"

// inParallel runs do n times, eight at once.
func inParallel(n int, do func(i int)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8)
	for i := range n {
		wg.Add(1)
		slots <- struct{}{}
		go func() {
			defer func() { <-slots; wg.Done() }()
			do(i)
		}()
	}
	wg.Wait()
}

// A body that turns out to be malformed or too long is refused at once, however slow the upstream is: the
// news must not get lost between two reads.
func TestUploadFaultIsNoticedAtOnce(t *testing.T) {
	t.Parallel()
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		c.ReadHead()
		c.R.WriteTo(discard{}) // never answers
	})
	g := startGateway(t, "PY_SERVICE_URL="+up.URL, "RESPONSE_TIMEOUT=10s", "IDLE_TIMEOUT=10s", "MAX_BODY_BYTES=100000", unheld)
	first := fmt.Sprintf("%x\r\n%s\r\n", 64<<10, strings.Repeat("x", 64<<10))
	for _, f := range []struct {
		name, rest, code string
		status           int
	}{
		{"malformed", "zz\r\n", "body_malformed", 400},
		{"too long", fmt.Sprintf("%x\r\n%s\r\n", 64<<10, strings.Repeat("x", 64<<10)), "body_too_large", 413},
	} {
		t.Run(f.name, func(t *testing.T) {
			inParallel(200, func(int) {
				c := g.Dial()
				defer c.Close()
				begun := time.Now()
				c.Send("%s", "POST /infer/python HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"+first+f.rest)
				testkit.WantFault(t, c.ReadResponse(), f.status, f.code, false)
				testkit.WantQuick(t, "the refusal", begun, 5*time.Second)
			})
		})
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// An upstream may answer before it has read the body; the client has the answer at once, also if it has sent
// nothing more. Here the upstream answers as soon as somebody connects.
func TestEarlyAnswerDoesNotWaitForTheClient(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Add(1)
			go func() {
				defer wg.Done()
				defer conn.Close()
				p := testkit.NewPeer(t, conn)
				p.Send("HTTP/1.1 413 No\r\nContent-Length: 3\r\n\r\nno!")
				p.R.WriteTo(discard{})
			}()
		}
	}()
	t.Cleanup(wg.Wait)
	t.Cleanup(func() { ln.Close() })
	// The answer is there before the gateway has a connection, so that it is read before anything else is.
	dial := func(addr string) (net.Conn, error) {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			err = awaitBytes(conn)
		}
		return conn, err
	}
	for _, part := range []int{100, 10000} { // behind what is held
		t.Run(fmt.Sprint(part), func(t *testing.T) {
			g := serve(t, testkit.Settings(t, "", []string{"PY_SERVICE_URL=http://" + ln.Addr().String(), "IDLE_TIMEOUT=15s", unheld}), server.Options{Dial: dial})
			inParallel(16, func(int) {
				c := g.Dial()
				defer c.Close()
				begun := time.Now()
				c.Send("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n%s", strings.Repeat("x", 64<<10+part))
				r := c.ReadResponse()
				if r.Status() != 413 || r.Body != "no!" || r.Field("Connection") != "close" {
					t.Errorf("got %q %q, %v", r.First, r.Head, r.Err)
				}
				testkit.WantQuick(t, "the early answer", begun, 5*time.Second)
			})
		})
	}
}

// awaitBytes waits until something can be read from the connection, and leaves it there.
func awaitBytes(conn net.Conn) error {
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	return raw.Read(func(fd uintptr) bool {
		n, _, _ := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return n != -1
	})
}

// The same from an upstream that has read the head, with the client still at it, and with each way for the
// upstream to end.
func TestEarlyAnswerWhileTheClientUploads(t *testing.T) {
	t.Parallel()
	const size = 4 << 20
	for _, status := range []string{"413 Too Much", "200 OK"} {
		for _, end := range []string{"stays", "closes", "closes with its answer"} {
			for _, framing := range []string{"length", "chunked"} {
				t.Run(status[:3]+" "+end+" "+framing, func(t *testing.T) {
					up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
						c.ReadHead()
						extra := ""
						if end == "closes with its answer" {
							extra = "Connection: close\r\n"
						}
						c.Send("HTTP/1.1 %s\r\nContent-Length: 2\r\n%s\r\nhi", status, extra)
						if end == "stays" {
							// Reads nothing until the gateway has gone: a write fails then.
							for {
								if _, err := c.Write([]byte("!")); err != nil {
									return
								}
								time.Sleep(10 * time.Millisecond)
							}
						}
					})
					g := startGateway(t, "PY_SERVICE_URL="+up.URL)
					c := g.Dial()
					go func() {
						if framing == "length" {
							fmt.Fprintf(c.Conn, "POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", size)
							c.Write([]byte(strings.Repeat("x", size)))
							return
						}
						fmt.Fprintf(c.Conn, "POST /infer/python HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
						piece := fmt.Sprintf("%x\r\n%s\r\n", 32<<10, strings.Repeat("x", 32<<10))
						for sent := 0; sent < size; sent += 32 << 10 {
							if _, err := c.Write([]byte(piece)); err != nil {
								return
							}
						}
						c.Write([]byte("0\r\n\r\n"))
					}()
					begun := time.Now()
					r := c.ReadResponse()
					if r.Err != nil || r.Status() != int(status[0]-'0')*100+int(status[1]-'0')*10+int(status[2]-'0') || r.Body != "hi" {
						t.Errorf("got %q, body %q, %v", r.First, r.Body, r.Err)
					}
					if r.Field("Connection") != "close" {
						// Then the gateway has read the whole body, and the connection is good for another request.
						c.Send("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
						if next := c.ReadResponse(); next.Status() != 200 {
							t.Errorf("the connection was said to stay, and did not: %q, %v", next.First, next.Err)
						}
					}
					testkit.WantQuick(t, "the answer", begun, 5*time.Second)
					testkit.Eventually(t, "the gateway is idle", g.idle)
				})
			}
		}
	}
}

// An upstream that closes in the middle of an upload and answers nothing is a 502, and what the gateway says
// of the client's connection is true: it goes on, or it was announced to close.
func TestUpstreamClosesInsideAnUpload(t *testing.T) {
	for _, left := range []int{1000, 50000, 500000} {
		for _, end := range []string{"fin", "rst"} {
			t.Run(fmt.Sprintf("%d left, %s", left, end), func(t *testing.T) {
				const sent = 150000
				up, seen := startOddHead(t, func(c *testkit.Peer, r testkit.Message) {
					c.R.Discard(sent) // all that the client has sent, so that it cannot know better
					if end == "rst" {
						c.Abort()
					}
				})
				g := startGateway(t, "PY_SERVICE_URL="+up.URL, unheld)
				c := g.Dial()
				c.Send("POST /infer/python?odd HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", sent+left, strings.Repeat("x", sent))
				r := c.ReadResponse()
				testkit.WantFault(t, r, 502, "bad_upstream_response", false)
				if seen.Of("odd") != 1 {
					t.Errorf("the upstream got it %d times", seen.Of("odd"))
				}
				if r.Field("Connection") == "close" {
					return
				}
				go c.Send("%s%s", strings.Repeat("x", left), testkit.Ask("GET", "next"))
				if r := c.ReadResponse(); r.Body != "next" {
					t.Errorf("the 502 did not say close, but the next request got %q %q, %v", r.First, r.Body, r.Err)
				}
			})
		}
	}
}

// startOddHead is startOdd for requests whose body the upstream may leave unread: odd gets the head.
func startOddHead(t *testing.T, odd func(c *testkit.Peer, r testkit.Message)) (*testkit.Upstream, *testkit.Tally) {
	t.Helper()
	seen := &testkit.Tally{}
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for {
			r := c.ReadHead()
			if r.Err != nil {
				return
			}
			seen.Add(r.Name())
			if r.Name() == "odd" {
				odd(c, r)
				return
			}
			r = c.ReadBody(r, false)
			c.Send("%s", testkit.Answer(r.Name()))
		}
	})
	return up, seen
}

// An upstream that never reads the body stops the client, and is given up after the idle time.
func TestUpstreamThatNeverReadsTheBody(t *testing.T) {
	t.Parallel()
	for _, framing := range []string{"Content-Length: 1000000000", "Transfer-Encoding: chunked"} {
		t.Run(framing, func(t *testing.T) {
			gone := make(chan struct{})
			up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
				c.ReadHead()
				<-gone
			})
			g := startGateway(t, "PY_SERVICE_URL="+up.URL, "IDLE_TIMEOUT=500ms", "MAX_BODY_BYTES=1000000000")
			c := g.Dial()
			sent := make(chan int, 1)
			go func() {
				fmt.Fprintf(c.Conn, "POST /infer/python HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n", framing)
				piece := strings.Repeat("x", 32<<10)
				if strings.HasPrefix(framing, "T") {
					piece = fmt.Sprintf("%x\r\n%s\r\n", len(piece), piece)
				}
				n := 0
				for {
					k, err := c.Write([]byte(piece))
					n += k
					if err != nil {
						break
					}
				}
				sent <- n
			}()
			r := c.ReadResponse()
			close(gone)
			c.Close()
			testkit.WantFault(t, r, 504, "timeout_idle", false)
			if n := <-sent; n > 40<<20 {
				t.Errorf("the client could send %d bytes to an upstream that reads nothing", n)
			}
		})
	}
}

// The time for the response begins when the request is out: a long upload at the client's pace is not the
// upstream's silence.
func TestResponseTimeBeginsAfterTheUpload(t *testing.T) {
	t.Parallel()
	for _, framing := range []string{"length", "chunked"} {
		t.Run(framing, func(t *testing.T) {
			up, _ := testkit.StartOdd(t, func(c *testkit.Peer, r testkit.Message) bool {
				c.Send("%s", testkit.Answer(fmt.Sprint(len(r.Body))))
				return true
			})
			g := startGateway(t, "PY_SERVICE_URL="+up.URL, "RESPONSE_TIMEOUT=1s", "IDLE_TIMEOUT=5s", unheld)
			const pieces, size = 12, 30000
			slowly := func() testkit.Message {
				c := g.Dial()
				if framing == "length" {
					c.Send("POST /infer/python?odd HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", pieces*size)
				} else {
					c.Send("POST /infer/python?odd HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
				}
				go func() {
					for range pieces {
						time.Sleep(100 * time.Millisecond) // the client's pace is what is tested
						if framing == "length" {
							c.Send("%s", strings.Repeat("x", size))
						} else {
							c.Send("%x\r\n%s\r\n", size, strings.Repeat("x", size))
						}
					}
					if framing == "chunked" {
						c.Send("0\r\n\r\n")
					}
				}()
				return c.ReadResponse()
			}
			r := slowly()
			for chance := 1; r.Status() == 504 && chance < 4; chance++ { // a machine that stands still is silent, too
				r = slowly()
			}
			if r.Status() != 200 || r.Body != fmt.Sprint(pieces*size) {
				t.Errorf("got %q, body %q, %v", r.First, r.Body, r.Err)
			}
		})
	}
}

// An answer without a length that is reset while the request's body still goes up is cut, not ended: the
// pump's write takes the socket's one error, and the read after it sees a plain end.
func TestResetUnderUploadIsNoEnd(t *testing.T) {
	t.Parallel()
	const size = 32 << 20
	for _, minor := range []int{1, 0} {
		t.Run(fmt.Sprintf("HTTP/1.%d", minor), func(t *testing.T) {
			reset := make(chan struct{})
			up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
				if strings.HasPrefix(c.ReadHead().First, "GET ") {
					// Announced, or the upload may be sent on a connection that is about to close.
					c.Send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nwell")
					return
				}
				c.Send("HTTP/1.0 200 OK\r\n\r\nhalf of it")
				<-reset
				c.Abort()
			})
			g := startGateway(t, "PY_SERVICE_URL="+up.URL, "MAX_BODY_BYTES=1000000000")
			for i := range 40 {
				g.Do(testkit.Ask("GET", "well")) // or the breaker would open
				c := g.Dial()
				stopped := make(chan error, 1)
				go func() {
					fmt.Fprintf(c.Conn, "POST /infer/python HTTP/1.%d\r\nHost: a\r\nContent-Length: %d\r\n\r\n", minor, size)
					_, err := c.Write(make([]byte, size))
					stopped <- err
				}()
				r := c.ReadHead()
				if r.Status() != 200 {
					t.Fatalf("try %d: got %q %s, %v", i, r.First, c.ReadBody(r, true).Body, r.Err)
				}
				c.R.Peek(len("half of it"))
				reset <- struct{}{}
				body, err := c.Rest()
				// The reset is told once, to the client's reader or to its writer.
				if werr := <-stopped; err == nil && !errors.Is(werr, syscall.ECONNRESET) || strings.HasSuffix(body, "0\r\n\r\n") {
					t.Errorf("try %d: a cut answer looks whole: %q, %v, %v", i, body, err, werr)
				}
				c.Close()
				if t.Failed() {
					return
				}
			}
		})
	}
}

// The same where all of the body is held, and nothing is to come from the client any more.
func TestResetUnderHeldBodyIsNoEnd(t *testing.T) {
	t.Parallel()
	body := strings.Repeat("x", 16<<20)
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		if strings.HasPrefix(c.ReadHead().First, "GET ") {
			c.Send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nwell")
			return
		}
		c.Send("HTTP/1.0 200 OK\r\n\r\nhalf of it")
		_, _ = c.R.Peek(64 << 10)
		c.Abort()
	})
	g := startGateway(t, "PY_SERVICE_URL="+up.URL, fmt.Sprintf("BODY_BUFFER=%d", len(body)))
	for i := range 20 {
		g.Do(testkit.Ask("GET", "well")) // or the breaker would open
		c := g.Dial()
		go c.Send("POST /infer/python HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		if r := c.ReadResponse(); r.Status() == 200 && r.Err == nil {
			t.Fatalf("try %d: a cut answer looks whole: %q %q", i, r.Head, r.Body)
		}
		c.Close()
	}
}
