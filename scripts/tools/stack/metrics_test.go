package stack

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
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

// Each alert fires when it should, and not when it should not.
func TestPrometheusRules(t *testing.T) { promtool(t, "test", "rules", "prometheus.rules.test.yml") }

// Whoever is woken is told what is wrong and where to look, and each alert has a test.
func TestAlerts(t *testing.T) {
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert       string            `json:"alert"`
				Annotations map[string]string `json:"annotations"`
				Labels      map[string]string `json:"labels"`
			} `json:"rules"`
		} `json:"groups"`
	}
	text := read(t, "compose/prometheus.rules.yml")
	if err := yaml.Unmarshal([]byte(text), &rules); err != nil {
		t.Fatal(err)
	}
	alerts := 0
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			if r.Alert == "" {
				continue
			}
			alerts++
			if r.Annotations["summary"] == "" || r.Annotations["description"] == "" || r.Labels["severity"] == "" {
				t.Errorf("%s does not say what is wrong, where to look and how bad it is", r.Alert)
			}
			if !strings.Contains(read(t, "compose/prometheus.rules.test.yml"), "alertname: "+r.Alert) {
				t.Errorf("%s has no test", r.Alert)
			}
		}
	}
	if alerts == 0 {
		t.Error("no alert at all")
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
