package stack

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func promtool(t *testing.T, args ...string) {
	t.Helper()
	if _, err := exec.LookPath("promtool"); err != nil {
		t.Skip("promtool is not installed; Debian has it in the package prometheus")
	}
	c := exec.Command("promtool", args...)
	c.Dir = at("compose")
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestPrometheusConfig(t *testing.T) { promtool(t, "check", "config", "prometheus.yml") }

// Those of hours are evaluated once a minute.
var ruleTests = []string{"prometheus.rules.test.yml", "prometheus.rules.hours.test.yml"}

// Each alert fires when it should, and not when it should not.
func TestPrometheusRules(t *testing.T) {
	promtool(t, append([]string{"test", "rules"}, ruleTests...)...)
}

// Whoever is woken is told what is wrong, where to look and what to do, not for a moment's sake, and each alert has a test.
func TestAlerts(t *testing.T) {
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert       string            `json:"alert"`
				For         string            `json:"for"`
				Annotations map[string]string `json:"annotations"`
				Labels      map[string]string `json:"labels"`
			} `json:"rules"`
		} `json:"groups"`
	}
	text := read(t, "compose/prometheus.rules.yml")
	if err := yaml.Unmarshal([]byte(text), &rules); err != nil {
		t.Fatal(err)
	}
	alerts, runbook := 0, read(t, "compose/alerts.md")
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			if r.Alert == "" {
				continue
			}
			alerts++
			if r.Annotations["summary"] == "" || r.Annotations["description"] == "" || r.Labels["severity"] == "" {
				t.Errorf("%s does not say what is wrong, where to look and how bad it is", r.Alert)
			}
			if r.For == "" {
				t.Errorf("%s comes at once, whether it lasts or not", r.Alert)
			}
			mark, known := map[string]string{"critical": "**", "warning": "*", "info": ""}[r.Labels["severity"]]
			if row := "\n| " + mark + r.Alert + mark + " | "; !known || !strings.Contains(runbook, row) {
				t.Errorf("alerts.md does not say what to do about %s, which is %q", r.Alert, r.Labels["severity"])
			}
			if !slices.ContainsFunc(ruleTests, func(file string) bool { return strings.Contains(read(t, "compose/"+file), "alertname: "+r.Alert) }) {
				t.Errorf("%s has no test", r.Alert)
			}
		}
	}
	if rows := strings.Count(runbook, "\n| ") - 1; alerts == 0 || rows != alerts {
		t.Errorf("%d alerts, and what to do about %d", alerts, rows)
	}
}

// Grafana is told of one source and of the directory that the dashboards are mounted at.
func TestGrafana(t *testing.T) {
	var sources struct {
		Datasources []struct{ UID, Type, URL string } `json:"datasources"`
	}
	if err := yaml.Unmarshal([]byte(read(t, "compose/grafana/provisioning/datasources/prometheus.yml")), &sources); err != nil {
		t.Fatal(err)
	}
	if s := sources.Datasources; len(s) != 1 || s[0].Type != "prometheus" || s[0].URL != "http://prometheus:9090" {
		t.Fatalf("%+v", s)
	}
	var providers struct {
		Providers []struct {
			Type    string
			Options struct{ Path string }
		} `json:"providers"`
	}
	if err := yaml.Unmarshal([]byte(read(t, "compose/grafana/provisioning/dashboards/files.yml")), &providers); err != nil {
		t.Fatal(err)
	}
	mounted := false
	for _, v := range project(t, nil, "compose.yaml").Services["grafana"].Volumes {
		mounted = mounted || len(providers.Providers) == 1 && v.Target == providers.Providers[0].Options.Path
	}
	if !mounted {
		t.Error("the dashboards are not mounted where Grafana looks for them")
	}
	files, _ := filepath.Glob(at("compose/grafana/dashboards/*.json"))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var dashboard struct{ UID, Title string }
		if err := json.Unmarshal(text, &dashboard); err != nil || dashboard.UID == "" || dashboard.Title == "" {
			t.Errorf("%s: uid %q, title %q, %v", filepath.Base(file), dashboard.UID, dashboard.Title, err)
		}
	}
}

// panel is what is looked at of a panel of a dashboard.
type panel struct {
	ID          int
	Title       string
	Type        string
	GridPos     struct{ X, Y, W, H int }
	Targets     []struct{ Expr, RefID string }
	FieldConfig struct {
		Defaults struct{ Unit string }
	}
	Datasource struct{ Type, UID string }
}

// Every expression of the dashboards is PromQL, and panels stand beside each other.
func TestDashboardPanels(t *testing.T) {
	files, _ := filepath.Glob(at("compose/grafana/dashboards/*.json"))
	if len(files) < 2 {
		t.Fatal(files)
	}
	rules := "groups:\n  - name: dashboards\n    rules:\n"
	n := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var dashboard struct{ Panels []panel }
		if err := json.Unmarshal(text, &dashboard); err != nil {
			t.Fatal(err)
		}
		ids, taken := map[int]string{}, map[[2]int]string{}
		for _, p := range dashboard.Panels {
			fault := func(what string) { t.Errorf("%s: panel %q %s", filepath.Base(file), p.Title, what) }
			if other, twice := ids[p.ID]; twice {
				fault("has the id of " + other)
			}
			ids[p.ID] = p.Title
			for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
				for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
					if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
						fault("stands where another one does, or beyond the edge: " + other)
					}
					taken[[2]int{x, y}] = p.Title
				}
			}
			if p.Type != "row" && (len(p.Targets) == 0 || p.FieldConfig.Defaults.Unit == "" || p.Datasource.UID != "${datasource}") {
				fault("asks for nothing, in no unit, or a source of its own")
			}
			for _, target := range p.Targets {
				expr := strings.NewReplacer("$__rate_interval", "1m", "$__interval", "1m", "$", "").Replace(target.Expr)
				n++
				rules += "      - record: panel_" + strconv.Itoa(n) + "\n        expr: " + strconv.Quote(expr) + "\n"
			}
		}
	}
	path := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(path, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", path)
}
