package telemetry

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// What a reload takes away has no series any more, though requests may be under way that count to it; totals stay.
func TestKeep(t *testing.T) {
	o := testOptions()
	o.QueueClasses, o.ShedReasons = []string{"default"}, []string{"full"}
	o.QueueState = func(string) QueueState { return QueueState{Waiting: []int64{3}, Shed: []int64{4}} }
	m := New(o)
	for _, pool := range []string{"llm", "python", "none"} {
		m.Waited(pool, "default", time.Second)
		m.Waited(pool, "none", time.Second)
	}
	for _, there := range []string{`queue_depth{pool="llm",class="default"} 3`, `queue_wait_seconds_count{pool="llm",class="default"} 1`,
		`queue_shed_total{pool="llm",reason="full"} 4`} {
		if !strings.Contains(page(m), there+"\n") {
			t.Errorf("%s is not there", there)
		}
	}
	routes, pools := []string{"/new"}, map[string][]string{"python": {"http://a:8001"}}
	count := func(r *Route, u *Upstream, code int) {
		r.Done([]byte("POST"), code, time.Second, time.Millisecond)
		r.FirstByte(time.Second)
		u.Done(code, time.Second)
		u.Error("truncated")
	}
	route, up, stays := m.Route("/v1/*"), m.Upstream("llm", "http://c:80"), m.Upstream("python", "http://a:8001")
	count(route, up, 200)
	count(route, stays, 200)
	m.Add(routes, pools)
	before := m.Snapshot(nil, nil)
	m.Keep(routes, pools)
	for range 3 {
		count(route, up, 200) // as before, with another code and with another method
		count(route, up, 201)
		route.Done([]byte("PUT"), 200, 0, 0)
		text := page(m)
		for _, gone := range []string{`"/v1/*"`, `"/infer/python"`, `"llm"`, `"http://c:80"`, `"http://b:8001"`} {
			if strings.Contains(text, gone) {
				t.Errorf("%s is still there", gone)
			}
		}
		scrape(t, m) // and it parses
	}
	if got := value(t, m, `upstream_requests_total{pool="python",upstream="http://a:8001",code="200"}`); got != 1 {
		t.Errorf("what stays has counted %v", got)
	}
	overhead := value(t, m, "gateway_overhead_seconds")
	m.Keep(routes, pools) // the next one
	after := m.Snapshot(nil, nil)
	if n := before.Requests.Total + 9; after.Requests.Total != n || value(t, m, "gateway_overhead_seconds") != overhead || overhead != float64(n) {
		t.Errorf("%d requests became %d, overheads %v", before.Requests.Total, after.Requests.Total, overhead)
	}
	if !up.Gone() || stays.Gone() {
		t.Error("who is gone is not known")
	}
	m.Add([]string{"/v1/*"}, o.Pools)
	count(m.Route("/v1/*"), m.Upstream("llm", "http://c:80"), 200)
	if got := value(t, m, `http_requests_total{route="/v1/*",method="POST",code="200"}`); got != 1 {
		t.Errorf("what is back has counted %v", got)
	}
	((*Metrics)(nil)).Keep(nil, nil)
}

// However often it is reloaded, and whatever is under way, the page does not grow.
func TestKeepIsBounded(t *testing.T) {
	m := New(testOptions())
	var first int
	var wg sync.WaitGroup
	for i := range 50 {
		template, url := fmt.Sprintf("/r%d", i), fmt.Sprintf("http://h%d:80", i)
		pools := map[string][]string{"llm": {url}, fmt.Sprint("p", i): {url}}
		m.Add([]string{template}, pools)
		r, u := m.Route(template), m.Upstream("llm", url)
		r.Done([]byte("GET"), 200, 0, 0)
		u.Done(200, 0)
		wg.Go(func() { // while it goes
			for code := range 100 {
				r.Done([]byte("POST"), 300+code, 0, 0)
				u.Done(300+code, 0)
			}
		})
		m.Keep([]string{template}, pools)
		if i == 0 {
			first = seriesCount(m)
		}
	}
	m.Add([]string{"/r0"}, map[string][]string{"llm": {"http://h0:80"}, "p0": {"http://h0:80"}})
	m.Keep([]string{"/r0"}, map[string][]string{"llm": {"http://h0:80"}, "p0": {"http://h0:80"}})
	wg.Wait()
	m.Route("/r0").Done([]byte("GET"), 200, 0, 0)
	m.Upstream("llm", "http://h0:80").Done(200, 0)
	if got := seriesCount(m); got > first {
		t.Errorf("%d series became %d", first, got)
	}
}
