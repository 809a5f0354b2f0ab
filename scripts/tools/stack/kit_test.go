package stack

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// root is the top of the repository.
const root = "../../.."

func at(parts ...string) string { return filepath.Join(append([]string{root}, parts...)...) }

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(at(file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// settings is every variable of the settings table.
func settings(t *testing.T) []string {
	t.Helper()
	table := regexp.MustCompile(`(?s)<!-- settings: .*?<!-- /settings -->`).FindString(read(t, "gateway/config/README.md"))
	var names []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([A-Z0-9_]+)` ").FindAllStringSubmatch(table, -1) {
		names = append(names, m[1])
	}
	if len(names) < 20 {
		t.Fatalf("the table of settings has %d lines", len(names))
	}
	return names
}
