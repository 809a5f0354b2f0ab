package behaviour

import (
	"fmt"
	"strings"
	"testing"

	"aigateway/gateway/testkit"
)

// Sizes that are padded to one width, or have an extension each, are no reason to end a long body, in neither direction.
func TestPaddedChunkSizes(t *testing.T) {
	t.Parallel()
	for name, line := range map[string]string{
		"blanks":    "%x       \r\n%s\r\n",
		"extension": "%x;n=0123456789abcdef\r\n%s\r\n",
		"signed":    "%x;chunk-signature=" + strings.Repeat("0a", 32) + "\r\n%s\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			const events = 12_000
			event := "data: " + strings.Repeat("x", 24) + "\n\n"
			body := strings.Repeat(fmt.Sprintf(line, len(event), event), events) + "0\r\n\r\n"
			uploads := make(chan testkit.Message, 1)
			up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
				uploads <- c.ReadRequest()
				c.Send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
				c.Send("%s", body)
			})
			g := startGateway(t, "PY_SERVICE_URL="+up.URL)
			want := strings.Repeat(event, events)
			m := g.Do("POST /infer/python HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
			if m.Status() != 200 || m.Err != nil || m.Body != want {
				t.Errorf("the answer: %q, %d of %d bytes, %v", m.First, len(m.Body), len(want), m.Err)
			}
			if len(uploads) == 0 {
				t.Fatal("the upload never came")
			}
			if up := <-uploads; up.Body != want {
				t.Errorf("the upload: %d of %d bytes, %v", len(up.Body), len(want), up.Err)
			}
		})
	}
}
