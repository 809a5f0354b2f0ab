package main

import (
	"cmp"
	"embed"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"aigateway/bench/internal/local"
	"aigateway/bench/internal/process"
)

// The configurations: each peer's in a directory of its name, with {{.Port}} and what else is in a site filled in.
//
//go:embed gateway nginx haproxy varnish caddy trafficserver
var configurations embed.FS

// A peer is a proxy to be measured.
type peer struct {
	name    string
	of      string               // whose configuration it has; "": its own
	binary  string               // "": this program, in the role of that name
	args    func(*site) []string // what it is started with
	version []string             // what makes it tell its version
	lacks   map[string]string    // the works it cannot do, and why
}

// site is what a configuration needs to know. Dir and Memory are directories of this start of the peer alone; Memory
// is in memory.
type site struct {
	Port         int
	Upstream     string // host:port
	Host         string // of it
	UpstreamPort string
	Dir, Memory  string
}

const (
	noCache   = "has no cache"
	noLimiter = "has no limiter of requests"
)

// peers is everybody, in the order of the table.
func peers(gateway string) []peer {
	return []peer{
		{name: "gateway", binary: gateway, version: []string{"-version"},
			args: func(s *site) []string { return []string{"-config", s.Dir + "/gateway.yaml"} }},
		{name: "fasthttp", lacks: map[string]string{"refuse": noLimiter}},
		{name: "httputil", lacks: map[string]string{"refuse": noLimiter, "hit": noCache}},
		{name: "nginx", binary: "nginx", version: []string{"-v"},
			args: func(s *site) []string { return []string{"-p", s.Dir, "-c", s.Dir + "/nginx.conf"} }},
		{name: "haproxy", binary: "haproxy", version: []string{"-v"},
			args: func(s *site) []string { return []string{"-db", "-f", s.Dir + "/haproxy.cfg"} }},
		{name: "varnish", binary: "varnishd", version: []string{"-V"},
			args: func(s *site) []string {
				// Each request has a thread of its own: 1,000 streams need 1,000. One pool for the one core.
				return []string{"-F", "-f", s.Dir + "/default.vcl", "-a", fmt.Sprintf("127.0.0.1:%d", s.Port), "-n", s.Dir + "/varnish",
					"-s", "malloc,256m", "-p", "thread_pools=1", "-p", "thread_pool_min=100", "-p", "thread_pool_max=4000",
					"-p", "timeout_idle=60", "-p", "listen_depth=4096"}
			}},
		{name: "caddy", binary: "caddy", version: []string{"version"}, lacks: map[string]string{"hit": noCache, "refuse": noLimiter},
			args: func(s *site) []string {
				return []string{"run", "--adapter", "caddyfile", "--config", s.Dir + "/Caddyfile"}
			}},
		{name: "trafficserver", binary: "traffic_server", version: []string{"-V"}, lacks: map[string]string{"refuse": noLimiter},
			args: func(s *site) []string { return []string{"--run-root=" + s.Dir + "/runroot.yaml"} }},
	}
}

// find returns where a peer's program is.
func (p *peer) find() (string, error) {
	if p.binary == "" {
		return os.Executable()
	}
	if file, err := exec.LookPath(p.binary); err == nil {
		return file, nil
	}
	if file, err := exec.LookPath("/usr/sbin/" + p.binary); err == nil { // not in the PATH of everybody
		return file, nil
	}
	return "", fmt.Errorf("%s is not installed", p.binary)
}

// tell is the first line of what it says about its version.
func (p *peer) tell() string {
	file, err := p.find()
	if err != nil || p.version == nil {
		return ""
	}
	return local.FirstLine(file, p.version...)
}

// A running peer.
type running struct {
	process *process.Process // nil for the upstream, which is measured as one of them
	log     *os.File
	site    site
	addr    string
}

// start starts a peer on its core and waits until it accepts connections.
func (b *bench) start(p *peer) (*running, error) {
	file, err := p.find()
	if err != nil {
		return nil, err
	}
	s, err := b.site()
	if err != nil {
		return nil, err
	}
	r := &running{site: *s, addr: fmt.Sprintf("127.0.0.1:%d", s.Port)}
	if r.log, err = os.Create(filepath.Join(s.Dir, "output")); err != nil {
		return nil, err
	}
	args := []string{"-role", p.name, "-listen", r.addr, "-service", s.Upstream}
	if p.args != nil {
		args = p.args(s)
		if err := s.render(cmp.Or(p.of, p.name)); err != nil {
			return nil, err
		}
	}
	cmd := exec.Command(file, args...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = r.log, r.log, s.Dir
	cmd.Env = append(os.Environ(), "HOME="+s.Dir, "XDG_CONFIG_HOME="+s.Dir, "XDG_DATA_HOME="+s.Dir)
	if r.process, err = b.alive.Launch(cmd, b.proxyCore); err != nil {
		return nil, err
	}
	if err := r.process.Await(r.addr, 20*time.Second); err != nil {
		said := local.Said(r.log.Name())
		b.stop(r)
		return nil, fmt.Errorf("%w; it said: %s", err, said)
	}
	return r, nil
}

// site makes the directories of a start, and finds a port.
func (b *bench) site() (*site, error) {
	s := &site{Upstream: b.upstream}
	s.Host, s.UpstreamPort, _ = net.SplitHostPort(b.upstream)
	var err error
	if s.Dir, s.Memory, err = b.alive.Directories(); err != nil {
		return nil, err
	}
	s.Port, err = local.FreePort()
	return s, err
}

// render writes a peer's configuration into its directory.
func (s *site) render(name string) error {
	return local.Templates{Files: configurations, Mode: 0o644}.Render(name, s.Dir, s)
}

// stop ends a peer and removes what it left.
func (b *bench) stop(r *running) {
	b.alive.End(r.process)
	r.log.Close()
	os.RemoveAll(r.site.Dir)
	os.RemoveAll(r.site.Memory)
}
