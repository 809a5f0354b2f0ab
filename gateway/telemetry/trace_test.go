package telemetry

import (
	"encoding/hex"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"aigateway/gateway/wire"
)

// otlp is what of an ExportTraceServiceRequest is looked at.
type otlp struct {
	ResourceSpans []struct {
		Resource   struct{ Attributes []attribute }
		ScopeSpans []struct {
			Scope struct{ Name string }
			Spans []otlpSpan
		}
	}
}

type otlpSpan struct {
	TraceID           string
	SpanID            string
	ParentSpanID      string
	Name              string
	Kind              int
	StartTimeUnixNano string
	EndTimeUnixNano   string
	Attributes        []attribute
	Status            struct{ Code int }
}

type attribute struct {
	Key   string
	Value struct{ StringValue, IntValue string }
}

func (s otlpSpan) attributes() map[string]string {
	all := map[string]string{}
	for _, a := range s.Attributes {
		all[a.Key] = a.Value.StringValue + a.Value.IntValue
	}
	return all
}

// A collector keeps the spans it is sent, and answers with the next of its statuses, or 200.
type collector struct {
	*httptest.Server
	mu       sync.Mutex
	spans    []otlpSpan
	posts    []*http.Request
	statuses []int
}

func startCollector(t *testing.T, statuses ...int) *collector {
	t.Helper()
	c := &collector{statuses: statuses}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.posts = append(c.posts, r)
		body, _ := io.ReadAll(r.Body)
		if len(c.statuses) > 0 {
			status := c.statuses[0]
			c.statuses = c.statuses[1:]
			w.WriteHeader(status)
			return
		}
		var o otlp
		if err := json.Unmarshal(body, &o); err != nil {
			t.Errorf("not JSON: %v\n%s", err, body)
			return
		}
		for _, r := range o.ResourceSpans {
			for _, s := range r.ScopeSpans {
				c.spans = append(c.spans, s.Spans...)
			}
		}
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *collector) tracer(t *testing.T, o TracerOptions) *Tracer {
	t.Helper()
	var err error
	if o.Endpoint, err = url.Parse(c.URL + "/base"); err != nil {
		t.Fatal(err)
	}
	return NewTracer(o)
}

func testSpan() Span {
	s := Span{
		Trace: [16]byte{1, 15: 2}, ID: [8]byte{3}, Began: wire.Now() - time.Second, Took: time.Second / 2, Method: "POST", Route: "/v1/*",
		Status: 200, Peer: netip.MustParseAddr("192.0.2.1"), Cache: "BYPASS", Limit: "admitted",
	}
	s.SetPath([]byte("/v1/chat/completions"))
	return s
}

func TestSpans(t *testing.T) {
	c := startCollector(t)
	tr := c.tracer(t, TracerOptions{Service: "edge", Version: "1.2", Headers: map[string]string{"Api-Key": "secret"}, Ratio: 1})
	asked := testSpan()
	attempt := Span{Trace: asked.Trace, ID: [8]byte{4}, Parent: asked.ID, Client: true, Method: "POST", URL: "http://c:8000", Fault: "timeout_connect", Resend: 1}
	tr.Record(&asked)
	tr.Record(&attempt)
	tr.Close()
	if len(c.spans) != 2 || len(c.posts) != 1 {
		t.Fatalf("%d spans in %d posts", len(c.spans), len(c.posts))
	}
	r := c.posts[0]
	if r.URL.Path != "/base/v1/traces" || r.Header.Get("Api-Key") != "secret" || r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s with %v", r.URL, r.Header)
	}
	f := func(s otlpSpan, want otlpSpan, attributes map[string]string) {
		t.Helper()
		got := s.attributes()
		for k, v := range attributes {
			if got[k] != v {
				t.Errorf("%s: %s is %q, want %q", s.Name, k, got[k], v)
			}
		}
		if len(got) != len(attributes) {
			t.Errorf("%s has %v", s.Name, got)
		}
		if s.TraceID != want.TraceID || s.SpanID != want.SpanID || s.ParentSpanID != want.ParentSpanID || s.Name != want.Name ||
			s.Kind != want.Kind || s.Status != want.Status {
			t.Errorf("got %+v, want %+v", s, want)
		}
	}
	trace := hex.EncodeToString(asked.Trace[:])
	f(c.spans[0], otlpSpan{TraceID: trace, SpanID: "0300000000000000", Name: "POST /v1/*", Kind: 2}, map[string]string{
		"http.request.method": "POST", "http.response.status_code": "200", "url.path": "/v1/chat/completions", "http.route": "/v1/*",
		"client.address": "192.0.2.1", "aigateway.cache": "BYPASS", "aigateway.limit": "admitted",
	})
	want := otlpSpan{TraceID: trace, SpanID: "0400000000000000", ParentSpanID: "0300000000000000", Name: "POST", Kind: 3}
	want.Status.Code = 2
	f(c.spans[1], want, map[string]string{
		"http.request.method": "POST", "server.address": "c", "server.port": "8000", "http.request.resend_count": "1", "error.type": "timeout_connect",
	})
	began, _ := time.ParseDuration(c.spans[0].StartTimeUnixNano + "ns")
	ended, _ := time.ParseDuration(c.spans[0].EndTimeUnixNano + "ns")
	if since := time.Since(time.Unix(0, int64(began))); ended-began != time.Second/2 || since < time.Second || since > time.Minute {
		t.Errorf("began %v ago, took %v", since, ended-began)
	}
}

