package stack

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rhysd/actionlint"
	"sigs.k8s.io/yaml"
)

func TestWorkflows(t *testing.T) {
	files, err := filepath.Glob(at(".github/workflows/*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no workflow: %v", err)
	}
	var out bytes.Buffer
	// shellcheck and pyflakes are not looked for: what they say depends on the machine.
	linter, err := actionlint.NewLinter(&out, &actionlint.LinterOptions{Shellcheck: "", Pyflakes: ""})
	if err != nil {
		t.Fatal(err)
	}
	faults, err := linter.LintFiles(files, nil)
	if err != nil || len(faults) > 0 {
		t.Errorf("%v\n%s", err, out.String())
	}
	pinned := regexp.MustCompile(`^[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^\s*(?:- )?uses: (.*)$`).FindAllStringSubmatch(string(text), -1) {
			if !pinned.MatchString(m[1]) {
				t.Errorf("%s: %s is not pinned by commit, with its version beside it", filepath.Base(file), m[1])
			}
		}
		for _, m := range regexp.MustCompile(`\bmake ([a-z][a-z0-9-]*)`).FindAllStringSubmatch(string(text), -1) {
			if !strings.Contains(read(t, "Makefile"), "\n"+m[1]+":") {
				t.Errorf("%s: there is no `make %s`", filepath.Base(file), m[1])
			}
		}
	}
}

// The updates look into directories that are there and have what they look for.
func TestDependencyUpdates(t *testing.T) {
	var config struct {
		Version int `json:"version"`
		Updates []struct {
			Ecosystem   string         `json:"package-ecosystem"`
			Directory   string         `json:"directory"`
			Directories []string       `json:"directories"`
			Schedule    map[string]any `json:"schedule"`
			Groups      map[string]any `json:"groups"`
		} `json:"updates"`
	}
	if err := yaml.UnmarshalStrict([]byte(read(t, ".github/dependabot.yml")), &config); err != nil || config.Version != 2 {
		t.Fatalf("version %d: %v", config.Version, err)
	}
	looksFor := map[string]string{
		"gomod": "go.mod", "pip": "requirements.txt", "npm": "package-lock.json", "docker": "*Dockerfile", "docker-compose": "compose.yaml",
		"github-actions": ".github/workflows/*.yml",
	}
	seen := map[string]bool{}
	for _, update := range config.Updates {
		seen[update.Ecosystem] = true
		for _, dir := range append(update.Directories, update.Directory) {
			if found, _ := filepath.Glob(at(dir, looksFor[update.Ecosystem])); dir != "" && len(found) == 0 {
				t.Errorf("%s: no %s in %s", update.Ecosystem, looksFor[update.Ecosystem], dir)
			}
		}
	}
	if len(seen) != len(looksFor) {
		t.Errorf("updated are only %v", seen)
	}
}
