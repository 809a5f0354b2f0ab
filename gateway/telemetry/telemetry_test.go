package telemetry

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The names are fixed: dashboards and alerts are built on them.
func TestNames(t *testing.T) {
	families := scrape(t, New(testOptions()))
	plain := scrape(t, New(Options{}))
	f := func(kind string, names ...string) {
		t.Helper()
		for _, name := range names {
			if got := strings.ToLower(families[name].GetType().String()); families[name] == nil || got != kind {
				t.Errorf("%s: found %t, type %s, want %s", name, families[name] != nil, got, kind)
			}
			if families[name].GetHelp() == "" {
				t.Errorf("%s has no help", name)
			}
		}
	}
	f("counter", "upstream_errors_total", "upstream_retries_total", "client_cancel_total", "stream_truncated_total",
		"rate_limit_dropped_total", "rate_limit_table_overflow_total", "rate_limit_leases_total", "rate_limit_lease_tokens_total",
		"panics_total", "process_cpu_seconds_total", "process_io_read_bytes_total", "go_memstats_mallocs_total")
	f("gauge", "upstream_inflight", "upstream_healthy", "rate_limit_clients", "rate_limit_fallback", "build_info",
		"go_goroutines", "process_resident_memory_bytes", "process_open_fds", "process_max_fds", "process_start_time_seconds")
	f("histogram", "request_duration_seconds", "gateway_overhead_seconds", "time_to_first_byte_seconds",
		"upstream_duration_seconds", "go_gc_pauses_seconds", "go_sched_latencies_seconds")
	f("summary", "go_gc_duration_seconds")

	// With no series yet, the parser drops a family; its type is on the page all the same.
	for _, name := range []string{"http_requests_total", "upstream_requests_total"} {
		if want := "# TYPE " + name + " counter\n"; !strings.Contains(page(New(Options{})), want) {
			t.Errorf("no %q", want)
		}
	}
	for _, name := range []string{"panics_total", "rate_limit_clients", "request_duration_seconds", "build_info"} {
		if plain[name] == nil {
			t.Errorf("without pools, routes and a limiter there is no %s", name)
		}
	}
}

// Everything on the page has one type and some help, and no family is there twice.
func TestMetadata(t *testing.T) {
	m := New(testOptions())
	m.Route("/v1/*").Done([]byte("GET"), 200, 1, 1)
	m.Upstream("llm", "http://c:80").Done(200, 1)
	typed := map[string]int{}
	for line := range strings.Lines(page(m)) {
		if name, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, _, _ = strings.Cut(name, " ")
			if typed[name]++; typed[name] > 1 {
				t.Errorf("%s is there twice", name)
			}
		}
	}
	for name, family := range scrape(t, m) {
		if typed[name] != 1 || family.GetHelp() == "" || family.GetType().String() == "UNTYPED" {
			t.Errorf("%s: %d types, help %q, %s", name, typed[name], family.GetHelp(), family.GetType())
		}
	}
}

func TestCounts(t *testing.T) {
	m := New(testOptions())
	r := m.Route("/infer/python")
	r.Done([]byte("GET"), 200, 3*time.Millisecond, 30*time.Microsecond)
	r.Done([]byte("GET"), 200, 3*time.Millisecond, 30*time.Microsecond)
	r.Done([]byte("get"), 299, time.Hour, -time.Second)
	r.Done([]byte("QUERY"), 42, 0, 0)
	r.FirstByte(time.Millisecond)
	m.Route("").Done(nil, 404, time.Second, time.Second)
	u := m.Upstream("python", "http://a:8001")
	u.Done(503, time.Second)
	u.Done(-1, time.Second)
	u.Error("truncated")
	u.Error("what?")
	m.Upstream("python", "http://b:8001").Done(200, time.Second)
	m.Retry("unreachable")
	m.Cancel("waiting")
	m.Cancel("lunch")
	m.Truncated()
	m.Panic()
	f := func(series string, want float64) {
		t.Helper()
		if got := value(t, m, series); got != want {
			t.Errorf("%s is %v, want %v", series, got, want)
		}
	}
	f(`http_requests_total{route="/infer/python",method="GET",code="200"}`, 2)
	f(`http_requests_total{route="/infer/python",method="other",code="299"}`, 1)
	f(`http_requests_total{route="/infer/python",method="QUERY",code="other"}`, 1)
	f(`http_requests_total{route="none",method="other",code="404"}`, 1)
	f(`request_duration_seconds{route="/infer/python"}`, 4)
	f(`request_duration_seconds{route="/v1/*"}`, 0)
	f(`time_to_first_byte_seconds{route="/infer/python"}`, 1)
	f(`gateway_overhead_seconds`, 5)
	f(`upstream_requests_total{pool="python",upstream="http://a:8001",code="503"}`, 1)
	f(`upstream_requests_total{pool="python",upstream="http://a:8001",code="other"}`, 1)
	f(`upstream_errors_total{pool="python",upstream="http://a:8001",kind="truncated"}`, 1)
	f(`upstream_errors_total{pool="python",upstream="http://a:8001",kind="other"}`, 1)
	f(`upstream_errors_total{pool="llm",upstream="http://c:80",kind="timeout_connect"}`, 0)
	f(`upstream_duration_seconds{pool="python"}`, 3)
	f(`upstream_inflight{pool="llm",upstream="http://c:80"}`, 7)
	f(`upstream_healthy{pool="python",upstream="http://a:8001"}`, 1)
	f(`upstream_healthy{pool="python",upstream="http://b:8001"}`, 0)
	f(`upstream_retries_total{reason="unreachable"}`, 1)
	f(`client_cancel_total{phase="waiting"}`, 1)
	f(`client_cancel_total{phase="streaming"}`, 0)
	f(`client_cancel_total{phase="other"}`, 1)
	f(`stream_truncated_total`, 1)
	f(`panics_total`, 1)
	f(`rate_limit_clients`, 1)
	f(`rate_limit_table_overflow_total`, 2)
	f(`rate_limit_dropped_total{scope="client"}`, 3)
	f(`rate_limit_dropped_total{scope="global"}`, 4)
	f(`rate_limit_leases_total`, 5)
	f(`rate_limit_lease_tokens_total`, 6)
	f(`rate_limit_fallback`, 1)
}

