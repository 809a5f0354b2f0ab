package behaviour

import (
	"aigateway/gateway/server"
	"aigateway/gateway/testkit"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"aigateway/gateway/telemetry"
)

// accessLine is a line of the access log.
type accessLine struct {
	Time, Level, Msg, ID, Client, Method, Route, Path string
	Status                                            int
	Bytes                                             int64
	Duration, Gateway                                 float64
	UpstreamDuration                                  float64 `json:"upstream_duration"`
	Pool, Upstream, Cache, Limit, Fault, Key, Model   string
	UpstreamModel                                     string `json:"upstream_model"`
	TokensIn                                          int    `json:"tokens_in"`
	TokensOut                                         int    `json:"tokens_out"`
	TTFT                                              float64
	Attempts                                          int
}

// A lineLog is an access log that can be read.
type lineLog struct {
	testkit.Log
	lines *telemetry.Lines
}

func newLineLog(t *testing.T) *lineLog {
	l := &lineLog{}
	l.lines = telemetry.NewLines(&l.Log)
	t.Cleanup(l.lines.Close)
	return l
}

// accessLines ends the gateway and returns what it has logged.
func (g *testGateway) accessLines(log *lineLog) (lines []accessLine) {
	g.T.Helper()
	g.End(time.Second)
	log.lines.Close()
	for text := range strings.Lines(log.String()) {
		var l accessLine
		d := json.NewDecoder(strings.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(&l); err != nil {
			g.T.Errorf("a line that is not one: %v: %s", err, text)
		}
		lines = append(lines, l)
	}
	return lines
}

// Each request has a line that tells how it ended, and nothing secret.
func TestAccessLog(t *testing.T) {
	t.Parallel()
	held := make(chan struct{})
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for {
			switch r := c.ReadRequest(); {
			case r.Err != nil:
				return
			case strings.Contains(r.First, "cut"):
				c.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
				return
			case strings.Contains(r.First, "hold"):
				close(held)
				c.Closed()
				return
			case strings.Contains(r.First, "garbage"):
				c.Send("garbage\r\n\r\n")
				return
			}
			c.Send("%s", testkit.Answer("hello"))
		}
	})
	log := newLineLog(t)
	g := serve(t, testkit.Settings(t, "", []string{"PY_SERVICE_URL=" + up.URL, "ACCESS_LOG=true", "RATE_LIMIT_ENABLED=true",
		"CLIENT_RPS=0", "CLIENT_BURST=6", "CACHE_ENABLED=true"}), server.Options{Lines: log.lines})
	const secret = "s3cr3t"
	do := func(method, target string) {
		t.Helper()
		g.Do(fmt.Sprintf("%s %s HTTP/1.1\r\nHost: a\r\nAuthorization: %s\r\nX-Request-ID: it-is-me\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n", method, target, secret))
		testkit.Eventually(t, "its line is written", g.idle) // the answer is there a moment before
	}
	do("GET", "/healthz?"+secret)
	do("POST", "/infer/python?"+secret)
	do("GET", "/infer/python?prompt=x")
	do("GET", "/infer/python?cut")
	do("GET", "/infer/python?garbage")
	do("GET", "/no/such/path?"+secret)
	do("DELETE", "/infer/python")
	do("GET", "/limited")
	do("GET", "/limited") // and over the limit
	do("GET", "/limited")
	g.Do("GET /nowhere HTTP/1.1\r\nHost : a\r\n\r\n")
	c := g.Dial()
	c.Send("GET /infer/node?prompt=x HTTP/1.1\r\nHost: a\r\n\r\n") // nobody is there
	c.ReadResponse()
	testkit.Eventually(t, "its line is written", g.idle)
	c.Send("GET /infer/python?hold HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.10\r\n\r\n")
	<-held
	c.Close()
	testkit.Eventually(t, "nothing is under way", g.idle)

	lines := g.accessLines(log)
	want := []accessLine{
		{Method: "POST", Route: "/infer/python", Path: "/infer/python", Status: 200, Cache: "BYPASS", Limit: "admitted", Upstream: up.URL},
		{Method: "GET", Route: "/infer/python", Path: "/infer/python", Status: 200, Cache: "MISS", Limit: "admitted", Upstream: up.URL},
		{Method: "GET", Route: "/infer/python", Path: "/infer/python", Status: 200, Cache: "MISS", Limit: "admitted", Upstream: up.URL, Fault: "truncated"},
		{Method: "GET", Route: "/infer/python", Path: "/infer/python", Status: 502, Cache: "MISS", Limit: "admitted", Upstream: up.URL, Fault: "bad_upstream_response"},
		{Method: "GET", Route: "", Path: "/no/such/path", Status: 404},
		{Method: "DELETE", Route: "/infer/python", Path: "/infer/python", Status: 405},
		{Method: "GET", Route: "/limited", Path: "/limited", Status: 200, Limit: "admitted"},
		{Method: "GET", Route: "/limited", Path: "/limited", Status: 200, Limit: "admitted"},
		{Method: "GET", Route: "/limited", Path: "/limited", Status: 429, Limit: "client"},
		{Method: "GET", Path: "/nowhere", Status: 400},
		{Method: "GET", Route: "/infer/node", Path: "/infer/node", Status: 503, Cache: "MISS", Limit: "admitted", Upstream: "http://127.0.0.1:1", Fault: "upstream_unreachable"},
		{Method: "GET", Route: "/infer/python", Path: "/infer/python", Status: 499, Cache: "MISS", Limit: "admitted", Upstream: up.URL, Fault: "client_gone"},
	}
	if len(lines) != len(want) {
		t.Fatalf("%d lines, want %d:\n%s", len(lines), len(want), log)
	}
	for i, got := range lines {
		w := want[i]
		if got.Method != w.Method || got.Route != w.Route || got.Path != w.Path || got.Status != w.Status || got.Cache != w.Cache ||
			got.Limit != w.Limit || got.Upstream != w.Upstream || got.Fault != w.Fault {
			t.Errorf("line %d: got %+v, want %+v", i, got, w)
		}
		if failed := w.Status >= 500 || w.Fault != ""; (got.Level == "ERROR") != failed || got.Msg != "access" {
			t.Errorf("line %d has level %s", i, got.Level)
		}
		if at, err := time.Parse(time.RFC3339Nano, got.Time); err != nil || time.Since(at) > time.Minute || time.Since(at) < 0 {
			t.Errorf("line %d has time %q", i, got.Time)
		}
		if got.Duration < got.Gateway || got.Duration < got.UpstreamDuration || got.Duration > 30 || got.ID == "" {
			t.Errorf("line %d has odd figures: %+v", i, got)
		}
		if i < 9 && (got.ID != "it-is-me" || got.Client != "203.0.113.9") {
			t.Errorf("line %d is about %s of %s", i, got.ID, got.Client)
		}
	}
	if lines[0].Bytes < 100 || lines[6].Bytes < 100 || lines[11].Bytes != 0 {
		t.Errorf("%d bytes proxied, %d of the gateway's own, %d to nobody", lines[0].Bytes, lines[6].Bytes, lines[11].Bytes)
	}
	if strings.Contains(log.String(), secret) || strings.Contains(log.String(), "prompt") {
		t.Errorf("the log tells too much:\n%s", log)
	}
}

