package behaviour

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"aigateway/gateway/server"
	"aigateway/gateway/testkit"
)

// Every metric that the Grafana dashboards and the alerts ask for is on the page, and so are the labels that they ask for and, where
// a selector says what is wanted, a series like it.
func TestDashboardsAskForWhatThereIs(t *testing.T) {
	t.Parallel()
	page := readPage(pageOfServices(t) + pageOfModels(t))
	asked := expressions(t)
	if len(asked) < 90 {
		t.Fatalf("%d expressions found: this test looks at the wrong place", len(asked))
	}
	records := map[string]bool{}
	for _, e := range asked {
		records[e.records] = true
	}
	for _, e := range asked {
		names, by := namesIn(e.text)
		for _, name := range names {
			if !page.names[name] && !records[name] {
				t.Errorf("%s asks for %s, which /metrics does not have: %s", e.file, name, e.text)
			}
		}
		for _, l := range by {
			if !page.labels[l] {
				t.Errorf("%s asks for a label %s: %s", e.file, l, e.text)
			}
		}
		for _, s := range selector.FindAllStringSubmatch(e.text, -1) {
			if s[1] != "up" && !page.has(s[1], s[2]) {
				t.Errorf("%s asks for %s, and /metrics has no such series: %s", e.file, s[0], e.text)
			}
		}
	}
}

// pageOfServices is /metrics of a gateway that has seen all ways in which a request can end.
func pageOfServices(t *testing.T) string {
	up := mixedUpstream(t)
	g := startGateway(t, "PY_SERVICE_URL="+up.URL, "LLM_SERVICE_URL="+up.URL, "CACHE_ENABLED=true", "RATE_LIMIT_ENABLED=true")
	for _, w := range ways() {
		w.send(g, 1)
	}
	testkit.Eventually(t, "nothing is under way", g.idle)
	return g.Do("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").Body
}

// pageOfModels is /metrics of a gateway with all that it knows of inference: models, keys with budgets, engines, queues, and a cache for
// generations.
func pageOfModels(t *testing.T) string {
	engine, service := startCachingEngine(t), startCounter(t, usageOf(100, 50))
	service.wait = make(chan struct{})
	engine.answers(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "vllm:num_requests_running 2\nvllm:num_requests_waiting 9\nvllm:kv_cache_usage_perc 0.5\n"+
			"vllm:prefix_cache_queries_total 100\nvllm:prefix_cache_hits_total 50\n")
	})
	file := `
global_tpm: 1000000
pools:
  llm: {upstreams: [{url: "` + service.URL + `"}], max_inflight: 1, queue: {size: 4, wait: 10s}}
  engines: {upstreams: [{url: "` + engine.URL + `"}], balance: prefix, engine: vllm}
models:
  - {name: m, pool: llm, limits: {tpm: 100000, tpd: 1000000}}
  - {name: e, pool: engines}
routes:
  - {path: "/v1/*", pool: llm, cache: {post: true, when: always, ttl: 1m}}
`
	keys := keyFile("sk-a , limits: {tpm: 100000, tpd: 1000000, rpm: 100, concurrency: 8}", "sk-b , limits: {rpm: 1}")
	g := serve(t, keyed(t, keys, file, "RATE_LIMIT_ENABLED=false", "ADMIN_TOKEN=the-operators", "CACHE_ENABLED=true"), server.Options{})
	chat := func(key, body string) { g.Do(chatWith(key, body)) }
	chat("sk-a", `{"model":"m","messages":[]}`)
	chat("sk-a", `{"model":"m","messages":[]}`) // from the cache
	chat("sk-a", `{"model":"m","fail":1,"messages":["fail"]}`)
	chat("sk-b", `{"model":"m","messages":[1]}`)
	chat("sk-b", `{"model":"m","messages":[2]}`) // one too many
	chat("sk-a", `{"model":"e","messages":["`+strings.Repeat("long ", 500)+`"]}`)
	chat("sk-unknown", `{"model":"m","messages":[]}`)
	metrics := func() string {
		return g.Do("GET /metrics HTTP/1.1\r\nHost: a\r\n" + withKey("the-operators") + "\r\n\r\n").Body
	}
	var streams sync.WaitGroup
	for n := range 2 { // of which one waits until the other has ended
		streams.Go(func() { chat("sk-a", fmt.Sprintf(`{"model":"m","stream":true,"messages":[%d]}`, n)) })
	}
	testkit.Eventually(t, "a request waits", func() bool { return strings.Contains(metrics(), `queue_depth{pool="llm",class="default"} 1`) })
	close(service.wait)
	streams.Wait()
	testkit.Eventually(t, "the engine was read", func() bool { return strings.Contains(metrics(), "upstream_engine_running{") })
	testkit.Eventually(t, "nothing is under way", g.idle)
	return metrics()
}

