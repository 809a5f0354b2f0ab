package server

import (
	"fmt"
	"strings"
	"testing"
)

// Sizes that are padded to one width, or have an extension each, are no reason to end a long body, in neither direction.
func TestPaddedChunkSizes(t *testing.T) {
	for name, line := range map[string]string{
		"blanks":    "%x       \r\n%s\r\n",
		"extension": "%x;n=0123456789abcdef\r\n%s\r\n",
		"signed":    "%x;chunk-signature=" + strings.Repeat("0a", 32) + "\r\n%s\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			const events = 12_000
			event := "data: " + strings.Repeat("x", 24) + "\n\n"
			body := strings.Repeat(fmt.Sprintf(line, len(event), event), events) + "0\r\n\r\n"
			uploads := make(chan message, 1)
			up := startUpstream(t, func(_ int, c *peer) {
				uploads <- c.readRequest()
				c.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
				c.send("%s", body)
			})
			g := startGateway(t, "PY_SERVICE_URL="+up.URL)
			want := strings.Repeat(event, events)
			m := g.do("POST /infer/python HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
			if m.status() != 200 || m.err != nil || m.body != want {
				t.Errorf("the answer: %q, %d of %d bytes, %v", m.first, len(m.body), len(want), m.err)
			}
			if len(uploads) == 0 {
				t.Fatal("the upload never came")
			}
			if up := <-uploads; up.body != want {
				t.Errorf("the upload: %d of %d bytes, %v", len(up.body), len(want), up.err)
			}
		})
	}
}
