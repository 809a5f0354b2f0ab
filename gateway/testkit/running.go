package testkit

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"aigateway/gateway/config"
)

// A Running gateway serves on loopback until its test ends.
type Running struct {
	T    *testing.T
	Addr string
	Log  *Log
	end  func(grace time.Duration) (cut int)
	down sync.Once
}

// A Server is what the kit needs to know of a gateway.
type Server interface {
	Serve(net.Listener) error
	Shutdown(context.Context) int
}

// Serve has g serve on a loopback port until the test ends. Should the test fail, it shows what g said in log.
func Serve(t *testing.T, g Server, log *Log) *Running {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &Running{T: t, Addr: ln.Addr().String(), Log: log}
	r.end = func(grace time.Duration) int {
		ctx, cancel := context.WithTimeout(context.Background(), grace)
		defer cancel()
		return g.Shutdown(ctx)
	}
	served := make(chan error, 1)
	go func() { served <- g.Serve(ln) }()
	t.Cleanup(func() {
		r.End(time.Second)
		if err := <-served; err != nil {
			t.Errorf("Serve returned %v", err)
		}
		if t.Failed() {
			t.Logf("the gateway's log:\n%s", log)
		}
	})
	return r
}

// End shuts the gateway down, once, and returns how many connections it had to cut.
func (r *Running) End(grace time.Duration) (cut int) {
	r.down.Do(func() { cut = r.end(grace) })
	return cut
}

// Settings are those of a configuration file of that text, if there is any, and of the environment, "NAME=value" each.
func Settings(t *testing.T, file string, environ []string) *config.Settings {
	t.Helper()
	in := config.Input{Environ: Patient(uncached(Unlimited(environ)))}
	if file != "" {
		in.File = "gateway.yaml"
		in.ReadFile = func(string) ([]byte, error) { return []byte(file), nil }
	}
	s, _, err := config.Load(in)
	if err != nil {
		t.Fatalf("cannot load the settings: %v", err)
	}
	for i, p := range s.Pools {
		if !strings.Contains(file, "discover:") { // a script knows what it is asked
			s.Pools[i].Discover = "off"
		}
		if !p.Explicit { // nobody is there; but the default names would be looked up, which outlives a test
			p.Upstreams[0].URL.Host = "127.0.0.1:1"
		}
	}
	return s
}

// Unlimited switches the rate limit off for a test that does not set it: a test asks faster than a client may.
func Unlimited(environ []string) []string {
	if slices.ContainsFunc(environ, func(e string) bool { return strings.HasPrefix(e, "RATE_LIMIT_ENABLED=") }) {
		return environ
	}
	return append([]string{"RATE_LIMIT_ENABLED=false"}, environ...)
}

// Patient gives connections to upstreams more time than they need anywhere, for a test that does not set it: a gateway that a
// busy machine lets stand for a second has not seen them fail.
func Patient(environ []string) []string {
	if slices.ContainsFunc(environ, func(e string) bool { return strings.HasPrefix(e, "CONNECT_TIMEOUT=") }) {
		return environ
	}
	return append([]string{"CONNECT_TIMEOUT=20s"}, environ...)
}

// uncached switches the cache off for a test that does not set it: most tests are about what passes.
func uncached(environ []string) []string {
	if slices.ContainsFunc(environ, func(e string) bool { return strings.HasPrefix(e, "CACHE_") }) {
		return environ
	}
	return append([]string{"CACHE_ENABLED=false"}, environ...)
}

// Dial connects a scripted client to the gateway.
func (r *Running) Dial() *Peer {
	r.T.Helper()
	conn, err := net.Dial("tcp", r.Addr)
	if err != nil {
		r.T.Fatal(err)
	}
	r.T.Cleanup(func() { conn.Close() })
	return NewPeer(r.T, conn)
}

// DialNarrow connects a client with a small window, so that what it does not read stays with the gateway.
func (r *Running) DialNarrow(bytes int) *Peer {
	r.T.Helper()
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) {
			_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, bytes)
		})
	}}
	conn, err := d.Dial("tcp", r.Addr)
	if err != nil {
		r.T.Fatal(err)
	}
	r.T.Cleanup(func() { conn.Close() })
	return NewPeer(r.T, conn)
}

// Do sends one request on a connection of its own and reads its response.
func (r *Running) Do(request string) Message {
	r.T.Helper()
	c := r.Dial()
	defer c.Close()
	c.Send("%s", request)
	return c.ReadResponse(strings.HasPrefix(request, "HEAD "))
}
