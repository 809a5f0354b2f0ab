//go:build integration

package integration

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A process that was stopped for longer than anybody may be silent gives all of them their time anew when it goes on: a stream on
// its way down, a body on its way up, a response that is awaited, also by who waits for another one's.
func TestStoppedProcessGivesTimeAnew(t *testing.T) {
	t.Parallel()
	const idle, stopped = 3 * time.Second, 5 * time.Second
	begun, goOn := make(chan string, 4), make(chan struct{})
	up := newHolder(t)
	up.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.RawQuery {
		case "down":
			fmt.Fprint(w, "first")
			_ = http.NewResponseController(w).Flush()
		case "up":
			_, _ = io.ReadFull(r.Body, make([]byte, 1<<20))
		case "wait", "shared":
		default:
			return
		}
		begun <- r.URL.RawQuery
		<-goOn
		_, _ = io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, "last")
	})
	up.serve(t)
	g := startGateway(t, options{env: append(up.env(), "IDLE_TIMEOUT="+idle.String(), "RESPONSE_TIMEOUT="+idle.String(), "CONNECT_TIMEOUT=500ms", "CACHE_ENABLED=true")})
	g.awaitReady(t)
	conns := map[string]net.Conn{}
	for _, name := range []string{"down", "up", "wait"} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns[name] = conn
		length := 0
		if name == "up" {
			length = 2 << 20
		}
		fmt.Fprintf(conn, "POST /infer/python?%s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", name, length)
		_, _ = conn.Write(make([]byte, length/2))
	}
	for _, name := range []string{"one", "another"} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns[name] = conn
		fmt.Fprint(conn, "GET /infer/python?shared HTTP/1.1\r\nHost: a\r\n\r\n")
	}
	for range len(conns) - 1 {
		<-begun
	}
	g.signal(t, syscall.SIGSTOP)
	time.Sleep(stopped)
	g.signal(t, syscall.SIGCONT)
	time.Sleep(idle / 4) // what was over while it was stopped is noticed now, if it is
	if _, err := conns["up"].Write(make([]byte, 1<<20)); err != nil {
		t.Error(err)
	}
	close(goOn)
	for name, want := range map[string]string{"down": "firstlast", "up": "last", "wait": "last", "one": "last", "another": "last"} {
		a, err := http.ReadResponse(bufio.NewReader(conns[name]), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if body, err := io.ReadAll(a.Body); a.StatusCode != 200 || string(body) != want || err != nil {
			t.Errorf("%s: %s, %q, %v", name, a.Status, body, err)
		}
	}
	if !health(t, g).Backends["python"].Healthy {
		t.Error("the upstream is blamed")
	}
}
