package behaviour

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"aigateway/gateway/testkit"
)

// mixedUpstream answers by what the target says.
func mixedUpstream(t *testing.T) *testkit.Upstream {
	return testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for {
			r := c.ReadRequest()
			if r.Err != nil {
				return
			}
			switch has := func(s string) bool { return strings.Contains(r.First, s) }; {
			case has("stream"):
				c.Send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
				for range 5 {
					c.Send("9\r\ndata: x\n\n\r\n")
				}
				usage := `data: {"model":"m","choices":[{"delta":{"content":"x"}}],"usage":{"prompt_tokens":3,"completion_tokens":5}}` + "\n\n"
				c.Send("%x\r\n%s\r\n0\r\n\r\n", len(usage), usage)
			case has("cut"):
				c.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
				return
			case has("garbage"):
				c.Send("garbage\r\n\r\n")
				return
			case has("error"):
				c.Send("HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\n{}")
			case has("hold"):
				c.Closed()
				return
			case has("shared"): // while one fetches, others come
				time.Sleep(5 * time.Millisecond)
				c.Send("%s", testkit.Answer("shared"))
			default:
				c.Send("%s", testkit.Answer("ok"))
			}
		}
	})
}

// A way to send one request and to see how it ends. Each is counted once, whatever becomes of it.
type way struct {
	name string
	send func(g *testGateway, n int)
}

