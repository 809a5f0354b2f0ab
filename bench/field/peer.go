package main

import (
	"bufio"
	"crypto/sha256"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"aigateway/bench/internal/local"
	"aigateway/bench/internal/process"
)

// The configurations: each peer's in a directory of its name, with what is in a site filled in.
//
//go:embed gateway nginx haproxy caddy litellm
var configurations embed.FS

// A peer is who is measured.
type peer struct {
	name    string
	ai      bool                 // a gateway for inference: it reads what it passes on
	binary  string               // its path
	args    func(*site) []string // what it is started with
	env     []string
	fields  func(*site) string // what each request needs to be let in, beside a token
	version []string           // what makes it tell its version
	variant func(variant) bool // which variants it has; nil: only the plain one
	lacks   map[string]string  // the cells it cannot do, and why
	shares  bool               // several processes of it have one socket if it is passed to them; else a setting makes them
	direct  string             // what is before a path whose body it is to pass on as it comes
}

// A variant is what a cell asks of a configuration.
type variant struct {
	tls     string // the kind of key of the certificate: "ecdsa", "rsa", or "both", with one of each; "": no TLS
	keys    int    // only who shows one of so many may ask; 0: everybody may
	many    bool   // room for as many connections as there may be open files
	cores   int    // 0: one
	workers int    // processes that accept from one port; 0: one
	entries int    // of the cache in memory; 0: its default
	redis   string // address of a Redis behind a cache in memory that has no room
}

// site is what a configuration needs to know. Dir and Memory are directories of this start of the peer alone; Memory is
// in memory.
type site struct {
	Port, Metrics       int
	Upstream            string // host:port
	Dir, Memory         string
	Cores, Files, Conns int    // Conns: as many as there are files for, but some
	Workers             int    // at least Cores
	Token, Key, KeyHash string // what is shown; what must be shown, "" if nothing must
	Cert, CertKey, Pem  string
	Second              *secondPair // beside those; nil: there is none
	Entries             int
	Redis               string
}

// token is what every request shows; some peers ask for one.
const token = "sk-field-0123456789abcdef"

// peers is everybody, in the order of the table.
func peers(gateway, installed string) []peer {
	at := func(name string) string { return filepath.Join(installed, "bin", name) }
	all := func(variant) bool { return true }
	proxied := func(v variant) bool { return v.entries == 0 && v.redis == "" && v.workers == 0 && v.tls != "both" }
	cached := func(v variant) bool { return v.redis == "" && v.workers == 0 }
	forked := func(v variant) bool { return v.redis == "" }
	routed := func(s *site) []string {
		return []string{"--host", "127.0.0.1", "--port", strconv.Itoa(s.Port), "--worker-urls", "http://" + s.Upstream,
			"--policy", "round_robin", "--prometheus-port", strconv.Itoa(s.Metrics)}
	}
	neither := map[string]string{"hit": "has no cache of GETs", "refusal": "has no limiter of requests, or none without a database"}
	return []peer{
		{name: "gateway", ai: true, binary: gateway, version: []string{"-version"}, variant: all, shares: true,
			args: func(s *site) []string { return []string{"-config", s.Dir + "/gateway.yaml"} }},
		{name: "nginx", binary: at("nginx"), version: []string{"-v"}, variant: forked, direct: "/direct",
			args: func(s *site) []string { return []string{"-p", s.Dir, "-c", s.Dir + "/nginx.conf"} }},
		{name: "haproxy", lacks: map[string]string{"processes": "has threads, not processes: the cell cores"}, binary: at("haproxy"), version: []string{"-v"}, variant: cached,
			args: func(s *site) []string { return []string{"-db", "-f", s.Dir + "/haproxy.cfg"} }},
		{name: "caddy", lacks: neither, binary: at("caddy"), version: []string{"version"}, variant: proxied,
			args: func(s *site) []string {
				return []string{"run", "--adapter", "caddyfile", "--config", s.Dir + "/Caddyfile"}
			}},
		{name: "vllm-router", lacks: neither, ai: true, binary: at("vllm-router"), args: func(s *site) []string { return append(routed(s), "--log-level", "warning") }},
		{name: "sglang-router", lacks: neither, ai: true, binary: at("sglang-router"),
			args: func(s *site) []string { return append(append([]string{"launch"}, routed(s)...), "--log-level", "warn") }},
		{name: "litellm", lacks: neither, ai: true, binary: at("litellm"), env: []string{"LITELLM_LOCAL_MODEL_COST_MAP=True"},
			variant: func(v variant) bool { return v == variant{keys: 1} },
			args: func(s *site) []string {
				return []string{"--config", s.Dir + "/litellm.yaml", "--host", "127.0.0.1", "--port", strconv.Itoa(s.Port), "--num_workers", "1"}
			}},
		{name: "portkey", lacks: neither, ai: true, binary: at("portkey"),
			fields: func(s *site) string {
				return "x-portkey-provider: openai\r\nx-portkey-custom-host: http://" + s.Upstream + "/v1\r\n"
			},
			args: func(s *site) []string { return []string{"--headless", "--port=" + strconv.Itoa(s.Port)} }},
	}
}

func peerNames(all []peer) (n []string) {
	for _, p := range all {
		n = append(n, p.name)
	}
	return n
}

// find returns where a peer's program is.
func (p *peer) find() (string, error) {
	if file, err := exec.LookPath(p.binary); err == nil {
		return file, nil
	}
	if file, err := exec.LookPath(p.name); err == nil {
		return file, nil
	}
	return "", fmt.Errorf("%s is not installed: make field-install", p.name)
}

