package telemetry

import (
	"strings"
	"testing"
	"time"
)

// An event is counted when it ends, wherever the pieces end.
func TestEvents(t *testing.T) {
	f := func(text string, want uint64) {
		t.Helper()
		for size := 1; size <= len(text)+1; size++ {
			var e Events
			for rest := text; len(rest) > 0; {
				n := min(size, len(rest))
				e.Pass([]byte(rest[:n]))
				rest = rest[n:]
			}
			if e.N != want {
				t.Errorf("%q in pieces of %d: %d events, want %d", text, size, e.N, want)
			}
		}
	}
	f("", 0)
	f("data: a\n\n", 1)
	f("data: a\n\ndata: b\n\n", 2)
	f("event: x\ndata: a\ndata: b\n\n", 1)
	f("data: a\r\n\r\ndata: b\r\n\r\n", 2)
	f(": keep-alive\n\n: again\r\n\r\n", 0)
	f(": said\ndata: a\n\n\n\n\n", 1)
	f("data: cut", 0)
	f("data: cut\n", 0)
	f("\n\n\n", 0)
	f(strings.Repeat("data: x\n\n", 20), 20)
}

func TestStreams(t *testing.T) {
	m := New(testOptions())
	m.BeginStream()
	m.BeginStream()
	m.EndStream(2*time.Second, 20)
	text := page(m)
	for _, want := range []string{"streams_open 1", "stream_events_sum 20", "stream_duration_seconds_sum 2", `stream_events_bucket{le="10"} 0`, `stream_events_bucket{le="20"} 1`} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("no %s", want)
		}
	}
	var off *Metrics
	off.BeginStream()
	off.EndStream(1, 1)
	var gen Generation
	off.GenAI().Begin(&gen, Chat, 1, "")
	off.GenAI().Pass(&gen, []byte("x"))
	off.GenAI().End(&gen, &Ended{How: Failed, At: 1, First: 1})
}