// ways are all the ends that a request can come to; a new one belongs here.
func ways() []way {
	get := func(target string) func(*testGateway, int) {
		return func(g *testGateway, n int) {
			g.Do(fmt.Sprintf("GET %s HTTP/1.1\r\nHost: a\r\n\r\n", strings.ReplaceAll(target, "N", itoa(n))))
		}
	}
	leave := func(g *testGateway, request string, read int) {
		c := g.Dial()
		c.Send("%s", request)
		if read > 0 {
			_, _ = c.Read(make([]byte, read))
		} else {
			time.Sleep(time.Duration(rand.IntN(5)) * time.Millisecond)
		}
		c.Close()
	}
	return []way{
		{"cached", get("/infer/python?same")},
		{"not cached", get("/infer/python?N")},
		{"coalesced", get("/infer/python?shared-N")},
		{"posted", func(g *testGateway, _ int) {
			g.Do("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
		}},
		{"streamed", get("/infer/python?stream-N")},
		{"streamed in v1", func(g *testGateway, _ int) {
			g.Do("POST /v1/chat/completions?stream HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
		}},
		{"refused by the limit", get("/tight")},
		{"no route", get("/no/route/N")},
		{"no such method", func(g *testGateway, _ int) { g.Do("DELETE /infer/python HTTP/1.1\r\nHost: a\r\n\r\n") }},
		{"unknown method", func(g *testGateway, n int) { g.Do(fmt.Sprintf("BREW%d /infer/python HTTP/1.1\r\nHost: a\r\n\r\n", n)) }},
		{"malformed", func(g *testGateway, _ int) { g.Do("GET /nowhere HTTP/1.1\r\nHost : a\r\n\r\n") }},
		{"ambiguous", func(g *testGateway, _ int) {
			g.Do("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n")
		}},
		{"too long", func(g *testGateway, _ int) {
			g.Do("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n")
		}},
		{"broken", get("/infer/python?garbage-N")},
		{"truncated", get("/infer/python?cut-N")},
		{"failed", get("/infer/python?error-N")},
		{"nobody there", get("/infer/node?N")},
		{"left while waiting", func(g *testGateway, n int) {
			leave(g, fmt.Sprintf("POST /infer/python?hold-%d HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", n), 0)
		}},
		{"left in a stream", func(g *testGateway, n int) {
			leave(g, fmt.Sprintf("GET /infer/python?stream-%d HTTP/1.1\r\nHost: a\r\n\r\n", n), 1)
		}},
		{"left in an upload", func(g *testGateway, _ int) {
			leave(g, "POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc", 0)
		}},
	}
}

// names are the metrics that dashboards are built on, with what is in them after all ways were gone.
var names = []struct {
	name  string
	least float64 // the sum of its series, without buckets
}{
	{"http_requests_total", 1}, {"request_duration_seconds_count", 1}, {"request_duration_seconds_sum", 1e-6}, {"gateway_overhead_seconds_count", 1},
	{"rate_limit_dropped_total", 1}, {"rate_limit_clients", 1},
	{"cache_hits_total", 1}, {"cache_misses_total", 1}, {"cache_entries", 1}, {"cache_bytes", 1}, {"cache_coalesced_total", 0}, {"cache_invalidations_total", 0},
	{"upstream_requests_total", 1}, {"upstream_errors_total", 1}, {"upstream_duration_seconds_count", 1}, {"upstream_inflight", 0}, {"upstream_healthy", 1},
	{"upstream_retries_total", 0}, {"client_cancel_total", 1}, {"stream_truncated_total", 1},
	{"time_to_first_byte_seconds_count", 1}, {"panics_total", 0}, {"build_info", 1},
	{"stream_duration_seconds_count", 1}, {"stream_events_sum", 5}, {"streams_open", 0}, {"gen_ai_server_request_duration_count", 1},
	{"gen_ai_client_token_usage_sum", 8}, {"gen_ai_server_time_to_first_token_count", 1}, {"gen_ai_server_time_per_output_token_count", 1},
	{"breaker_state", 0}, {"upstream_queue_length", 0}, {"queue_depth", 0},
	{"client_connections_dropped_total", 0}, {"access_log_dropped_total", 0}, {"trace_spans_total", 0},
	{"go_goroutines", 1}, {"go_memstats_heap_inuse_bytes", 1}, {"process_resident_memory_bytes", 1}, {"process_cpu_seconds_total", 0},
}

// The sum of http_requests_total is the number of requests sent, however they end and however many at once, and every
// metric is there.
func TestEveryRequestIsCountedOnce(t *testing.T) {
	t.Parallel()
	const rounds, at = 15, 3
	up := mixedUpstream(t)
	g := startGatewayFile(t, `routes: [{path: /tight, pool: python, limit: {client_rps: 1, client_burst: 3}}]`,
		"PY_SERVICE_URL="+up.URL, "LLM_SERVICE_URL="+up.URL, "CACHE_ENABLED=true", "RATE_LIMIT_ENABLED=true",
		"CLIENT_RPS=1000000", "CLIENT_BURST=1000000", "GLOBAL_RPS=1000000", "GLOBAL_BURST=1000000", "ACCESS_LOG=true")
	var sent atomic.Int64
	var wg sync.WaitGroup
	for _, w := range ways() {
		for range at {
			wg.Go(func() {
				for n := range rounds {
					sent.Add(1)
					begun := time.Now()
					w.send(g, n)
					testkit.WantQuick(t, w.name, begun, 10*time.Second)
				}
			})
		}
	}
	for scrapes := 0; scrapes < 5; scrapes++ { // during the load
		g.series()
	}
	wg.Wait()
	testkit.Eventually(t, "nothing is under way", g.idle)
	sums := g.sums()
	if got := sums["http_requests_total"]; got != float64(sent.Load()) {
		t.Errorf("%v requests counted, %d sent", got, sent.Load())
	}
	for _, duration := range []string{"request_duration_seconds_count", "gateway_overhead_seconds_count"} {
		// What could not be read has no duration worth the name, but is counted all the same.
		if got := sums[duration]; got != float64(sent.Load()) {
			t.Errorf("%s is %v, of %d requests", duration, got, sent.Load())
		}
	}
	for _, n := range names {
		if got, ok := sums[n.name]; !ok || got < n.least {
			t.Errorf("%s is %v (there: %v), want at least %v", n.name, got, ok, n.least)
		}
	}
	for _, gauge := range []string{"upstream_inflight", "streams_open", "panics_total"} {
		if sums[gauge] != 0 {
			t.Errorf("%s is %v when all is over", gauge, sums[gauge])
		}
	}
}

// sums are the series of /metrics, added up by name.
func (g *testGateway) sums() map[string]float64 {
	all := make(map[string]float64)
	for series, value := range g.series() {
		name, _, _ := strings.Cut(series, "{")
		all[name] += value
	}
	return all
}

// No path, client, method or field of a client makes a series.
func TestClientsAddNoSeries(t *testing.T) {
	t.Parallel()
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for c.ReadRequest().Err == nil {
			c.Send("HTTP/1.1 200 R%d\r\nContent-Length: 2\r\n\r\nok", rand.Uint64())
		}
	})
	g := startGateway(t, "PY_SERVICE_URL="+up.URL, "LLM_SERVICE_URL="+up.URL, "CACHE_ENABLED=true", "RATE_LIMIT_ENABLED=true",
		"CLIENT_RPS=1000000", "CLIENT_BURST=1000000", "GLOBAL_RPS=1000000", "GLOBAL_BURST=1000000")
	send := func(times int) {
		c := g.Dial()
		for range times {
			n := rand.Uint64()
			target := [...]string{"/infer/python?%d", "/v1/%d", "/%d", "/v1/chat/completions?%d"}[rand.IntN(4)]
			c.Send("%s "+target+" HTTP/1.1\r\nHost: h%d\r\nX-Forwarded-For: %d.%d.%d.9\r\nX-Request-ID: %d\r\nUser-Agent: %d\r\nContent-Length: 0\r\n\r\n",
				[...]string{"GET", "POST"}[rand.IntN(2)], n, n, n%200+1, n%251, n%241, n, n)
			if r := c.ReadResponse(); r.Err != nil {
				t.Fatal(r.Err)
			}
		}
	}
	send(200)
	before := len(g.series())
	send(1000)
	if after := len(g.series()); after != before {
		t.Errorf("%d series became %d", before, after)
	}
}

// Who waits for another request's fetch, or for the body that it brings, waits for the upstream: it is no overhead.
func TestWaitingForAnotherIsNotOverhead(t *testing.T) {
	t.Parallel()
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for c.ReadRequest().Err == nil {
			time.Sleep(60 * time.Millisecond)
			c.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
			time.Sleep(60 * time.Millisecond)
			c.Send("0\r\n\r\n")
		}
	})
	g := startGateway(t, "PY_SERVICE_URL="+up.URL, "CACHE_ENABLED=true")
	round := func(n int) (total, own float64) {
		before := g.sums()
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() { g.Do(fmt.Sprintf("GET /infer/python?x%d HTTP/1.1\r\nHost: a\r\n\r\n", n)) })
		}
		wg.Wait()
		testkit.Eventually(t, "all are counted", g.idle)
		after := g.sums()
		f := func(name string) float64 { return after[name] - before[name] }
		return f("request_duration_seconds_sum"), f("gateway_overhead_seconds_sum")
	}
	// Where the machine lets somebody wait, that is the gateway's own; what must not count, counts every time.
	var total, own float64
	for n := range 20 {
		if total, own = round(n); total >= 5*0.1 && own <= total/4 {
			return
		}
	}
	t.Errorf("%v s in all, %v s of the gateway's own", total, own)
}
