package telemetry

import (
	"testing"
	"time"
)

// Nothing is allocated to count a request, once its series are there.
func TestAlloc(t *testing.T) {
	m := New(testOptions())
	r, u := m.Route("/v1/*"), m.Upstream("llm", "http://c:80")
	f := func(name string, count func()) {
		t.Helper()
		count()
		if allocs := testing.AllocsPerRun(10_000, count); allocs != 0 {
			t.Errorf("%s: %v allocations", name, allocs)
		}
	}
	post, odd := []byte("POST"), []byte("A-METHOD-THAT-NOBODY-KNOWS-AND-THAT-IS-LONG")
	f("Route.Done", func() { r.Done(post, 200, time.Second, time.Microsecond) })
	f("Route.Done, odd", func() { r.Done(odd, -7, time.Second, time.Microsecond) })
	f("Route.FirstByte", func() { r.FirstByte(time.Second) })
	f("Upstream.Done", func() { u.Done(502, time.Second) })
	f("Upstream.Error", func() { u.Error("truncated"); u.Error("odd") })
	f("Retry", func() { m.Retry("unreachable"); m.Retry("odd") })
	f("Cancel", func() { m.Cancel("streaming"); m.Cancel("odd") })
	f("Truncated", m.Truncated)
	f("Panic", m.Panic)
	f("Route", func() { m.Route("/v1/*") })
	f("Upstream", func() { m.Upstream("llm", "http://c:80") })
}
