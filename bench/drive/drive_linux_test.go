package drive

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

// scripted starts a server that hands each request on each connection to answer, which writes what it likes; false
// closes the connection. It returns the server's address.
func scripted(t *testing.T, answer func(conn net.Conn, r *http.Request) bool) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				for in := bufio.NewReader(conn); ; {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, r.Body)
					if !answer(conn, r) {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return ln.Addr().String()
}

func says(text string) func(net.Conn, *http.Request) bool {
	return func(c net.Conn, _ *http.Request) bool {
		_, err := io.WriteString(c, text)
		return err == nil
	}
}

const hello = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

func run(t *testing.T, p Plan) *Result {
	t.Helper()
	if p.Timeout == 0 {
		p.Timeout = time.Minute
	}
	r, err := Run(p)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestEveryRequestThatIsDueIsSent(t *testing.T) {
	addr := scripted(t, says(hello))
	r := run(t, Plan{Targets: []Target{{Addr: addr, Request: []byte(get)}}, Rate: 5000, Conns: 8, Most: 1000})
	if r.Due != 1000 || r.Done != 1000 || r.Status[200] != 1000 || r.Failed() != 0 || r.Body != 5000 || r.Latency.Count() != 1000 || r.Dialed != 8 {
		t.Errorf("%+v", r)
	}
	if least := 999 * time.Second / 5000; r.Elapsed < least {
		t.Errorf("took %v, less than the %v that the rate asks for", r.Elapsed, least)
	}
}

// Coordinated omission: the server holds back its first answer until a hundred more requests were due. Request i was
// due at i ms, so that the i-th of them waited at least 100-i ms, though the server saw none of them wait.
func TestStallIsChargedToAllThatWereDue(t *testing.T) {
	release := make(chan struct{})
	var first atomic.Bool
	addr := scripted(t, func(c net.Conn, r *http.Request) bool {
		if !first.Swap(true) {
			<-release
		}
		return says(hello)(c, r)
	})
	open := sync.OnceFunc(func() { close(release) })
	r := run(t, Plan{Targets: []Target{{Addr: addr, Request: []byte(get)}}, Rate: 1000, Conns: 1, Most: 200,
		Every: time.Millisecond, Progress: func(_ time.Duration, so *Result) {
			if so.Due > 100 {
				open()
			}
		}})
	if r.Done != 200 {
		t.Fatalf("%+v", r)
	}
	if got := r.Latency.Quantile(.76); got < 50*time.Millisecond {
		t.Errorf("a quarter of the requests waited 50 ms and more, the 76th percentile is %v", got)
	}
	if got := r.Lag.Quantile(.76); got < 50*time.Millisecond {
		t.Errorf("they waited for a connection, the 76th percentile of the lag is %v", got)
	}
}

func TestClosedLoop(t *testing.T) {
	addr := scripted(t, says(hello))
	r := run(t, Plan{Targets: []Target{{Addr: addr, Request: []byte(get)}}, Conns: 4, Most: 500})
	if r.Done != 500 || r.Failed() != 0 || r.Dialed != 4 {
		t.Errorf("%+v", r)
	}
}

func TestTargetsTakeTurns(t *testing.T) {
	var paths [2]atomic.Int64
	server := func(i int) string {
		return scripted(t, func(c net.Conn, r *http.Request) bool {
			paths[i].Add(1)
			return says(hello)(c, r)
		})
	}
	r := run(t, Plan{Targets: []Target{{Addr: server(0), Request: []byte(get)}, {Addr: server(1), Request: []byte(get)}},
		Rate: 1000, Conns: 2, Most: 100})
	if r.Done != 100 || paths[0].Load() == 0 || paths[1].Load() == 0 {
		t.Errorf("%+v; %d and %d", r, paths[0].Load(), paths[1].Load())
	}
}

func TestFreshConnections(t *testing.T) {
	var conns sync.Map
	addr := scripted(t, func(c net.Conn, r *http.Request) bool {
		conns.Store(c, true)
		return says(hello)(c, r)
	})
	r := run(t, Plan{Targets: []Target{{Addr: addr, Request: []byte(get)}}, Rate: 1000, Conns: 8, Fresh: true, Most: 100})
	n := 0
	conns.Range(func(any, any) bool { n++; return true })
	if r.Done != 100 || n != 100 || r.Dialed != 100 {
		t.Errorf("%d connections seen, %+v", n, r)
	}
}

func TestBodiesLargerThanTheSocketTakes(t *testing.T) {
	addr := scripted(t, says(hello))
	body := strings.Repeat("x", 16<<20)
	r := run(t, Plan{Targets: []Target{{Addr: addr, Request: []byte("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 16777216\r\n\r\n" + body)}},
		Conns: 2, Most: 6})
	if r.Done != 6 || r.Failed() != 0 {
		t.Errorf("%+v", r)
	}
}

func TestStreamsAreReadToTheEnd(t *testing.T) {
	addr := scripted(t, func(c net.Conn, _ *http.Request) bool {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
		for range 20 {
			_, _ = io.WriteString(c, "9\r\ndata: 1\n\n\r\n")
		}
		_, err := io.WriteString(c, "0\r\n\r\n")
		return err == nil
	})
	r := run(t, Plan{Targets: []Target{{Addr: addr, Request: []byte(get)}}, Conns: 5, Most: 50})
	if r.Done != 50 || r.Events != 1000 || r.Body != 9000 || r.FirstByte.Count() != 50 || r.Event.Count() != 50 || r.Gap.Count() != 950 {
		t.Errorf("%+v", r)
	}
}

func TestClientLeaves(t *testing.T) {
	var left atomic.Int64
	addr := scripted(t, func(c net.Conn, _ *http.Request) bool {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")
		if n, err := c.Read(make([]byte, 1)); n == 0 && err != nil {
			left.Add(1)
		}
		return false
	})
	r := run(t, Plan{Targets: []Target{{Addr: addr, Request: []byte(get)}}, Conns: 3, Most: 9, Leave: 5 * time.Millisecond})
	if r.Left != 9 || r.Done != 0 || r.Failed() != 0 {
		t.Errorf("%+v", r)
	}
	for deadline := time.Now().Add(time.Minute); left.Load() < 9; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the server saw %d clients leave", left.Load())
		}
	}
}

