package config

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the generated settings table into README.md")

// The README of this room has the table of settings is the one that the declarations make.
func TestREADMEHasTheSettings(t *testing.T) {
	const file, from, to = "README.md", "-->\n", "<!-- /settings -->"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(text), "<!-- settings:")
	marker, rest, ok2 := strings.Cut(rest, from)
	table, tail, ok3 := strings.Cut(rest, to)
	if !ok || !ok2 || !ok3 {
		t.Fatal("README.md has lost the marks around its settings table")
	}
	if table == Table() {
		return
	}
	if !*update {
		t.Fatal("README.md has another settings table than config.go; write it anew with: go test ./gateway/config -run README -update")
	}
	whole := head + "<!-- settings:" + marker + from + Table() + to + tail
	if err := os.WriteFile(file, []byte(whole), 0o644); err != nil {
		t.Fatal(err)
	}
}
