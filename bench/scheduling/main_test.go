package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Going by prefix finds nearly what the oracle finds, and is better than p2c whatever engines say. The bars are those of the contract, with
// room for the draws of one workload.
func TestSchedules(t *testing.T) {
	got := make(map[string]result)
	for _, p := range policies() {
		if strings.Contains(p.name, "replicas") || p.name == "round_robin" {
			continue
		}
		r := result{Policy: p.name}
		r.add(run(newWork(7, 70), p, 7))
		r.finish()
		got[p.name] = r
	}
	oracle, p2c := got["oracle"], got["p2c"]
	if r := got["prefix"]; r.Found < 0.95*oracle.Found || r.P90 > 1.25*oracle.P90 {
		t.Errorf("found %.3f, p90 %.0f ms; by the oracle %.3f, %.0f ms", r.Found, r.P90, oracle.Found, oracle.P90)
	}
	for name, r := range got {
		if strings.HasPrefix(name, "prefix") && (r.Found < p2c.Found || r.P90 > p2c.P90) {
			t.Errorf("%s is worse than p2c: found %.3f, p90 %.0f ms, and %.3f, %.0f ms", name, r.Found, r.P90, p2c.Found, p2c.P90)
		}
	}
}

func TestCommand(t *testing.T) {
	var out, errs bytes.Buffer
	for _, args := range [][]string{{"-seeds", "0"}, {"x"}, {"-nonsense"}} {
		if code := command(args, &out, &errs); code != exitUsage {
			t.Errorf("%v: exit code %d", args, code)
		}
	}
	file := filepath.Join(t.TempDir(), "out.json")
	if code := command([]string{"-seeds", "1", "-conversations", "8", "-json", file}, &out, &errs); code != 0 {
		t.Fatalf("exit code %d: %s", code, &errs)
	}
	text, err := os.ReadFile(file)
	var results []result
	if err != nil || json.Unmarshal(text, &results) != nil || len(results) != len(policies()) || !strings.Contains(out.String(), "prefix, no metrics") {
		t.Errorf("%v, %d results, %s", err, len(results), &out)
	}
}