// A generation's line tells whose it was, which model it was for and which one answered, what it cost, when its first content came and
// after how many attempts; that of a rerank what it read.
func TestAccessLogOfGenerations(t *testing.T) {
	t.Parallel()
	busy := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for c.ReadRequest().Err == nil {
			c.Send("HTTP/1.1 429 Slow\r\nContent-Length: 0\r\n\r\n")
		}
	})
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for r := c.ReadRequest(); r.Err == nil; r = c.ReadRequest() {
			if strings.Contains(r.First, "rerank") {
				c.Send("%s", testkit.Answer(`{"results":[],"usage":{"prompt_tokens":7,"total_tokens":7}}`))
				continue
			}
			c.Send("%s", chunkedOf([]string{
				`data: {"model":"small/n","choices":[{"delta":{"role":"assistant"}}]}` + "\n\n", `data: {"model":"small/n","choices":[{"delta":{"content":"secret"}}]}` + "\n\n",
				`data: {"model":"small/n","choices":[],"usage":{"prompt_tokens":12,"completion_tokens":34}}` + "\n\n", "data: [DONE]\n\n",
			}, "Content-Type: text/event-stream"))
		}
	})
	log := newLineLog(t)
	file := "pools: {a: {upstreams: [{url: \"" + busy.URL + "\"}]}, b: {upstreams: [{url: \"" + up.URL + "\"}]}}\n" +
		"models: [{name: m, pool: a, upstream_model: big/m, aliases: [alias], fallback: [n]}, {name: n, pool: b, upstream_model: small/n}]\n"
	g := serve(t, keyed(t, keyFile("sk-a"), file, "PY_SERVICE_URL="+up.URL, "ACCESS_LOG=true"), server.Options{Lines: log.lines})
	testkit.Eventually(t, "all are well", func() bool { return strings.Count(g.Log.String(), "upstream is healthy") >= 3 })
	for _, request := range []string{
		askModel(chatPath, `{"model":"alias","stream":true,"messages":[]}`, withKey("sk-a")), askModel("rerank", `{"model":"n","query":"q","documents":[]}`, withKey("sk-a")),
		askModel(chatPath, `{"model":"nobody's","messages":[]}`, withKey("sk-a")),
	} {
		g.Do(request)
		testkit.Eventually(t, "its line is written", g.idle)
	}
	lines := g.accessLines(log)
	if len(lines) != 3 {
		t.Fatal(log)
	}
	for i, want := range []accessLine{
		{Status: 200, Key: "a", Model: "m", UpstreamModel: "small/n", TokensIn: 12, TokensOut: 34, Attempts: 2, Pool: "b"},
		{Status: 200, Key: "a", Model: "n", UpstreamModel: "small/n", TokensIn: 7, Pool: "b"},
		{Status: 404, Key: "a"},
	} {
		l := lines[i]
		got := accessLine{Status: l.Status, Key: l.Key, Model: l.Model, UpstreamModel: l.UpstreamModel, TokensIn: l.TokensIn, TokensOut: l.TokensOut, Attempts: l.Attempts, Pool: l.Pool}
		if got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if first := l.TTFT; (first > 0) != (i == 0) || first > l.Duration {
			t.Errorf("the first content came after %v of %v", first, l.Duration)
		}
	}
	if strings.Contains(log.String(), "secret") {
		t.Errorf("the log tells too much:\n%s", log)
	}
}

