package main

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

func TestFlags(t *testing.T) {
	for _, args := range []string{"-parallel 0", "more", "-nope"} {
		if command(strings.Fields(args), io.Discard, io.Discard) != exitUsage {
			t.Errorf("%q is taken", args)
		}
	}
}

// All scenarios with short times, against the binary: each as the law says.
func TestScenarios(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and starts the gateway")
	}
	var out, faults bytes.Buffer
	if command([]string{"-short", "-parallel", "8"}, &out, &faults) != 0 {
		t.Errorf("%s%s", &faults, &out)
	}
}

// What a client has seen is judged by what it can know.
func TestJudge(t *testing.T) {
	for want, list := range map[verdict][]result{
		pass: {{status: 200, text: allWords, done: true}, {status: 200, text: allWords}},
		safe: {{status: 503, told: "busy"}, {status: 200, text: "w0 ", err: io.ErrUnexpectedEOF}, {status: 200, text: "w0 ", told: "upstream_cut", err: io.ErrUnexpectedEOF}},
		fail: {{status: 200, text: "w0 ", done: true}, {status: 200, text: "w0 w0 ", err: io.ErrUnexpectedEOF}, {status: 200, text: "w0 ", told: "upstream_cut"}, {status: 500}},
	} {
		for _, r := range list {
			if got, note := r.judge(); got != want {
				t.Errorf("%+v: %s, %s; want %s", r, got, note, want)
			}
		}
	}
}
