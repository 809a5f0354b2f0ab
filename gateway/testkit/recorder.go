package testkit

import (
	"strings"
	"sync"
	"testing"
)

// A recorder is an upstream that answers every request with its own first line and keeps what it saw.
type Recorder struct {
	*Upstream
	mu   sync.Mutex
	seen []Message
	cut  []Message // requests that began and never became whole
}

// StartRecorder starts a recorder.
func StartRecorder(t testing.TB) *Recorder {
	r := &Recorder{}
	r.Upstream = StartUpstream(t, func(n int, c *Peer) {
		for {
			m := c.ReadRequest()
			r.mu.Lock()
			switch {
			case m.Err == nil:
				r.seen = append(r.seen, m)
			case m.First != "":
				r.cut = append(r.cut, m)
			}
			r.mu.Unlock()
			if m.Err != nil {
				return
			}
			if strings.HasPrefix(m.First, "HEAD ") {
				c.Send("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(m.First))
				continue
			}
			c.Send("%s", Answer(m.First))
		}
	})
	return r
}

// Whole are the whole requests seen so far.
func (r *Recorder) Whole() []Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Message(nil), r.seen...)
}

// Broken are the requests seen so far that ended before they were whole.
func (r *Recorder) Broken() []Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Message(nil), r.cut...)
}

// Reset forgets what was seen.
func (r *Recorder) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen, r.cut = nil, nil
}