// Without ACCESS_LOG there is no line, and LOG_LEVEL=error leaves those that failed.
func TestAccessLogIsOptional(t *testing.T) {
	t.Parallel()
	f := func(want int, environ ...string) {
		t.Helper()
		log := newLineLog(t)
		g := serve(t, testkit.Settings(t, "", environ), server.Options{Lines: log.lines})
		g.Do("GET /limited HTTP/1.1\r\nHost: a\r\n\r\n")
		g.Do("GET /infer/python HTTP/1.1\r\nHost: a\r\n\r\n")
		if got := len(g.accessLines(log)); got != want {
			t.Errorf("%v: %d lines, want %d", environ, got, want)
		}
	}
	f(0)
	f(2, "ACCESS_LOG=true")
	f(1, "ACCESS_LOG=true", "LOG_LEVEL=error")
	f(1, "ACCESS_LOG=true", "ACCESS_LOG_SAMPLE=0")
}

// Server-Timing is there if it is wanted, whoever answers, and adds up.
func TestServerTiming(t *testing.T) {
	t.Parallel()
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for {
			r := c.ReadRequest()
			if r.Err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
			if strings.Contains(r.First, "stream") {
				c.Send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nServer-Timing: gpu;dur=5\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: x\n\n\r\n0\r\n\r\n")
				continue
			}
			c.Send("%s", testkit.Answer("hello"))
		}
	})
	environ := []string{"PY_SERVICE_URL=" + up.URL, "CACHE_ENABLED=true"}
	g := startGateway(t, append(environ, "SERVER_TIMING=true")...)
	f := func(target, pattern string) {
		t.Helper()
		fields := g.Do("GET " + target + " HTTP/1.1\r\nHost: a\r\n\r\n").Fields("Server-Timing")
		got := strings.Join(fields, " | ")
		if !regexp.MustCompile("^" + pattern + "$").MatchString(got) {
			t.Errorf("%s: %q does not match %q", target, got, pattern)
		}
	}
	const gateway, upstream = `gateway;dur=\d{1,4}\.\d{3}`, `upstream;dur=([2-9]\d|\d{3,5})\.\d{3}`
	f("/infer/python?a", gateway+", "+upstream+`, cache;desc="MISS"`)
	f("/infer/python?a", gateway+`, cache;desc="HIT"`)
	f("/limited", gateway)
	f("/no/route", "")
	f("/healthz", "")
	c := g.Dial()
	c.Send("POST /infer/python?stream HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
	if got := c.ReadResponse().Fields("Server-Timing"); len(got) != 2 || got[0] != "gpu;dur=5" || !regexp.MustCompile("^"+gateway+", "+upstream+"$").MatchString(got[1]) {
		t.Errorf("a stream has %q", got)
	}
	if got := startGateway(t, environ...).Do("GET /infer/python?a HTTP/1.1\r\nHost: a\r\n\r\n").Field("Server-Timing"); got != "" {
		t.Errorf("unwanted: %q", got)
	}
}

