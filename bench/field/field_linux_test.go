package main

import (
	"bytes"
	"encoding/xml"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"aigateway/bench/drive"
	"aigateway/bench/internal/process"
)

// TestMain lets the test binary be the upstream that this program starts itself as.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "-upstream" || os.Args[1] == "-hold") {
		os.Exit(command(os.Args[1:], os.Stdout))
	}
	os.Exit(m.Run())
}

func TestMedian(t *testing.T) {
	f := func(want float64, ok bool, all ...float64) {
		t.Helper()
		if got, is := median(all); got != want || is != ok {
			t.Errorf("%v: %v %v", all, got, is)
		}
	}
	f(0, false)
	f(3, true, 3)
	f(2, true, 3, 1)
	f(5, true, 9, 5, -1)
	f(2.5, true, 4, 1, 2, 3)
}

func TestFrontier(t *testing.T) {
	rungs := []rung{{1, 5000, 400 * time.Microsecond, 0}, {2, 9000, time.Millisecond, 0}, {4, 15000, 4 * time.Millisecond, 0},
		{8, 14000, 900 * time.Microsecond, 1}, {16, 30000, 20 * time.Millisecond, 0}}
	for bound, want := range map[time.Duration]float64{100 * time.Microsecond: 0, time.Millisecond: 9000, 5 * time.Millisecond: 15000, time.Second: 30000} {
		if got := frontier(rungs, bound); got != want {
			t.Errorf("%v: %v, want %v", bound, got, want)
		}
	}
}

func TestHeldRungs(t *testing.T) {
	f := func(files int, want ...int) {
		t.Helper()
		got := heldRungs(files)
		if len(got) != len(want) || got[len(got)-1] != want[len(want)-1] {
			t.Errorf("%d files: %v, want %v", files, got, want)
		}
	}
	f(1<<20, 512, 1000, 2500, 5000, 10_000)
	f(20_000, 512, 1000, 2500, 5000, 9900)
	f(1024, 400)
	f(100, 100)
}

func TestWhole(t *testing.T) {
	f := func(want bool, change func(*drive.Result)) {
		t.Helper()
		r := &drive.Result{Status: map[int]int64{200: 2}, Errors: map[string]int64{}, Events: 2 * heldTokens}
		r.Gap.Add(heldPace * time.Millisecond)
		if change(r); whole(r, 2) != want {
			t.Errorf("%+v: not %v", r.Events, want)
		}
	}
	f(true, func(*drive.Result) {})
	f(false, func(r *drive.Result) { r.Events-- })
	f(false, func(r *drive.Result) { r.Status[200]-- })
	f(false, func(r *drive.Result) { r.Errors["closed"]++ })
	f(false, func(r *drive.Result) { r.Gap.Add(stallTimes*heldPace*time.Millisecond + time.Millisecond) })
}

func TestChatHasItsSize(t *testing.T) {
	for _, size := range []int{200, 1 << 10, 400 << 10} {
		for _, tokens := range []int{0, 64} {
			if n := len(chat{size: size, tokens: tokens, pace: 20}.body()); n != size {
				t.Errorf("%d bytes, want %d", n, size)
			}
		}
	}
}

func TestKeyedTakesTurns(t *testing.T) {
	r := &running{addr: "127.0.0.1:1", peer: &peer{}}
	p := r.keyed(2, 3, 200)
	var got string
	for i := range 3 {
		m := string(p.Targets[i%2].Next())
		_, k, _ := strings.Cut(m, "?k=")
		got += k[:8] + " "
	}
	if got != "00000000 00000001 00000002 " {
		t.Error(got)
	}
	for range 100 {
		if m := string(p.Targets[0].Next()); !strings.Contains(m, "/v1/cached/200?k=0000000") || !strings.ContainsAny(m[strings.Index(m, "k=")+9:][:1], "012") {
			t.Fatal(m)
		}
	}
}

