package proxy

import (
	"testing"
	"time"
)

// Who has new requests and begins to answer nobody for a whole turn has fallen silent. Requests that go on without a new one, and
// any head of a response, are no sign of it.
func TestQuiet(t *testing.T) {
	u := poolOf("p2c", 1).Upstreams[0]
	at := time.Minute
	q := quiet{begun: u.begun(), last: at}
	f := func(what string, want bool) {
		t.Helper()
		at += checkEvery
		if got := q.hear(u, at); got != want {
			t.Fatalf("%s: silent is %v", what, got)
		}
	}
	f("nothing to do", false)
	u.inflight.Add(1)
	f("a new request", false)
	f("a turn later", true)
	f("and then", true)
	u.breaker.success(at + 1)
	f("a head", false)
	f("its stream goes on", false)
	f("its stream goes on", false)
	u.inflight.Add(1)
	f("another request", false)
	u.breaker.success(at + 1)
	f("answered at once", false)
	f("both go on", false)
	u.inflight.Add(1)
	f("one more", false)
	u.inflight.Add(-3)
	u.served.Add(3)
	f("all have left", false)
}