// Generations are measured as they pass, byte for byte unchanged.
func TestGenerationsAreMeasured(t *testing.T) {
	stream := `data: {"model":"small","choices":[{"delta":{"content":"hi"}}],"usage":null}` + "\n\n"
	last := `data: {"model":"small","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":21}}` + "\n\n" + "data: [DONE]\n\n"
	whole := `{"id":"x","model":"unheard-of","choices":[],"usage":{"prompt_tokens":100,"completion_tokens":7}}`
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for {
			r := c.ReadRequest()
			switch {
			case r.Err != nil:
				return
			case strings.Contains(r.Body, "stream"):
				c.Send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
				for range 20 {
					c.Send("%x\r\n%s\r\n", len(stream), stream)
				}
				for i := 0; i < len(last); i += 30 { // its usage in pieces
					piece := last[i:min(i+30, len(last))]
					c.Send("%x\r\n%s\r\n", len(piece), piece)
				}
				c.Send("0\r\n\r\n")
			case strings.Contains(r.Body, "error"):
				c.Send("HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\n{}")
			default:
				c.Send("%s", testkit.Answer(whole))
			}
		}
	})
	g := startGateway(t, "LLM_SERVICE_URL="+up.URL, "GENAI_MODELS=small")
	post := func(path, body string) testkit.Message {
		return g.Do(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body))
	}
	if got := post("/v1/chat/completions", "stream").Body; got != strings.Repeat(stream, 20)+last {
		t.Errorf("the stream became %q", got)
	}
	for range 2 {
		if got := post("/v1/completions", "whole").Body; got != whole {
			t.Errorf("the answer became %q", got)
		}
	}
	post("/v1/chat/completions", "error")
	post("/v1/models", "whole")
	testkit.Eventually(t, "nothing is under way", g.idle)
	s := g.series()
	chat := `gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_response_model="small"`
	text := `gen_ai_operation_name="text_completion",gen_ai_provider_name="openai",gen_ai_response_model="other"`
	for series, want := range map[string]float64{
		`gen_ai_client_token_usage_sum{` + chat + `,gen_ai_token_type="input"}`:                                                                              3,
		`gen_ai_client_token_usage_sum{` + chat + `,gen_ai_token_type="output"}`:                                                                             21,
		`gen_ai_client_token_usage_count{` + text + `,gen_ai_token_type="input"}`:                                                                            2,
		`gen_ai_client_token_usage_sum{` + text + `,gen_ai_token_type="output"}`:                                                                             14,
		`gen_ai_server_request_duration_count{` + chat + `}`:                                                                                                 1,
		`gen_ai_server_request_duration_count{` + text + `}`:                                                                                                 2,
		`gen_ai_server_request_duration_count{gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_response_model="other",error_type="_OTHER"}`: 1,
		`gen_ai_server_time_to_first_token_count{` + chat + `}`:                                                                                              1,
		`gen_ai_server_time_per_output_token_count{` + chat + `}`:                                                                                            1,
		`stream_events_sum`:             22,
		`stream_duration_seconds_count`: 1,
		`streams_open`:                  0,
	} {
		if got, ok := s[series]; got != want || !ok {
			t.Errorf("%s is %v (%v), want %v", series, got, ok, want)
		}
	}
}

// A traced is an upstream and a collector that remember traces.
type traced struct {
	mu      sync.Mutex
	parents []string // traceparent of each request, as the upstream got it
	spans   []map[string]any
}

