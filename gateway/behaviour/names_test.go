package behaviour

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Every metric that the Grafana dashboard and the alerts ask for is on the page, and what they ask about it too.
func TestDashboardsAskForWhatThereIs(t *testing.T) {
	t.Parallel()
	up := mixedUpstream(t)
	g := startGateway(t, "PY_SERVICE_URL="+up.URL, "LLM_SERVICE_URL="+up.URL, "CACHE_ENABLED=true", "RATE_LIMIT_ENABLED=true")
	for _, w := range ways() {
		w.send(g, 1)
	}
	there := map[string]bool{"up": true, "ALERTS": true}
	labels := map[string]bool{"instance": true, "job": true, "severity": true}
	page := g.Do("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").Body
	for line := range strings.Lines(page) {
		if fields := strings.Fields(line); strings.HasPrefix(line, "# TYPE ") {
			there[fields[2]] = true
			if fields[3] == "histogram" || fields[3] == "summary" {
				there[fields[2]+"_bucket"], there[fields[2]+"_sum"], there[fields[2]+"_count"] = true, true, true
			}
		} else if _, rest, ok := strings.Cut(line, "{"); ok {
			for _, pair := range regexp.MustCompile(`([a-z_]+)="`).FindAllStringSubmatch(rest, -1) {
				labels[pair[1]] = true
			}
		}
	}
	asked := expressions(t)
	if len(asked) < 30 {
		t.Fatalf("%d expressions found: this test looks at the wrong place", len(asked))
	}
	records := map[string]bool{}
	for _, e := range asked {
		records[e.records] = true
	}
	for _, e := range asked {
		names, by := namesIn(e.text)
		for _, name := range names {
			if !there[name] && !records[name] {
				t.Errorf("%s asks for %s, which /metrics does not have: %s", e.file, name, e.text)
			}
		}
		for _, l := range by {
			if !labels[l] {
				t.Errorf("%s asks for a label %s: %s", e.file, l, e.text)
			}
		}
	}
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
	selector := regexp.MustCompile(`\{[^}]*\}`)
	for _, s := range selector.FindAllString(expr, -1) {
		for _, m := range regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)`).FindAllStringSubmatch(s, -1) {
			labels = append(labels, m[1])
		}
	}
	expr = selector.ReplaceAllString(expr, "")
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
}

// promtool reads the page and the rules as Prometheus will.
func TestPromtool(t *testing.T) {
	if _, err := exec.LookPath("promtool"); err != nil {
		t.Skip("promtool is not installed")
	}
	up := mixedUpstream(t)
	g := startGateway(t, "PY_SERVICE_URL="+up.URL, "LLM_SERVICE_URL="+up.URL, "CACHE_ENABLED=true", "RATE_LIMIT_ENABLED=true")
	for _, w := range ways() {
		w.send(g, 1)
	}
	check := exec.Command("promtool", "check", "metrics")
	check.Stdin = strings.NewReader(g.Do("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").Body)
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
	rules, _ := filepath.Glob("../../compose/prometheus*.rules.yml")
	if out, err := exec.Command("promtool", append([]string{"check", "rules"}, rules...)...).CombinedOutput(); err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}