func TestConfigurations(t *testing.T) {
	b := newBench(io.Discard)
	b.upstream, b.files = "127.0.0.1:9", 20_000
	defer b.alive.Close()
	for _, p := range peers("gateway", ".") {
		for _, v := range []variant{{}, {tls: "ecdsa"}, {tls: "both"}, {keys: 1}, {keys: 3}, {workers: 4}, {entries: 5}, {entries: 5, redis: "r:1"}, {many: true}} {
			if v != (variant{}) && (p.variant == nil || !p.variant(v)) {
				continue
			}
			s, err := b.site(v)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.render(p.name); err != nil {
				t.Errorf("%s %+v: %v", p.name, v, err)
			}
			for _, arg := range p.args(s) {
				if strings.HasPrefix(arg, s.Dir+"/") {
					if _, err := os.Stat(arg); err != nil {
						t.Errorf("%s is started with a file that is not there: %v", p.name, err)
					}
				}
			}
		}
	}
}

func TestChoice(t *testing.T) {
	f := func(peers, cells, want string) {
		t.Helper()
		b := newBench(io.Discard)
		got := ""
		if err := b.choose(&options{peers: peers, cells: cells}); err != nil {
			got = err.Error()
		} else {
			got = strings.Join(append(peerNames(b.peers), cellNames(b.cells)...), " ")
		}
		if !strings.HasPrefix(got, want) {
			t.Errorf("%q, %q: %s", peers, cells, got)
		}
	}
	f("nginx,ours", "tls,cpu", "gateway nginx cpu tls")
	f("", "hit", "gateway nginx haproxy caddy vllm-router sglang-router litellm portkey hit")
	f("apache", "", `there is no peer "apache"`)
	f("", "sleep", `there is no cell "sleep"`)
}

func sample() *report {
	r := &report{Machine: "a <machine>", Runs: []run{{Command: "field -cells x", Rounds: 3, Load: []string{"0.1 0.2 0.3"}}}, cells: cells,
		Cannot: []gap{{"nginx", "redis", "has no cache in Redis"}, {"caddy", "all", "caddy is not installed"}}}
	for _, p := range peers("", "") {
		if p.name == "gateway" || p.name == "nginx" || p.name == "litellm" {
			r.peers = append(r.peers, p)
		}
	}
	add := func(peer, cell string, round int, fault string, values map[string]float64) {
		r.Figures = append(r.Figures, figure{Peer: peer, Cell: cell, Round: round, Values: values, Fault: fault})
	}
	for i, v := range []float64{30, 10, 20} {
		add("gateway", "latency", i, "", map[string]float64{"p50": v, "p99": 10 * v})
		add("gateway", "cpu", i, "", map[string]float64{"1": v, "8": v, "64": v})
		add("nginx", "cpu", i, map[bool]string{true: "it broke"}[i == 0], map[string]float64{"1": v + 1, "8": 10 * v, "64": v})
		add("litellm", "cpu", i, "", map[string]float64{"1": 1000 * v, "8": 1000 * v})
		add("gateway", "memory", i, "", map[string]float64{"idle": 10, "after": 16})
	}
	return r
}

