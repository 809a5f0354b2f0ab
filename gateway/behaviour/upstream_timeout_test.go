package behaviour

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"aigateway/gateway/testkit"
)

// Each phase has its time and its code; what is never silent has none.

// A listener whose queue is full takes no connection, and refuses none.
func TestConnectTimeout(t *testing.T) {
	t.Parallel()
	hole := blackHole(t)
	for _, path := range []string{"/infer/python", "/v1/models"} {
		for _, method := range []string{"GET", "POST"} {
			t.Run(path+" "+method, func(t *testing.T) {
				t.Parallel()
				g := startGateway(t, "PY_SERVICE_URL="+hole, "LLM_SERVICE_URL="+hole, "CONNECT_TIMEOUT=150ms")
				c := g.Dial()
				begun := time.Now()
				c.Send("%s", testkit.AskAt(path, method, "x"))
				testkit.WantFault(t, c.ReadResponse(), 504, "timeout_connect", path == "/v1/models")
				testkit.WantQuick(t, "the time-out", begun, 2*time.Second)
				// Three failures in a row, those of probes among them, open the breaker: a slow machine has them by now.
				c.Send("%s", testkit.AskAt("/livez", "GET", ""))
				if r := c.ReadResponse(); r.Status() != 200 {
					t.Errorf("the connection is of no use after it: %q %v", r.First, r.Err)
				}
			})
		}
	}
}

// Silence before the answer, inside a whole body and inside a stream.
func TestSilence(t *testing.T) {
	for name, f := range map[string]struct {
		sent string
		code string // "": the answer had begun, so it is cut
	}{
		"before the answer":        {"", "timeout_response"},
		"inside the head":          {"HTTP/1.1 200 OK\r\nContent-Le", "timeout_response"},
		"after an interim answer":  {"HTTP/1.1 103 Early Hints\r\n\r\n", "timeout_response"},
		"before a short body":      {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", "timeout_idle"},
		"inside a short body":      {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "timeout_idle"},
		"inside a 64 KB body":      {"HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n" + strings.Repeat("x", 65535), "timeout_idle"},
		"inside a large body":      {"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 99999), ""},
		"inside chunks":            {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", ""},
		"inside a chunk":           {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\na", ""},
		"before the trailers' end": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n", ""},
		"inside events":            {"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: a\n\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testkit.EachWay(t, func(t *testing.T, method string, second bool) {
				ended := make(chan time.Time, 1)
				up, seen := testkit.StartOdd(t, func(c *testkit.Peer, _ testkit.Message) bool {
					c.Send("%s", f.sent)
					c.Closed()
					ended <- time.Now()
					return false
				})
				respond := "RESPONSE_TIMEOUT=500ms"
				if f.code != "timeout_response" { // what has a head gets it out in time on any machine
					respond = "RESPONSE_TIMEOUT=20s"
				}
				g := startGateway(t, "PY_SERVICE_URL="+up.URL, respond, "IDLE_TIMEOUT=200ms")
				c := g.client(second)
				begun := time.Now()
				c.Send("%s", testkit.Ask(method, "odd"))
				r := c.ReadResponse()
				if f.code != "" {
					testkit.WantFault(t, r, 504, f.code, false)
				} else if r.Err == nil || r.Status() != 200 {
					t.Errorf("got %q, %d bytes, %v: the client takes it for whole", r.First, len(r.Body), r.Err)
				}
				if d := time.Since(begun); d < 190*time.Millisecond {
					t.Errorf("it took %v", d)
				}
				testkit.WantQuick(t, "the time-out", begun, time.Second)
				testkit.WantQuick(t, "letting the upstream go", <-ended, time.Second)
				if n := seen.Of("odd"); n != 1 {
					t.Errorf("sent %d times", n)
				}
			})
		})
	}
}

// A client's own time for an answer ends an attempt, as it ends the waiting for one; the upstream is not to blame.
func TestClientsOwnTime(t *testing.T) {
	t.Parallel()
	ended := make(chan bool, 16)
	up, seen := testkit.StartOdd(t, func(c *testkit.Peer, r testkit.Message) bool {
		if strings.Contains(r.First, "well") {
			c.Send("%s", testkit.Answer("ok"))
			return true
		}
		c.Closed()
		ended <- true
		return false
	})
	g := startGateway(t, "PY_SERVICE_URL="+up.URL, "RESPONSE_TIMEOUT=5m", "CACHE_ENABLED=false")
	c := g.Dial()
	ask := func(method, name, ms string) testkit.Message {
		c.Send("%s", strings.Replace(testkit.Ask(method, name), "\r\n", "\r\nX-Request-Timeout-Ms: "+ms+"\r\n", 1))
		return c.ReadResponse()
	}
	for range 12 {
		begun := time.Now()
		testkit.WantFault(t, ask("POST", "odd", "60"), 504, "timeout_response", false)
		if took := time.Since(begun); took < 60*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		<-ended
	}
	if n := seen.Of("odd"); n != 12 {
		t.Errorf("sent %d times", n)
	}
	for _, ms := range []string{"60000", "0", "soon", "99999999999"} {
		if r := ask("POST", "well", ms); r.Status() != 200 {
			t.Errorf("%s ms: %q", ms, r.First)
		}
	}
}

// An answer that takes longer than every time-out, but is never silent for long, passes whole.
func TestSlowButNeverSilent(t *testing.T) {
	const pieces, pause = 12, 60 * time.Millisecond
	for name, f := range map[string]struct{ head, end string }{
		"short length":      {fmt.Sprintf("Content-Length: %d\r\n", pieces*7), ""},
		"events":            {"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"},
		"events to the end": {"Content-Type: text/event-stream\r\nConnection: close\r\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testkit.EachWay(t, func(t *testing.T, method string, second bool) {
				up, _ := testkit.StartOdd(t, func(c *testkit.Peer, _ testkit.Message) bool {
					c.Send("HTTP/1.1 200 OK\r\n%s\r\n", f.head)
					for i := range pieces {
						time.Sleep(pause) // the upstream's pace is what is tested
						piece := fmt.Sprintf("piece%02d", i)
						if f.end != "" {
							piece = fmt.Sprintf("7\r\n%s\r\n", piece)
						}
						c.Send("%s", piece)
					}
					c.Send("%s", f.end)
					return false
				})
				g := startGateway(t, "PY_SERVICE_URL="+up.URL, "RESPONSE_TIMEOUT=1s", "IDLE_TIMEOUT=1s")
				c := g.client(second)
				c.Send("%s", testkit.Ask(method, "odd"))
				r := c.ReadResponse()
				if r.Err != nil || len(r.Body) != pieces*7 || !strings.HasSuffix(r.Body, fmt.Sprintf("piece%02d", pieces-1)) {
					t.Errorf("got %q, body %q, %v", r.First, r.Body, r.Err)
				}
			})
		})
	}
}