// selector is one that says which series of a metric are wanted.
var selector = regexp.MustCompile(`([a-zA-Z_:][a-zA-Z0-9_:]*)\{([^}]*)\}`)

// A metricsPage is what /metrics tells: which metrics and labels there are, and of each metric the labels of its series.
type metricsPage struct {
	names, labels map[string]bool
	series        map[string][]map[string]string
}

func readPage(text string) metricsPage {
	p := metricsPage{names: map[string]bool{"up": true, "ALERTS": true}, labels: map[string]bool{"instance": true, "job": true, "severity": true},
		series: map[string][]map[string]string{}}
	label := regexp.MustCompile(`([a-z_]+)="([^"]*)"`)
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); strings.HasPrefix(line, "# TYPE ") {
			p.names[fields[2]] = true
			if fields[3] == "histogram" || fields[3] == "summary" {
				p.names[fields[2]+"_bucket"], p.names[fields[2]+"_sum"], p.names[fields[2]+"_count"] = true, true, true
			}
			continue
		}
		name, rest, _ := strings.Cut(strings.TrimSpace(line), "{")
		name, _, _ = strings.Cut(name, " ")
		values := map[string]string{}
		for _, pair := range label.FindAllStringSubmatch(rest, -1) {
			p.labels[pair[1]], values[pair[1]] = true, pair[2]
		}
		p.series[name] = append(p.series[name], values)
	}
	return p
}

// has tells whether there is a series of the metric as the matchers want it. What a scrape adds, and what a variable of the dashboard
// stands for, is not asked about.
func (p metricsPage) has(name, matchers string) bool {
	want := regexp.MustCompile(`([a-z_]+)\s*(=~|!~|!=|=)\s*"([^"]*)"`).FindAllStringSubmatch(matchers, -1)
	return slices.ContainsFunc(p.series[name], func(have map[string]string) bool {
		for _, m := range want {
			if m[1] == "instance" || m[1] == "job" || strings.Contains(m[3], "$") {
				continue
			}
			matches := have[m[1]] == m[3]
			if strings.HasSuffix(m[2], "~") {
				matches = regexp.MustCompile("^(?:" + m[3] + ")$").MatchString(have[m[1]])
			}
			if matches == strings.HasPrefix(m[2], "!") {
				return false
			}
		}
		return true
	})
}

type expression struct{ file, text, records string }

