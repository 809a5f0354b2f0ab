package stack

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// releases is what is used here of a configuration of GoReleaser; a name that is not there is a slip of the keyboard.
type releases struct {
	Version     int    `json:"version"`
	ProjectName string `json:"project_name"`
	Builds      []struct {
		ID           string   `json:"id"`
		Main         string   `json:"main"`
		Binary       string   `json:"binary"`
		Env          []string `json:"env"`
		Flags        []string `json:"flags"`
		Ldflags      []string `json:"ldflags"`
		ModTimestamp string   `json:"mod_timestamp"`
		Goos         []string `json:"goos"`
		Goarch       []string `json:"goarch"`
	} `json:"builds"`
	Archives []struct {
		Formats      []string `json:"formats"`
		NameTemplate string   `json:"name_template"`
		Files        []string `json:"files"`
	} `json:"archives"`
	Checksum  map[string]string `json:"checksum"`
	Snapshot  map[string]string `json:"snapshot"`
	Changelog struct {
		Disable bool `json:"disable"`
	} `json:"changelog"`
}

// What is released is what make build makes, with files that are there, and the changelog that is kept by hand.
func TestReleases(t *testing.T) {
	var r releases
	if err := yaml.UnmarshalStrict([]byte(read(t, ".goreleaser.yaml")), &r); err != nil || r.Version != 2 || len(r.Builds) != 1 || len(r.Archives) != 1 {
		t.Fatalf("%v: %+v", err, r)
	}
	b, makefile := r.Builds[0], read(t, "Makefile")
	if found, err := filepath.Glob(at(b.Main, "main.go")); err != nil || len(found) != 1 || b.Main != "./gateway" || !slices.Equal(b.Env, []string{"CGO_ENABLED=0"}) {
		t.Errorf("%+v", b)
	}
	for _, flag := range append(b.Flags, "-X main.version=") {
		if !strings.Contains(makefile, flag) || !strings.Contains(strings.Join(append(b.Flags, b.Ldflags...), " "), flag) {
			t.Errorf("make build and the release differ in %s", flag)
		}
	}
	if !strings.Contains(read(t, "gateway/main.go"), "\nvar version = ") {
		t.Error("there is no main.version")
	}
	for _, pattern := range r.Archives[0].Files {
		if found, err := filepath.Glob(at(pattern)); err != nil || len(found) == 0 {
			t.Errorf("there is no %s", pattern)
		}
	}
	if !r.Changelog.Disable || !slices.Contains(r.Archives[0].Files, "compose/CHANGELOG.md") {
		t.Error("a changelog is made, beside the one that is kept")
	}
}