// Each duration is in its own histogram.
func TestDurations(t *testing.T) {
	m := New(testOptions())
	m.Route("/v1/*").Done([]byte("GET"), 200, 2*time.Second, 3*time.Millisecond)
	m.Route("/infer/python").Done([]byte("GET"), 200, 0, 5*time.Millisecond)
	m.Route("/v1/*").FirstByte(7 * time.Second)
	m.Upstream("llm", "http://c:80").Done(200, 11*time.Second)
	text := page(m)
	for _, want := range []string{
		`request_duration_seconds_sum{route="/v1/*"} 2`,
		`gateway_overhead_seconds_sum 0.008`,
		`time_to_first_byte_seconds_sum{route="/v1/*"} 7`,
		`upstream_duration_seconds_sum{pool="llm"} 11`,
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("no %s", want)
		}
	}
}

// A code is itself if there is such a status.
func TestCodes(t *testing.T) {
	f := func(code int, want string) {
		t.Helper()
		m := New(testOptions())
		m.Upstream("llm", "http://c:80").Done(code, 0)
		if got := value(t, m, `upstream_requests_total{pool="llm",upstream="http://c:80",code="`+want+`"}`); got != 1 {
			t.Errorf("%d: %v with code %q", code, got, want)
		}
	}
	f(100, "100")
	f(499, "499")
	f(599, "599")
	f(99, "other")
	f(600, "other")
	f(0, "other")
	f(math.MinInt, "other")
	f(math.MaxInt, "other")
}

func TestMethods(t *testing.T) {
	for i, name := range methods {
		if got := methodIndex([]byte(name)); got != i {
			t.Errorf("%s has index %d, want %d", name, got, i)
		}
	}
}

// Labels take anything an operator may write, and the page still parses.
func TestLabelValues(t *testing.T) {
	for _, v := range []string{"/", `/a"b`, `/a\b`, "/a\nb", "/{id}", "/a,b=c", `/\"`, `/\\`, "/é", "/{route=\"x\"} 1\n# TYPE", ""} {
		m := New(Options{Version: v, Routes: []string{v, v}, Pools: map[string][]string{v: {v, v}}})
		m.Route(v).Done([]byte("GET"), 200, 1, 1)
		m.Upstream(v, v).Done(200, 1)
		if v != "" {
			if got := value(t, m, "http_requests_total{"+label("route", v)+`,method="GET",code="200"}`); got != 1 {
				t.Errorf("route %q counted %v", v, got)
			}
		}
		if got := value(t, m, "upstream_requests_total{"+label("pool", v)+","+label("upstream", v)+`,code="200"}`); got != 1 {
			t.Errorf("upstream %q counted %v", v, got)
		}
	}
	if got := page(New(Options{Version: "\xff"})); !strings.Contains(got, `build_info{version="�",`) {
		t.Error("a byte that is not UTF-8 stays in a label")
	}
}

