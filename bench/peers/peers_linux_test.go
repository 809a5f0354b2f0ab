package main

import (
	"encoding/xml"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"aigateway/bench/internal/process"
	"aigateway/bench/upstream"
)

// TestMain lets the test binary be what this program is when it starts itself.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "-role" {
		os.Exit(command(os.Args[1:]))
	}
	os.Exit(m.Run())
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// front starts an upstream and a proxy in front of it that serve makes; both live as long as the test binary.
func front(t *testing.T, serve func(ln net.Listener, service string) error) (*bench, string) {
	t.Helper()
	up, ln := listen(t), listen(t)
	f, err := up.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	go func() { t.Error(upstream.Serve(f)) }()
	go func() { t.Error(serve(ln, up.Addr().String())) }()
	return &bench{upstream: up.Addr().String()}, ln.Addr().String()
}

// The checks find out who does the work and who does not.
func TestChecks(t *testing.T) {
	f := func(name string, fails map[string]string, serve func(net.Listener, string) error) {
		t.Run(name, func(t *testing.T) {
			b, addr := front(t, serve)
			for _, w := range works {
				err := w.check(b, addr)
				if want := fails[w.name]; (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
					t.Errorf("%s: %v, want %q", w.name, err, want)
				}
			}
		})
	}
	f("fasthttp", map[string]string{"refuse": "answers 200"}, serveFasthttp)
	forward := func(w http.ResponseWriter, r *http.Request, service string) {
		req, _ := http.NewRequest(r.Method, "http://"+service+r.RequestURI, r.Body)
		req.ContentLength = r.ContentLength
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		_, _ = w.Write(text)
	}
	f("no cache, no limiter, holds streams back", map[string]string{"hit": "10 of 10 equal GETs", "refuse": "answers 200", "stream": "holds events back"},
		func(ln net.Listener, service string) error {
			return http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { forward(w, r, service) }))
		})
	f("makes it up", map[string]string{"idle": "not the", "post": "not the", "pace": "not the", "hit": "not the", "refuse": "answers 200", "stream": "0 events"},
		func(ln net.Listener, _ string) error {
			return http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "x") }))
		})
	f("refuses after it has asked", map[string]string{"idle": "429", "post": "429", "pace": "429", "hit": "429", "refuse": "5 refused requests reached", "stream": "429"},
		func(ln net.Listener, service string) error {
			return http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				res, err := http.Post("http://"+service+r.RequestURI, "", nil)
				if err == nil {
					res.Body.Close()
				}
				w.WriteHeader(http.StatusTooManyRequests)
			}))
		})
}

func TestConfigurations(t *testing.T) {
	b := &bench{upstream: "127.0.0.1:9", alive: new(process.Group)}
	defer b.alive.Close()
	for _, p := range peers("gateway") {
		s, err := b.site()
		if err != nil {
			t.Fatal(err)
		}
		if p.args == nil {
			continue // a role of this program
		}
		if err := s.render(p.name); err != nil {
			t.Errorf("%s: %v", p.name, err)
		}
		files, _ := os.ReadDir(s.Dir)
		if len(files) == 0 {
			t.Errorf("%s has no configuration", p.name)
		}
		for _, arg := range p.args(s) {
			if file, ok := strings.CutPrefix(strings.TrimPrefix(arg, "--run-root="), s.Dir+"/"); ok && strings.Contains(file, ".") {
				if _, err := os.Stat(s.Dir + "/" + file); err != nil {
					t.Errorf("%s is started with a file that is not there: %v", p.name, err)
				}
			}
		}
	}
}

