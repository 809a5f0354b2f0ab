package main

import (
	"io"
	"strings"
	"testing"
	"time"
)

func TestFlags(t *testing.T) {
	for _, args := range []string{"more", "-time 0s", "-flood 0", "-nothing"} {
		if code := command(strings.Fields(args), io.Discard, io.Discard); code != exitUsage {
			t.Errorf("%q: exit %d", args, code)
		}
	}
}

// A short run takes place, and loses nothing.
func TestMeasure(t *testing.T) {
	results, err := measure(600*time.Millisecond, 40, "")
	if err != nil || len(results) != 2 {
		t.Fatal(results, err)
	}
	for _, r := range results {
		if r.Failed > 0 || r.Busy == 0 {
			t.Errorf("%+v", r)
		}
	}
	var out strings.Builder
	if table(&out, results); !strings.Contains(out.String(), "Jain") {
		t.Error(out.String())
	}
}
