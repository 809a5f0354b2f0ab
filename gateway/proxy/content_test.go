package proxy

import (
	"bytes"
	"strings"
	"testing"
)

// Events are cut where their empty lines are, whole ones only.
func TestCutEvent(t *testing.T) {
	for text, want := range map[string][]string{
		"":                               nil,
		"data: a":                        nil,
		"data: a\n":                      nil,
		"data: a\n\n":                    {"data: a\n"},
		"data: a\r\n\r\ndata: b\n\nc":    {"data: a\r\n", "data: b\n"},
		"data: a\r\n\r":                  nil,
		": x\n\nevent: y\ndata: b\n\n\n": {": x\n", "event: y\ndata: b\n"},
	} {
		var got []string
		for b := []byte(text); ; {
			event, rest, ok := cutEvent(b)
			if !ok {
				break
			}
			got, b = append(got, string(event)), rest
		}
		if strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// The data of an event is that of all its lines, without the one blank behind the name.
func TestDataOf(t *testing.T) {
	for event, want := range map[string]string{
		"data: a\n": "a", "data:a\n": "a", "data:  a\r\n": " a", ": a\n": "", "event: data: a\n": "", "data: a\ndata: b\n": "a\nb",
		"data: a\nid: 1\ndata:b\r\ndata: c\n": "a\nb\nc", "data\n": "", "datax: a\n": "", "\ufeffdata: a\n": "a",
	} {
		if _, got := dataOf(nil, []byte(event)); string(got) != want {
			t.Errorf("%q: got %q, want %q", event, got, want)
		}
	}
}

// Wherever the bytes of a stream are cut into pieces, it is known whether they end with an event.
func TestEnds(t *testing.T) {
	for text, want := range map[string]bool{"": true, "data: a": false, "data: a\n": false, "data: a\n\n": true, "a\r\n\r\n": true, "\n\r": false, "\n\n": true, "a\n\nb": false} {
		for i := range len(text) + 1 {
			var tail Tail
			tail.Pass([]byte(text[:i]))
			tail.Pass(nil)
			tail.Pass([]byte(text[i:]))
			if tail.Ends() != want {
				t.Errorf("%q, cut at %d: %v", text, i, tail.Ends())
			}
		}
	}
}

// Whatever an upstream sends, events are parts of it in their order, and looking for them ends.
func FuzzCutEvent(f *testing.F) {
	f.Add([]byte("data: a\r\n\r\n: b\n\ndata"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for rest := b; ; {
			event, more, ok := cutEvent(rest)
			if !ok {
				return
			}
			if len(more) >= len(rest) || !bytes.HasPrefix(rest, event) || !bytes.HasSuffix(rest, more) || bytes.Contains(event, []byte("\n\n")) {
				t.Fatalf("%q: %q and %q", rest, event, more)
			}
			if _, data := dataOf(nil, event); len(data) > len(event) {
				t.Fatalf("%q: data %q", event, data)
			}
			rest = more
		}
	})
}