// smallBuffers makes the kernel hold little for a connection, so that a test sees the other end's pace.
func smallBuffers(c net.Conn) {
	_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
	_ = c.(*net.TCPConn).SetWriteBuffer(4 << 10)
}

// IDLE_TIMEOUT is silence. A client that takes its answer slowly, but all the time, is not silent.
func TestSlowReaderIsNotSilent(t *testing.T) {
	t.Parallel()
	for name, head := range map[string]string{
		"length":     "HTTP/1.1 200 OK\r\nContent-Length: 8000000\r\n\r\n",
		"to the end": "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			const size = 8000000
			up, _ := testkit.StartOdd(t, func(c *testkit.Peer, _ testkit.Message) bool {
				c.Send("%s", head)
				c.Write(make([]byte, size))
				return false
			})
			g := startGateway(t, "PY_SERVICE_URL="+up.URL, "IDLE_TIMEOUT=2s")
			c := g.Dial()
			smallBuffers(c.Conn)
			c.Send("%s", testkit.Ask("GET", "odd"))
			got, b := 0, make([]byte, 2<<10)
			// 2 KB each 20 ms: within an idle time, less than one write of the gateway, but never silence.
			for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
				n, err := c.Conn.Read(b)
				got += n
				if err != nil {
					t.Fatalf("cut after %d bytes: %v", got, err)
				}
			}
		})
	}
}

// The same for an upstream that takes a long body slowly.
func TestSlowlyReadUploadIsNotSilent(t *testing.T) {
	t.Parallel()
	const size = 8000000
	stop := make(chan struct{})
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		c.ReadHead()
		b := make([]byte, 16<<10)
		for {
			if _, err := c.Conn.Read(b); err != nil {
				return
			}
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	defer close(stop)
	g := startGateway(t, "PY_SERVICE_URL="+up.URL, "IDLE_TIMEOUT=1s")
	c := g.Dial()
	go func() {
		fmt.Fprintf(c.Conn, "POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", size)
		c.Write(make([]byte, size))
	}()
	_ = c.Conn.SetReadDeadline(time.Now().Add(3 * time.Second))
	if b, err := c.R.Peek(12); err == nil || !os.IsTimeout(err) {
		t.Errorf("the upload was given up though it went on all the time: %q, %v", b, err)
	}
}