// tell asks a peer for its version.
func (p *peer) tell(installed string) string {
	if p.version == nil { // it would start
		text, _ := os.ReadFile(filepath.Join(installed, p.name+".version"))
		return strings.TrimSpace(string(text))
	}
	file, err := p.find()
	if err != nil {
		return ""
	}
	return local.FirstLine(file, p.version...)
}

// A running peer.
type running struct {
	peer    *peer
	process *process.Process // nil for the upstream, which is measured as one of them
	log     *os.File
	site    site
	addr    string
	began   time.Time // once its files were written
}

// start starts a peer and waits until it accepts connections. A port that was free may be somebody's by then: there are
// five tries.
func (b *bench) start(p *peer, v variant) (r *running, err error) {
	if v != (variant{}) && (p.variant == nil || !p.variant(v)) {
		return nil, errLacks("has no configuration for it")
	}
	for range 5 {
		if r, err = b.startOnce(p, v); err == nil || !strings.Contains(err.Error(), "in use") {
			return r, err
		}
	}
	return nil, err
}

func (b *bench) startOnce(p *peer, v variant) (*running, error) {
	file, err := p.find()
	if err != nil {
		return nil, err
	}
	s, err := b.site(v)
	if err != nil {
		return nil, err
	}
	r := &running{peer: p, site: *s, addr: fmt.Sprintf("127.0.0.1:%d", s.Port)}
	if r.log, err = os.Create(filepath.Join(s.Dir, "output")); err != nil {
		return nil, err
	}
	if err := s.render(p.name); err != nil {
		return nil, err
	}
	if err := s.admit(v.keys); err != nil {
		return nil, err
	}
	cmd := exec.Command(file, p.args(s)...)
	if v.workers > 1 && p.shares {
		socket, err := share(cmd, s.Port, v.workers)
		if err != nil {
			return nil, err
		}
		defer socket.Close()
	}
	cmd.Stdout, cmd.Stderr, cmd.Dir = r.log, r.log, s.Dir
	cmd.Env = append(append(append(os.Environ(), cmd.Env...), "HOME="+s.Dir, "XDG_CONFIG_HOME="+s.Dir, "XDG_DATA_HOME="+s.Dir), p.env...)
	cores := []int{b.proxyCore}
	if v.cores > 1 {
		cores = append(cores, b.loadCore)
	}
	r.began = time.Now()
	if r.process, err = b.alive.Launch(cmd, cores...); err != nil {
		return nil, err
	}
	if err := r.process.Await(r.addr, slowStart); err != nil {
		said := local.Said(r.log.Name())
		b.stop(r)
		return nil, fmt.Errorf("%w; it said: %s", err, said)
	}
	return r, nil
}

// slowStart is what a peer may take to start: some import half of Python.
const slowStart = 2 * time.Minute

// site makes the directories of a start, and finds ports.
func (b *bench) site(v variant) (*site, error) {
	s := &site{Upstream: b.upstream, Token: token, Cores: max(v.cores, 1), Workers: max(v.workers, v.cores, 1), Files: 10_000, Entries: v.entries, Redis: v.redis}
	if v.many {
		s.Files = b.files
	}
	s.Conns = s.Files - filesBeside/2
	if v.keys > 0 {
		s.Key, s.KeyHash = token, fmt.Sprintf("%x", sha256.Sum256([]byte(token)))
	}
	var err error
	if s.Dir, s.Memory, err = b.alive.Directories(); err != nil {
		return nil, err
	}
	if v.tls != "" {
		if err := s.certifyAll(v.tls); err != nil {
			return nil, err
		}
	}
	if s.Metrics, err = local.FreePort(); err != nil {
		return nil, err
	}
	s.Port, err = local.FreePort()
	return s, err
}

// render writes a peer's configuration into its directory, if it has one.
func (s *site) render(name string) error {
	if _, err := fs.Stat(configurations, name); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return local.Templates{Files: configurations, Mode: 0o600}.Render(name, s.Dir, s)
}

// stop ends a peer and removes what it left.
func (b *bench) stop(r *running) {
	b.alive.End(r.process)
	r.log.Close()
	os.RemoveAll(r.site.Dir)
	os.RemoveAll(r.site.Memory)
}

// proves has a peer answer a chat completion, as soon as it can: some listen before they do.
func (r *running) proves() (err error) {
	for deadline := time.Now().Add(slowStart); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		select {
		case <-r.process.Gone:
			return fmt.Errorf("ends; it said: %s", local.Said(r.log.Name()))
		default:
		}
		if err = r.asks(); err == nil {
			return nil
		}
	}
	return err
}

func (r *running) asks() error {
	conn, err := net.DialTimeout("tcp", r.addr, patience)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write(r.chat(chat{size: 200}, "/v1")); err != nil {
		return err
	}
	return provesChat(conn)
}

// provesChat reads an answer that must be a chat completion.
func provesChat(conn io.Reader) error {
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	var is struct {
		Choices []struct{ Message struct{ Content string } }
	}
	if res.StatusCode != 200 || json.Unmarshal(text, &is) != nil || len(is.Choices) != 1 || is.Choices[0].Message.Content == "" {
		return fmt.Errorf("it answers a chat completion with %d: %.200q", res.StatusCode, text)
	}
	return nil
}