// What clients and upstreams send makes no more series than the lists allow, however much of it they send.
func TestSeriesAreBounded(t *testing.T) {
	o := testOptions()
	m := New(o)
	before := seriesCount(m)
	text := func() string { return strconv.FormatUint(rand.Uint64(), 36) }
	routes := []*Route{m.Route(""), m.Route("/infer/python"), m.Route("/v1/*")}
	upstreams := []*Upstream{m.Upstream("python", "http://a:8001"), m.Upstream("python", "http://b:8001"), m.Upstream("llm", "http://c:80")}
	send := func(times int, code func() int) {
		for range times {
			method := methods[rand.IntN(len(methods))]
			if rand.IntN(2) == 0 {
				method = text()
			}
			r, u, c := routes[rand.IntN(len(routes))], upstreams[rand.IntN(len(upstreams))], code()
			r.Done([]byte(method), c, time.Duration(rand.Int64()), time.Duration(rand.Int64()))
			r.FirstByte(time.Duration(rand.Int64()))
			u.Done(c, time.Duration(rand.Int64()))
			u.Error(text())
			m.Retry(text())
			m.Cancel(text())
		}
	}
	// Three codes that occur: each route has them for each method, each upstream has them once.
	send(1_000_000, func() int { return [...]int{200, 404, 502}[rand.IntN(3)] })
	if got, want := seriesCount(m)-before, 3*(len(routes)*len(methods)+len(upstreams)); got != want {
		t.Errorf("%d more series, want %d", got, want)
	}
	// Any code at all.
	send(100_000, func() int { return rand.Int() - math.MaxInt/2 })
	send(100_000, func() int { return rand.IntN(1000) })
	if got, most := seriesCount(m)-before, 501*(len(routes)*len(methods)+len(upstreams)); got > most {
		t.Errorf("%d more series, at most %d", got, most)
	}
	var requests float64
	for _, metric := range scrape(t, m)["http_requests_total"].GetMetric() {
		requests += metric.GetCounter().GetValue()
	}
	if requests != 1_200_000 {
		t.Errorf("%v requests over all codes, want 1200000", requests)
	}
}

// Every count arrives, also the first of its series, and a scrape in between holds nobody up.
func TestConcurrently(t *testing.T) {
	const workers, each = 8, 5000
	m := New(testOptions())
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			r, u := m.Route("/v1/*"), m.Upstream("llm", "http://c:80")
			for i := range each {
				r.Done([]byte(methods[i%len(methods)]), 100+i%600, time.Duration(i), time.Duration(i))
				r.FirstByte(time.Duration(i))
				u.Done(100+i%600, time.Duration(i))
				u.Error("truncated")
				m.Retry("unreachable")
				m.Cancel("waiting")
				m.Truncated()
				m.Panic()
				if i%500 == 0 {
					m.WritePrometheus(io.Discard)
				}
			}
		})
	}
	wg.Wait()
	families := scrape(t, m)
	for _, name := range []string{"http_requests_total", "upstream_requests_total", "upstream_errors_total", "upstream_retries_total",
		"client_cancel_total", "stream_truncated_total", "panics_total", "request_duration_seconds", "time_to_first_byte_seconds",
		"gateway_overhead_seconds", "upstream_duration_seconds"} {
		var sum float64
		for _, metric := range families[name].GetMetric() {
			sum += metric.GetCounter().GetValue() + float64(metric.GetHistogram().GetSampleCount())
		}
		if sum != workers*each {
			t.Errorf("%s counted %v, want %d", name, sum, workers*each)
		}
	}
}

// The limiter reads a large table to answer.
func TestLimiterIsAskedOnce(t *testing.T) {
	asked := 0
	m := New(Options{RateLimit: func() RateLimit { asked++; return RateLimit{} }})
	page(m)
	if asked != 1 {
		t.Errorf("asked %d times a scrape", asked)
	}
}

func TestNilIsOff(t *testing.T) {
	var m *Metrics
	r, u := m.Route("/x"), m.Upstream("p", "u")
	r.Done([]byte("GET"), 200, 1, 1)
	r.FirstByte(1)
	u.Done(200, 1)
	u.Error("x")
	m.Retry("x")
	m.Cancel("x")
	m.Truncated()
	m.Panic()
	if r != nil || u != nil || page(m) != "" {
		t.Error("nil Metrics are not off")
	}
}

func TestUnannouncedIsABug(t *testing.T) {
	m := New(testOptions())
	f := func(use func()) {
		t.Helper()
		defer func() {
			if !strings.HasPrefix(fmt.Sprint(recover()), "BUG: ") {
				t.Error("no panic")
			}
		}()
		use()
	}
	f(func() { m.Route("/nowhere") })
	f(func() { m.Upstream("python", "http://nowhere") })
}

// Two gateways in one process, as in tests, have nothing in common.
func TestNothingIsShared(t *testing.T) {
	a, b := New(testOptions()), New(testOptions())
	a.Panic()
	if got := value(t, b, "panics_total"); got != 0 {
		t.Errorf("counted %v elsewhere", got)
	}
}