func (c *traced) collect(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var all struct {
			ResourceSpans []struct {
				ScopeSpans []struct{ Spans []map[string]any }
			}
		}
		if err := json.Unmarshal(body, &all); err != nil {
			t.Errorf("not JSON: %v: %s", err, body)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, r := range all.ResourceSpans {
			for _, s := range r.ScopeSpans {
				c.spans = append(c.spans, s.Spans...)
			}
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// A trace goes from the client through a span of the request and one of each attempt to the upstream.
func TestSpans(t *testing.T) {
	t.Parallel()
	c := &traced{}
	up := testkit.StartUpstream(t, func(_ int, p *testkit.Peer) {
		for {
			r := p.ReadRequest()
			if r.Err != nil {
				return
			}
			c.mu.Lock()
			c.parents = append(c.parents, r.Field("traceparent"))
			n := len(c.parents)
			c.mu.Unlock()
			if n == 2 { // the second request's connection breaks, and it is sent again
				return
			}
			p.Send("%s", testkit.Answer("ok"))
		}
	})
	const trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	f := func(name string, want, wantSpans int, environ []string, fields string) {
		t.Helper()
		*c = traced{}
		g := startGateway(t, append(environ, "PY_SERVICE_URL="+up.URL)...)
		p := g.Dial()
		for range 2 {
			p.Send("GET /infer/python?x HTTP/1.1\r\nHost: a\r\n%s\r\n", fields)
			if r := p.ReadResponse(); r.Status() != 200 {
				t.Fatalf("%s: %q", name, r.First)
			}
		}
		p.Close()
		g.End(time.Second)
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.parents) != want || len(c.spans) != wantSpans {
			t.Fatalf("%s: %d requests and %d spans, want %d and %d", name, len(c.parents), len(c.spans), want, wantSpans)
		}
		if wantSpans == 0 {
			return
		}
		var asked, attempts []map[string]any
		for _, s := range c.spans {
			if s["kind"] == float64(2) {
				asked = append(asked, s)
			} else {
				attempts = append(attempts, s)
			}
		}
		owner := []int{0, 1, 1}
		for i, a := range attempts {
			if want := fmt.Sprintf("00-%s-%s-01", a["traceId"], a["spanId"]); c.parents[i] != want {
				t.Errorf("%s: attempt %d: the upstream got %s, the span is %s", name, i, c.parents[i], want)
			}
			if o := asked[owner[i]]; a["parentSpanId"] != o["spanId"] || a["traceId"] != o["traceId"] {
				t.Errorf("%s: attempt %d is not its request's: %v and %v", name, i, a, o)
			}
		}
		for _, o := range asked {
			began, _ := strconv.ParseInt(o["startTimeUnixNano"].(string), 10, 64)
			if since := time.Since(time.Unix(0, began)); since < 0 || since > time.Minute || o["name"] != "GET /infer/python" {
				t.Errorf("%s: %v, %v ago", name, o, since)
			}
			if fields != "" && (o["traceId"] != trace || o["parentSpanId"] != parent) || fields == "" && o["parentSpanId"] != nil {
				t.Errorf("%s: %v", name, o)
			}
		}
	}
	on := "OTEL_EXPORTER_OTLP_ENDPOINT=" + c.collect(t)
	f("no trace", 3, 5, []string{on}, "")
	f("sampled", 3, 5, []string{on, "OTEL_TRACES_SAMPLER_ARG=0"}, "traceparent: 00-"+trace+"-"+parent+"-01\r\n")
	f("a later version", 3, 5, []string{on}, "traceparent: cc-"+trace+"-"+parent+"-03-more\r\n")
	f("not sampled", 3, 0, []string{on}, "traceparent: 00-"+trace+"-"+parent+"-00\r\n")
	if got := c.parents[0]; got != "00-"+trace+"-"+parent+"-00" {
		t.Errorf("who is not sampled is sent on as %s", got)
	}
	f("nobody is sampled", 3, 0, []string{on, "OTEL_TRACES_SAMPLER_ARG=0"}, "")
	if got := c.parents[0]; !strings.HasSuffix(got, "-00") || !validTraceParent(got) {
		t.Errorf("who is not sampled is sent on as %s", got)
	}
	f("off", 3, 0, nil, "traceparent: 00-"+trace+"-"+parent+"-01\r\n")
	if got := c.parents[0]; got != "00-"+trace+"-"+parent+"-01" {
		t.Errorf("without a collector a trace is sent on as %s", got)
	}
}