func TestErrorsByKind(t *testing.T) {
	f := func(kind string, timeout time.Duration, answer func(net.Conn, *http.Request) bool) {
		t.Helper()
		addr := scripted(t, answer)
		r := run(t, Plan{Targets: []Target{{Addr: addr, Request: []byte(get)}}, Conns: 2, Most: 6, Timeout: timeout})
		if r.Errors[kind] != 6 || r.Failed() != 6 || r.Done != 0 || r.Latency.Count() != 6 {
			t.Errorf("%s: %+v", kind, r.Errors)
		}
	}
	f(KindClosed, time.Minute, func(net.Conn, *http.Request) bool { return false })
	f(KindClosed, time.Minute, func(c net.Conn, r *http.Request) bool { says(hello[:len(hello)-1])(c, r); return false })
	f(KindMalformed, time.Minute, says("220 mail.example ESMTP\r\n\r\n"))
	f(KindMalformed, time.Minute, says(hello+hello))
	f(KindTimeout, 100*time.Millisecond, func(c net.Conn, _ *http.Request) bool { _, _ = c.Read(make([]byte, 1)); return false })
}

func TestNobodyThere(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	for _, fresh := range []bool{false, true} {
		_, err = Run(Plan{Targets: []Target{{Addr: addr, Request: []byte(get)}}, Conns: 2, Most: 1, Timeout: time.Minute, Fresh: fresh})
		if err == nil || !strings.Contains(err.Error(), addr) {
			t.Errorf("fresh %v: %v", fresh, err)
		}
	}
}

// A server that never answers holds all connections. What is due meanwhile was not sent, and is told.
func TestUnsent(t *testing.T) {
	addr := scripted(t, func(c net.Conn, _ *http.Request) bool { _, _ = c.Read(make([]byte, 1)); return false })
	r := run(t, Plan{Targets: []Target{{Addr: addr, Request: []byte(get)}}, Conns: 1, Rate: 1000, Time: 50 * time.Millisecond, Timeout: 200 * time.Millisecond})
	if r.Due != 50 || r.Failed() != 50 || r.Errors[KindUnsent] == 0 || r.Errors[KindTimeout] == 0 {
		t.Errorf("due %d, %v", r.Due, r.Errors)
	}
}

func TestServerClosesBetweenRequests(t *testing.T) {
	addr := scripted(t, func(c net.Conn, r *http.Request) bool {
		says("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi")(c, r)
		return false
	})
	r := run(t, Plan{Targets: []Target{{Addr: addr, Request: []byte(get)}}, Conns: 3, Most: 60})
	if r.Done != 60 || r.Failed() != 0 {
		t.Errorf("%+v", r)
	}
}

func TestFaultsOfPlans(t *testing.T) {
	target := []Target{{Addr: "127.0.0.1:1", Request: []byte(get)}}
	for _, p := range []Plan{
		{},
		{Targets: target, Conns: 0, Most: 1, Timeout: 1},
		{Targets: target, Conns: 1, Timeout: 1},
		{Targets: target, Conns: 1, Most: 1},
		{Targets: target, Conns: 1, Most: 1, Rate: -1, Timeout: 1},
		{Targets: []Target{{Addr: "localhost:1"}}, Conns: 1, Most: 1, Timeout: 1},
	} {
		if _, err := Run(p); err == nil {
			t.Errorf("%+v is fine", p)
		}
	}
}

func TestFIFO(t *testing.T) {
	var q fifo[int]
	pushed, popped := 0, 0
	for range 1000 {
		for range pushed%7 + 1 {
			q.push(pushed)
			pushed++
		}
		for range pushed % 5 {
			if q.len() > 0 {
				if got := q.pop(); got != popped {
					t.Fatalf("%d instead of %d", got, popped)
				}
				popped++
			}
		}
	}
	if q.len() != pushed-popped {
		t.Errorf("%d are left of %d", q.len(), pushed-popped)
	}
}
