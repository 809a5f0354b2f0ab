package testkit

import (
	"fmt"
	"sync"
	"testing"
)

// Ask is a request to the pool python that carries a name, in its query and, as a POST, in its body.
func Ask(method, name string) string { return AskAt("/infer/python", method, name) }

func AskAt(path, method, name string) string {
	if method == "POST" {
		return fmt.Sprintf("POST %s?%s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", path, name, len(name), name)
	}
	return fmt.Sprintf("%s %s?%s HTTP/1.1\r\nHost: a\r\n\r\n", method, path, name)
}

// A tally counts requests by name.
type Tally struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *Tally) Add(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = make(map[string]int)
	}
	c.n[name]++
}

func (c *Tally) Of(name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[name]
}

// StartOdd starts an upstream that answers every request with its name, on connections that stay open, apart
// from the requests named "odd": odd does what it likes with those, and its connection is closed when it
// returns false. The tally counts what arrived.
func StartOdd(t testing.TB, odd func(c *Peer, r Message) bool) (*Upstream, *Tally) {
	t.Helper()
	seen := &Tally{}
	up := StartUpstream(t, func(_ int, c *Peer) {
		for {
			r := c.ReadRequest()
			if r.Err != nil {
				return
			}
			seen.Add(r.Name())
			if r.Name() != "odd" {
				c.Send("%s", Answer(r.Name()))
			} else if !odd(c, r) {
				return
			}
		}
	})
	return up, seen
}

// EachWay runs a test for GET and POST, each as the first request of a client and as its second.
func EachWay(t *testing.T, do func(t *testing.T, method string, second bool)) {
	for _, method := range []string{"GET", "POST"} {
		for _, second := range []bool{false, true} {
			name := method + "/first"
			if second {
				name = method + "/second"
			}
			t.Run(name, func(t *testing.T) { do(t, method, second) })
		}
	}
}
