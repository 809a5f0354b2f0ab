package server

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

// What is logged of a target is its path, and nothing that names who asks.
func TestShownPath(t *testing.T) {
	f := func(target, want string) {
		t.Helper()
		if got := string(shownPath([]byte(target))); got != want {
			t.Errorf("%q: %q, want %q", target, got, want)
		}
	}
	f("/a/b?key=secret", "/a/b")
	f("/", "/")
	f("*", "*")
	f("", "")
	f("http://u:secret@h/a/b?c", "/a/b")
	f("http://u:secret@h", "")
	f("http://u:secret@h?a/b", "")
	f("//u:secret@h/a//b", "/a//b")
	f(`/\u:secret@h/a`, "/a")
	f("//", "")
	f("u:secret@h:443", "")
	f("secret/a", "")
}

// fasthttp's words about a request that is none hold the beginning of it.
func TestFasthttpLogShowsNoRequest(t *testing.T) {
	var b bytes.Buffer
	l := fasthttpLog{slog.New(slog.NewJSONHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	l.Printf("error when serving connection %q<->%q: %v", "a:1", "b:2", errors.New(`cannot find whitespace in the first line of request "GET /?key=secret"`))
	if got := b.String(); strings.Contains(got, "secret") || !strings.Contains(got, "a:1") || !strings.Contains(got, "no request") {
		t.Error(got)
	}
}
