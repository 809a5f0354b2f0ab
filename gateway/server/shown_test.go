package server

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

// fasthttp's words about a request that is none hold the beginning of it.
func TestFasthttpLogShowsNoRequest(t *testing.T) {
	var b bytes.Buffer
	l := fasthttpLog{slog.New(slog.NewJSONHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	l.Printf("error when serving connection %q<->%q: %v", "a:1", "b:2", errors.New(`cannot find whitespace in the first line of request "GET /?key=secret"`))
	if got := b.String(); strings.Contains(got, "secret") || !strings.Contains(got, "a:1") || !strings.Contains(got, "no request") {
		t.Error(got)
	}
}
