package proxy

import (
	"bufio"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"aigateway/gateway/config"
)

// A pipeEngine answers health pages and pages of metrics over pipes in memory.
type pipeEngine struct {
	t       *testing.T
	asked   atomic.Int64
	readers atomic.Int64 // connections on which metrics were asked for
	delay   atomic.Int64
	status  atomic.Int64

	mu    sync.Mutex
	paths map[string]int
	conns []net.Conn
}

func poolConfig(balance, engine string) []config.Pool {
	return []config.Pool{{Name: "llm", Explicit: true, Balance: config.Balance(balance), Engine: config.Engine(engine), MaxInflight: 100,
		Upstreams: []config.Upstream{{URL: &url.URL{Scheme: "http", Host: "10.0.0.1:80"}, Weight: 1}},
		Health:    config.Health{Path: "/health", Interval: 5 * time.Second},
		Timeouts:  config.Timeouts{Connect: time.Second, Response: time.Minute, Idle: time.Minute, Generation: time.Minute}}}
}

func (e *pipeEngine) dial(string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	e.mu.Lock()
	e.conns = append(e.conns, theirs)
	e.mu.Unlock()
	go e.serve(theirs)
	return ours, nil
}

func (e *pipeEngine) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.conns {
		c.Close()
	}
}

func (e *pipeEngine) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for first := true; ; first = false {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		for {
			if l, err := in.ReadString('\n'); err != nil {
				return
			} else if l == "\r\n" {
				break
			}
		}
		path := strings.Fields(line)[1]
		if path == "/health" {
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			return
		}
		if first {
			e.readers.Add(1)
		}
		e.asked.Add(1)
		e.mu.Lock()
		if e.paths == nil {
			e.paths = make(map[string]int)
		}
		e.paths[path]++
		e.mu.Unlock()
		time.Sleep(time.Duration(e.delay.Load()))
		if status := e.status.Load(); status == 404 {
			fmt.Fprint(c, "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno")
		} else if _, err := fmt.Fprint(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\npa\r\n2\r\nge\r\n0\r\n\r\n"); err != nil {
			return
		}
	}
}

// times is how often a page was asked for.
func (e *pipeEngine) times(path string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.paths[path]
}