// The roles and the rounds, with the two peers that are everywhere.
func TestRun(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	self := func(p peer) peer { p.binary = ""; return p }
	all := peers("")
	b := &bench{could: make(map[string]float64), alive: new(process.Group), rounds: 1, time: 100 * time.Millisecond, warm: 10 * time.Millisecond, pace: 200,
		peers: []peer{self(all[1]), self(all[2])}, works: works[1:3]}
	defer b.alive.Close()
	if _, err := b.alive.Launch(exec.Command("/bin/true"), 0); err != nil {
		t.Skip(err)
	}
	if err := b.run(); err != nil {
		t.Fatal(err)
	}
	if len(b.figures) != 3 { // post twice, hit once: httputil has no cache
		t.Errorf("%+v", b.figures)
	}
	for _, f := range b.figures {
		if f.Fault != "" || f.Requests == 0 || f.Rate == 0 || f.P99 < f.P50 || f.P50 == 0 {
			t.Errorf("%+v", f)
		}
	}
	dir := t.TempDir()
	if err := b.report(dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"peers.md", "peers.json", "peers.svg"} {
		if text, err := os.ReadFile(dir + "/" + name); err != nil || len(text) < 100 {
			t.Errorf("%s: %v, %d bytes", name, err, len(text))
		}
	}
}

func sample() *report {
	r := &report{Machine: "a <machine>", Rounds: 3, peers: []string{"gateway", "nginx", "caddy"}, works: []string{"post", "hit", "pace"},
		Cannot: []gap{{"caddy", "hit", noCache}, {"varnish", "all", "varnishd is not installed"}}}
	add := func(peer, work string, round int, cpu, p50 float64, fault string) {
		r.Figures = append(r.Figures, figures{Peer: peer, Work: work, Round: round, CPU: cpu, Rate: 1000, P50: p50, P99: 2 * p50, Fault: fault})
	}
	for i, v := range []float64{30, 10, 20} {
		add("gateway", "post", i, v, 0, "")
		add("nginx", "post", i, v+1, 0, "")
		add("caddy", "post", i, 10*v, 0, map[bool]string{true: "3 of 4 answers were 200"}[i == 0])
		add("gateway", "hit", i, 5, 0, "")
		add("nginx", "hit", i, 6, 0, "it broke")
		add(direct, "pace", i, 0, 50, "")
		add("gateway", "pace", i, 0, 50+v, "")
	}
	return r
}

func TestMarkdown(t *testing.T) {
	got := sample().markdown()
	for _, want := range []string{
		"| gateway | 20.0 | 1000 | 5.0 | 1000 | 1000 | 20 | 40 |\n",
		"| nginx | 21.0 | 1000 | – [1] | – [1] | – | – | – |\n",
		"| caddy | 150.0 [2] | 1000 [2] | – [3] | – [3] |",
		"[1] nginx, hit: 3 of 3 measurements do not count, the first because it broke",
		"[2] caddy, post: 1 of 3 measurements do not count, the first because 3 of 4 answers were 200",
		"[3] caddy, hit: has no cache",
		"[4] varnish was not measured: varnishd is not installed",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestChart(t *testing.T) {
	text := sample().chart()
	for d := xml.NewDecoder(strings.NewReader(text)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
	}
	for _, want := range []string{"prefers-color-scheme: dark", "a &lt;machine&gt;", `class="ours"`, ">21.0<"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestPace(t *testing.T) {
	b := &bench{pace: 30_000, could: map[string]float64{"gateway": 70_000, "caddy": 9_900}}
	for peer, want := range map[string]float64{"gateway": 30_000, "caddy": 4000, direct: 30_000} {
		if got := b.paceOf(peer); got != want {
			t.Errorf("%s: %v, want %v", peer, got, want)
		}
	}
}

func TestChoice(t *testing.T) {
	f := func(peers, works, want string) {
		t.Helper()
		b := new(bench)
		err := b.choose(&options{peers: peers, works: works})
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			for _, p := range b.peers {
				got += p.name + " "
			}
			for _, w := range b.works {
				got += w.name + " "
			}
		}
		if !strings.Contains(got, want) {
			t.Errorf("%q, %q: %s", peers, works, got)
		}
	}
	f("nginx,ours", "hit", "gateway nginx hit ")
	f("nginx", "refuse,post", "nginx post refuse ")
	f("", "", "gateway fasthttp httputil nginx haproxy varnish caddy trafficserver idle post hit refuse pace stream ")
	f("apache", "", `there is no peer "apache"`)
	f("", "sleep", `there is no work "sleep"`)
}
