package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each recipe is a file that the gateway starts with, short enough to read.
func TestRecipes(t *testing.T) {
	files, err := filepath.Glob("../compose/recipes/*.yaml")
	if err != nil || len(files) < 6 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		var stdout, stderr bytes.Buffer
		if code := run([]string{"-check", "-config", file}, []string{"PROVIDER_KEY=sk-any"}, &stdout, &stderr); code != 0 || stderr.Len() > 0 {
			t.Errorf("%s: %d, %s%s", file, code, &stdout, &stderr)
		}
		text, err := os.ReadFile(file)
		if n := strings.Count(string(text), "\n"); err != nil || n > 12 || !strings.HasPrefix(string(text), "# ") {
			t.Errorf("%s: %d lines, %v", file, n, err)
		}
	}
}
