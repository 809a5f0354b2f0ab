package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"aigateway/bench/internal/local"
	"aigateway/gateway/config"
	"aigateway/gateway/server"
)

// A subject is a proxy in front of the upstream.
type subject struct {
	name, url string
	stop      func()
}

const gatewayFile = `
pools:
  p: {upstreams: [{url: "http://%s"}], max_inflight: %d, queue: {size: 4096, wait: 20s}}
routes: [{path: "/*", pool: p}]
`

// startGateway starts the gateway in this process.
func startGateway(upstream string) (*subject, error) {
	text := fmt.Sprintf(gatewayFile, upstream, places)
	settings, _, err := config.Load(config.Input{File: "fair.yaml", ReadFile: func(string) ([]byte, error) { return []byte(text), nil },
		Environ: []string{"RATE_LIMIT_ENABLED=false", "CACHE_ENABLED=false"}})
	if err != nil {
		return nil, err
	}
	g, err := server.New(settings, server.Options{Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() { _ = g.Serve(ln) }()
	s := &subject{name: "gateway", url: "http://" + ln.Addr().String() + "/work", stop: func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		g.Shutdown(ctx)
	}}
	return s, s.ready()
}

const haproxyFile = `
defaults
  mode http
  timeout connect 1s
  timeout client 30s
  timeout server 30s
  timeout queue 20s
listen p
  bind 127.0.0.1:%d
  server u %s maxconn %d
`

// startHAProxy starts HAProxy, whose queue of a server is in the order of coming.
func startHAProxy(path, upstream string) (*subject, error) {
	port, err := local.FreePort()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "fair")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(file, fmt.Appendf(nil, haproxyFile, port, upstream, places), 0o644); err != nil {
		return nil, err
	}
	c := exec.Command(path, "-db", "-f", file)
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("cannot start HAProxy: %w", err)
	}
	s := &subject{name: "haproxy", url: fmt.Sprintf("http://127.0.0.1:%d/work", port), stop: func() {
		_ = c.Process.Kill()
		_ = c.Wait()
		_ = os.RemoveAll(dir)
	}}
	return s, s.ready()
}

// ready waits until requests pass.
func (s *subject) ready() error {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		r, err := http.Get(s.url)
		if err != nil {
			continue
		}
		_ = r.Body.Close()
		if r.StatusCode == 200 {
			return nil
		}
	}
	s.stop()
	return errors.New("cannot reach the upstream through " + s.name)
}