// expressions are those of the dashboards and rules in compose.
func expressions(t *testing.T) (all []expression) {
	t.Helper()
	dashboards, _ := filepath.Glob("../../compose/grafana/dashboards/*.json")
	rules, _ := filepath.Glob("../../compose/prometheus*.rules.yml")
	if len(dashboards) == 0 || len(rules) == 0 {
		t.Fatal("no dashboard, or no rules")
	}
	for _, file := range dashboards {
		var d struct {
			Panels []struct {
				Targets []struct{ Expr string }
			}
		}
		if err := json.Unmarshal(read(t, file), &d); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				all = append(all, expression{file: file, text: target.Expr})
			}
		}
	}
	// "expr: …" on its line, or folded below it.
	rule := regexp.MustCompile(`(?m)^ *- (record|alert): (\S+)\n +expr: (?:>-\n((?: {10}.*\n)+)|(.*)\n)`)
	for _, file := range rules {
		found := rule.FindAllStringSubmatch(string(read(t, file)), -1)
		if n := strings.Count(string(read(t, file)), " expr:"); n != len(found) {
			t.Errorf("%s: %d of %d rules could be read", file, len(found), n)
		}
		for _, m := range found {
			e := expression{file: file, text: m[3] + m[4]}
			if m[1] == "record" {
				e.records = m[2]
			}
			all = append(all, e)
		}
	}
	return all
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// namesIn are the metrics and the labels that an expression names.
func namesIn(expr string) (metrics, labels []string) {
	braces := regexp.MustCompile(`\{[^}]*\}`)
	for _, s := range braces.FindAllString(expr, -1) {
		for _, m := range regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)`).FindAllStringSubmatch(s, -1) {
			labels = append(labels, m[1])
		}
	}
	expr = braces.ReplaceAllString(expr, "")
	grouping := regexp.MustCompile(`\b(?:by|without|on|ignoring)\s*\(([^)]*)\)`)
	for _, m := range grouping.FindAllStringSubmatch(expr, -1) {
		labels = append(labels, strings.FieldsFunc(m[1], func(r rune) bool { return r == ',' || r == ' ' })...)
	}
	expr = grouping.ReplaceAllString(expr, "")
	expr = regexp.MustCompile(`\[[^\]]*\]|\boffset \w+|"[^"]*"`).ReplaceAllString(expr, "")
	words := []string{"and", "or", "unless", "bool"}
	for _, m := range regexp.MustCompile(`([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(\(?)`).FindAllStringSubmatch(expr, -1) {
		if m[2] == "" && !slices.Contains(words, m[1]) && !regexp.MustCompile(`^e\d*$`).MatchString(m[1]) {
			metrics = append(metrics, m[1])
		}
	}
	return metrics, labels
}

// TestNamesIn shows that the test above can fail.
func TestNamesIn(t *testing.T) {
	names, labels := namesIn(`histogram_quantile(0.99, sum by (le, route) (rate(a_bucket{x=~"y_z",q!="b"}[5m] offset 1h))) > 1e3 and b:c == bool 0`)
	if !slices.Equal(names, []string{"a_bucket", "b:c"}) || !slices.Equal(labels, []string{"x", "q", "le", "route"}) {
		t.Errorf("%q, %q", names, labels)
	}
	p := readPage("# TYPE a counter\na{x=\"1\",y=\"2\"} 3\na{x=\"2\"} 4\nb 1\n")
	for matchers, want := range map[string]bool{
		`x="1"`: true, `x="1",y="3"`: false, `x=~"1|3",y!=""`: true, `x="2",y=""`: true, `x!~"1|2"`: false, `instance="i",x=~"$x"`: true, `z="1"`: false,
	} {
		if p.has("a", matchers) != want {
			t.Errorf("a{%s}: want %t", matchers, want)
		}
	}
}

// promtool reads the page and the rules as Prometheus will.
func TestPromtool(t *testing.T) {
	if _, err := exec.LookPath("promtool"); err != nil {
		t.Skip("promtool is not installed")
	}
	for _, page := range []string{pageOfServices(t), pageOfModels(t)} {
		check := exec.Command("promtool", "check", "metrics")
		check.Stdin = strings.NewReader(page)
		out, err := check.CombinedOutput()
		for line := range strings.Lines(string(out)) {
			// Names that the contract and the conventions fix, and those of the runtime, are not all as promtool's style wants them.
			if !strings.Contains(line, "go_") && !strings.Contains(line, "process_") && !strings.Contains(line, "gen_ai_") {
				t.Errorf("promtool: %s", line)
			}
		}
		if err != nil && len(out) == 0 {
			t.Error(err)
		}
	}
	rules, _ := filepath.Glob("../../compose/prometheus*.rules.yml")
	if out, err := exec.Command("promtool", append([]string{"check", "rules"}, rules...)...).CombinedOutput(); err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}
