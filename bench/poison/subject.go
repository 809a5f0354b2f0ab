package main

import (
	"aigateway/bench/internal/local"
	_ "embed"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
	"time"
)

// A subject is a proxy to measure. The time for a response to begin is upstreamTime for each, so that a time-out is one.
type subject struct {
	name, path, dir string
	start           func(s *subject, port int, upstreams []*upstream) (*exec.Cmd, error)
}

const (
	upstreamTime = 1500 * time.Millisecond
	startTime    = 10 * time.Second
)

// A proxy is a subject that runs.
type proxy struct {
	cmd *exec.Cmd
	url string
}

// run starts the subject in front of these upstreams, and waits until it serves and knows them to be well.
func (s *subject) run(upstreams []*upstream) (*proxy, error) {
	port, err := local.FreePort()
	if err != nil {
		return nil, err
	}
	cmd, err := s.start(s, port, upstreams)
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", s.name, err)
	}
	p := &proxy{cmd: cmd, url: fmt.Sprintf("http://127.0.0.1:%d", port)}
	for end := time.Now().Add(startTime); ; time.Sleep(20 * time.Millisecond) {
		if p.ready() {
			return p, nil
		}
		if time.Now().After(end) {
			p.stop()
			return nil, fmt.Errorf("%s does not serve %v after its start", s.name, startTime)
		}
	}
}

// ready tells whether a request gets through.
func (p *proxy) ready() bool {
	c := http.Client{Timeout: 2 * time.Second}
	defer c.CloseIdleConnections()
	r, err := c.Post(p.url+"/v1/short", "application/json", strings.NewReader("{}"))
	if err != nil {
		return false
	}
	_ = r.Body.Close()
	return r.StatusCode == http.StatusOK
}

func (p *proxy) stop() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

func startGateway(s *subject, port int, upstreams []*upstream) (*exec.Cmd, error) {
	var urls []string
	for _, u := range upstreams {
		urls = append(urls, u.url())
	}
	cmd := exec.Command(s.path)
	cmd.Env = append(os.Environ(), "PORT="+strconv.Itoa(port), "LLM_SERVICE_URL="+strings.Join(urls, ","), "RATE_LIMIT_ENABLED=false",
		"CACHE_ENABLED=false", "LOG_LEVEL=error", "RESPONSE_TIMEOUT="+upstreamTime.String())
	return cmd, nil
}

//go:embed nginx.conf
var nginxConf string

func startNginx(s *subject, port int, upstreams []*upstream) (*exec.Cmd, error) {
	dir, err := os.MkdirTemp(s.dir, "nginx-")
	if err != nil {
		return nil, err
	}
	name := filepath.Join(dir, "nginx.conf")
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	what := struct {
		Dir       string
		Port      int
		Time      int64
		Upstreams []*upstream
	}{dir, port, upstreamTime.Milliseconds(), upstreams}
	if err := template.Must(template.New("nginx").Parse(nginxConf)).Execute(f, what); err != nil {
		return nil, err
	}
	return exec.Command(s.path, "-p", dir, "-c", name), nil
}