func TestMarkdown(t *testing.T) {
	got := sample().markdown()
	for _, want := range []string{
		"| latency | added p50 µs | 20 (10–30) | – | – |\n|  | added p99 µs | 200 (100–300) | – | – |\n",
		"| cpu | 1 client: CPU µs | 20.0 (10.0–30.0) | 16.0 (11.0–21.0) [1] | 20000.0 (10000.0–30000.0) |",
		"[1] nginx, cpu: 1 of 3 measurements do not count, the first because it broke",
		"has no cache in Redis",
		"caddy was not measured: caddy is not installed",
		"| added latency, one client | added p50 µs | ≤ 60 | 20 | reached |",
		"| added latency, one client | added p99 µs | ≤ 120 | 200 | missed: " + whyWake + " |",
		"| CPU a request | 1 client: CPU µs | ≤ 1 × nginx | 1.25 × (20; nginx 16), by rounds 0.91–0.95 | missed: " + whyWake + " |",
		"| CPU a request | 8 clients: CPU µs | ≤ 0.3 × AI gateway | 0.00 × (20; litellm 2e+04), by rounds 0.00–0.00 | reached |",
		"| idle RSS | afterwards MiB | ≤ 1.5 × idle | 1.60 × (16; idle 10) | missed",
		"| hit 2 KB | CPU µs | ≤ 0.7 × nginx | – | not measured |",
		"    field -cells x\n", "each: 0.1.",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestPicture(t *testing.T) {
	r := sample()
	for _, c := range r.cells {
		text := r.picture(&c)
		if (text != "") != (c.name == "latency" || c.name == "cpu" || c.name == "memory") {
			t.Errorf("%s: %q", c.name, text)
		}
		for in := xml.NewDecoder(strings.NewReader(text)); ; {
			if _, err := in.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("%v in\n%s", err, text)
			}
		}
	}
}

// Each goal names a value that there is, and each chart's value stands in a column.
func TestGoalsHaveTheirCells(t *testing.T) {
	for _, g := range goals {
		if headOf(g.cell, g.key) == "" || g.why == "" || g.row == "" || math.IsNaN(g.most) {
			t.Errorf("%+v", g)
		}
	}
}

// Two cells of the gateway itself, from its start to the report.
func TestTwoCells(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the gateway")
	}
	binary := filepath.Join(t.TempDir(), "gateway")
	if out, err := exec.Command("go", "build", "-o", binary, "aigateway/gateway").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var said bytes.Buffer
	b := newBench(&said)
	b.rounds, b.time, b.warm, b.files = 1, 100*time.Millisecond, 10*time.Millisecond, process.AllowOpenFiles()
	if err := b.choose(&options{gateway: binary, install: t.TempDir(), peers: "ours", cells: "latency,tls"}); err != nil {
		t.Fatal(err)
	}
	defer b.alive.Close()
	if err := b.run(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := b.write(b.reportOf(dir), dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"field.md", "field.json", "latency.svg", "tls.svg"} {
		if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || len(text) < 200 {
			t.Errorf("%s: %v, %d bytes", name, err, len(text))
		}
	}
	if len(b.figures) != 2 || b.figures[0].Fault != "" || b.figures[1].Values["resumed"] <= 0 || b.figures[1].Fault != "" {
		t.Errorf("%+v\n%s", b.figures, &said)
	}
}

// Runs are added to each other, unless they are of another machine or version.
func TestRunsAdd(t *testing.T) {
	one, two := sample(), sample()
	one.Versions, two.Versions = map[string]string{"nginx": "1"}, map[string]string{"gateway": "2"}
	n := len(one.Figures)
	if err := two.follow(one, peers("", "")); err != nil || len(two.Runs) != 2 || len(two.Figures) != 2*n || len(two.Cannot) != 2 || two.Versions["nginx"] != "1" {
		t.Fatalf("%v: %d runs, %d figures, cannot %v", err, len(two.Runs), len(two.Figures), two.Cannot)
	}
	if f := two.Figures[n]; f.Run != 1 || f.Round != 3 {
		t.Errorf("%+v", f)
	}
	if got := strings.Join(append(peerNames(two.peers), cellNames(two.cells)...), " "); got != "gateway nginx litellm latency cpu memory" {
		t.Error(got)
	}
	if text := two.markdown(); !strings.Contains(text, "    field -cells x  # 2 times\n") || !strings.Contains(text, "each: 0.1, 0.1.") {
		t.Error(text)
	}
	other, another := sample(), sample()
	other.Versions, another.Machine = map[string]string{"nginx": "2"}, "another"
	for _, r := range []*report{other, another} {
		if err := r.follow(one, nil); err == nil {
			t.Error("they were put together")
		}
	}
}

// Connections are opened, held, and closed with the process that has them.
func TestCrowd(t *testing.T) {
	b := newBench(io.Discard)
	b.files = filesBeside + 3
	defer b.alive.Close()
	if err := b.serve(); err != nil {
		t.Fatal(err)
	}
	r := b.itself()
	r.site.Dir = t.TempDir()
	before, err := b.counts()
	if err != nil {
		t.Fatal(err)
	}
	end, err := b.crowd(r, 7)
	defer end()
	if err != nil {
		t.Fatal(err)
	}
	if after, err := b.counts(); err != nil || after.Body-before.Body != 7 || after.Conns-before.Conns < 7 {
		t.Errorf("%v: %+v, before %+v", err, after, before)
	}
	if _, err := b.crowd(&running{peer: &peer{}, addr: "127.0.0.1:1", site: r.site}, 1); err == nil {
		t.Error("nobody listens, and it holds a connection there")
	}
}