// A collector that is away for a moment loses nothing; one that refuses is not asked again.
func TestSpansAreSentAgain(t *testing.T) {
	f := func(posts int, delivered, failed uint64, statuses ...int) {
		t.Helper()
		c := startCollector(t, statuses...)
		faults := 0
		tr := c.tracer(t, TracerOptions{Ratio: 1, OnFault: func(error) { faults++ }})
		s := testSpan()
		tr.Record(&s)
		tr.Close() // which is the last chance
		if len(c.posts) != posts || tr.delivered.Load() != delivered || tr.failed.Load() != failed || faults != int(failed) {
			t.Errorf("%v: %d posts, %d delivered, %d failed, %d faults", statuses, len(c.posts), tr.delivered.Load(), tr.failed.Load(), faults)
		}
	}
	f(1, 1, 0)
	f(2, 1, 0, 503)
	f(2, 0, 1, 503, 503)
	f(1, 0, 1, 400)
	f(1, 0, 1, 302)
}

// A collector that is not there costs no request anything, and no end much.
func TestSpansAreDropped(t *testing.T) {
	hold := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hold }))
	defer s.Close()
	defer close(hold)
	u, _ := url.Parse(s.URL)
	tr := NewTracer(TracerOptions{Endpoint: u, Ratio: 1})
	span := testSpan()
	for range 3 * tracerSpans {
		tr.Record(&span)
	}
	begun := time.Now()
	tr.Close()
	if d := time.Since(begun); d > tracerEnd+5*time.Second {
		t.Errorf("the end took %v", d)
	}
	if got := tr.spans.dropped.Load(); got == 0 || got > 2*tracerSpans {
		t.Errorf("%d spans dropped", got)
	}
}

func TestSampling(t *testing.T) {
	const n = 10_000
	c := startCollector(t)
	f := func(ratio float64, least, most int) {
		t.Helper()
		tr := c.tracer(t, TracerOptions{Ratio: ratio})
		defer tr.Close()
		got := 0
		for range n {
			var id [16]byte
			for i := range id {
				id[i] = byte(rand.Uint32())
			}
			if tr.Samples(&id) {
				got++
			}
		}
		if got < least || got > most {
			t.Errorf("ratio %v: %d of %d", ratio, got, n)
		}
	}
	f(0, 0, 0)
	f(0.1, n/20, n/5)
	f(1, n, n)
}

// What a client sends cannot break a batch.
func TestOddSpans(t *testing.T) {
	c := startCollector(t)
	tr := c.tracer(t, TracerOptions{Ratio: 1, Service: "a\"b"})
	s := testSpan()
	s.SetPath([]byte("/\xff\"\n" + strings.Repeat("é", 200)))
	s.Method = MethodName([]byte("BREW"))
	tr.Record(&s)
	tr.Close()
	if len(c.spans) != 1 || c.spans[0].attributes()["http.request.method"] != "_OTHER" || len(c.spans[0].attributes()["url.path"]) > 3*maxSpanPath {
		t.Errorf("%+v", c.spans)
	}
	var off *Tracer
	off.Record(&s)
	off.Close()
}

func TestAllocSpans(t *testing.T) {
	u, _ := url.Parse("http://127.0.0.1:1")
	tr := &Tracer{options: TracerOptions{Endpoint: u}, spans: newRing[Span](16)}
	path := []byte("/v1/chat/completions")
	if allocs := testing.AllocsPerRun(1000, func() {
		s := testSpan()
		s.ID = NewSpanID()
		s.SetPath(path)
		tr.Record(&s)
		tr.spans.take(func(*Span) {})
	}); allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func BenchmarkSpan(b *testing.B) {
	tr := &Tracer{spans: newRing[Span](16)}
	s := testSpan()
	b.ReportAllocs()
	for b.Loop() {
		tr.Record(&s)
		tr.spans.take(func(*Span) {})
	}
}
