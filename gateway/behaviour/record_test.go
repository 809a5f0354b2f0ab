package behaviour

import (
	"bufio"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"aigateway/gateway/testkit"
)

// Every request is counted once, under its route, method and code, however it ended.
func TestRequestsAreCounted(t *testing.T) {
	t.Parallel()
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for {
			r := c.ReadRequest()
			switch {
			case r.Err != nil:
				return
			case strings.Contains(r.First, "cut"):
				c.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
				return
			case strings.Contains(r.First, "garbage"):
				c.Send("garbage\r\n\r\n")
				return
			case strings.Contains(r.First, "hold"):
				c.Closed()
				return
			}
			c.Send("HTTP/1.1 201 Made\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	g := startGateway(t, "PY_SERVICE_URL="+up.URL)
	for range 3 {
		g.Do("GET /infer/python?prompt=x HTTP/1.1\r\nHost: a\r\n\r\n")
	}
	g.Do("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
	g.Do("GET /infer/python?garbage HTTP/1.1\r\nHost: a\r\n\r\n")
	g.Do("GET /infer/python?cut HTTP/1.1\r\nHost: a\r\n\r\n")
	g.Do("DELETE /infer/python HTTP/1.1\r\nHost: a\r\n\r\n")
	g.Do("GET /limited HTTP/1.1\r\nHost: a\r\n\r\n")
	g.Do("GET /a-path-of-the-client HTTP/1.1\r\nHost: a\r\n\r\n")
	g.Do("BREW /limited HTTP/1.1\r\nHost: a\r\n\r\n")
	g.Do("TRACE /limited HTTP/1.1\r\nHost: a\r\n\r\n")
	g.Do("GET /\r\nHost: a\r\n\r\n") // refused by fasthttp's own parser
	c := g.Dial()
	c.Send("GET /infer/python?hold HTTP/1.1\r\nHost: a\r\n\r\n")
	testkit.Eventually(t, "the upstream has the request", func() bool {
		return g.series()[fmt.Sprintf(`upstream_inflight{pool="python",upstream=%q}`, up.URL)] == 1
	})
	c.Close()
	testkit.Eventually(t, "the client's leaving is counted", func() bool { return g.series()[`client_cancel_total{phase="waiting"}`] == 1 })
	testkit.Eventually(t, "nothing is under way", func() bool { return g.Parts().Open == 0 })
	got := g.series()
	for series, want := range map[string]float64{
		`http_requests_total{route="/infer/python",method="GET",code="201"}`:    3,
		`http_requests_total{route="/infer/python",method="POST",code="201"}`:   1,
		`http_requests_total{route="/infer/python",method="GET",code="502"}`:    1,
		`http_requests_total{route="/infer/python",method="GET",code="200"}`:    1, // begun, and cut
		`http_requests_total{route="/infer/python",method="GET",code="499"}`:    1,
		`http_requests_total{route="/infer/python",method="DELETE",code="405"}`: 1,
		`http_requests_total{route="/limited",method="GET",code="200"}`:         1,
		`http_requests_total{route="/limited",method="other",code="405"}`:       1,
		`http_requests_total{route="/limited",method="other",code="501"}`:       1,
		`http_requests_total{route="none",method="GET",code="404"}`:             1,
		`http_requests_total{route="none",method="other",code="400"}`:           1,
		`stream_truncated_total`: 1,
		fmt.Sprintf(`upstream_requests_total{pool="python",upstream=%q,code="201"}`, up.URL):                 4,
		fmt.Sprintf(`upstream_errors_total{pool="python",upstream=%q,kind="bad_upstream_response"}`, up.URL): 1,
		fmt.Sprintf(`upstream_errors_total{pool="python",upstream=%q,kind="truncated"}`, up.URL):             1,
		`panics_total`: 0,
	} {
		if got[series] != want {
			t.Errorf("%s is %v, want %v", series, got[series], want)
		}
	}
	for series := range got {
		if strings.Contains(series, "a-path-of-the-client") || strings.Contains(series, `route="/healthz"`) {
			t.Errorf("there is a series %s", series)
		}
	}
}

// Operations pages are not traffic.
func TestPagesAreNotCounted(t *testing.T) {
	g := startGateway(t)
	for range 3 {
		g.Do("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
		g.Do("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
	}
	for series, value := range g.series() {
		if strings.HasPrefix(series, "http_requests_total") && value != 0 {
			t.Errorf("%s is %v", series, value)
		}
	}
}

// series reads /metrics.
func (g *testGateway) series() map[string]float64 {
	g.T.Helper()
	r := g.Do("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
	if r.Status() != 200 || r.Field("Content-Type") != "text/plain; version=0.0.4; charset=utf-8" {
		g.T.Fatalf("/metrics: %q, %q", r.First, r.Field("Content-Type"))
	}
	all := make(map[string]float64)
	for lines := bufio.NewScanner(strings.NewReader(r.Body)); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		at := strings.LastIndexByte(lines.Text(), ' ')
		value, err := strconv.ParseFloat(lines.Text()[at+1:], 64)
		if err != nil {
			g.T.Fatalf("a line of /metrics: %q", lines.Text())
		}
		all[lines.Text()[:at]] = value
	}
	return all
}

// The gateway's own share of a request leaves out what the upstream and the client took.
func TestOverheadIsTheGatewaysOwn(t *testing.T) {
	t.Parallel()
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for c.ReadRequest().Err == nil {
			time.Sleep(60 * time.Millisecond)
			c.Send("%s", testkit.Answer("ok"))
		}
	})
	g := startGateway(t, "PY_SERVICE_URL="+up.URL)
	c := g.Dial()
	const wait = 5 * 0.12
	round := func() (total, own float64) {
		before := g.series()
		for range 5 {
			c.Send("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
			time.Sleep(60 * time.Millisecond)
			c.Send("cd")
			c.ReadResponse()
		}
		testkit.Eventually(t, "all are counted", g.idle)
		after := g.series()
		f := func(name string) float64 { return after[name] - before[name] }
		return f(`request_duration_seconds_sum{route="/infer/python"}`), f("gateway_overhead_seconds_sum")
	}
	// On a busy machine the gateway may notice late that a wait begins; what must not count, counts every time.
	var total, own float64
	for range 20 {
		if total, own = round(); total >= wait && own <= total-wait+0.001 {
			return
		}
	}
	t.Errorf("%v s in all, %v s of the gateway's own", total, own)
}
