package behaviour

import (
	"testing"
	"time"

	"aigateway/gateway/testkit"
)

// A refused client that sends on does not hold up the end of the gateway.
func TestShutdownDoesNotWaitForWhoSendsOn(t *testing.T) {
	t.Parallel()
	g := startGateway(t, "MAX_BODY_BYTES=10")
	c := g.Dial()
	c.Send("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
	go func() {
		for {
			if _, err := c.Write([]byte("x")); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond) // at its own pace
		}
	}()
	if m := c.ReadResponse(); m.Status() != 413 {
		t.Fatalf("got %q, %v", m.First, m.Err)
	}
	testkit.Eventually(t, "the connection lingers", func() bool { return g.Parts().Listener.Lingering() == 1 })
	if cut := ended(t, g.shutdownNow(15*time.Second), 10*time.Second); cut != 0 {
		t.Errorf("%d connections were cut", cut)
	}
}
