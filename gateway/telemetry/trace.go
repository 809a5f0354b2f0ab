package telemetry

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"aigateway/gateway/wire"
)

// Spans go to a collector by OTLP over HTTP, as JSON. The official SDK would bring 22 modules and allocate a dozen times a
// request, for what is one struct copied into a queue and one POST a few times a second; the format is fixed
// (https://opentelemetry.io/docs/specs/otlp/) and every collector reads it.

// A Span is one request, or one attempt at an upstream for it. It holds no borrowed memory.
type Span struct {
	Trace      [16]byte
	ID, Parent [8]byte // Parent is zero for the first of a trace
	Client     bool    // an attempt at an upstream; otherwise what a client asked
	Began      time.Duration
	Took       time.Duration // Began is as wire.Now
	Method     string
	Route      string
	Path       [maxSpanPath]byte // without the query; what is longer is cut
	PathLen    int
	Peer       netip.Addr // the client; the zero Addr: unknown
	URL        string     // of the upstream
	Status     int        // 0: no answer
	Fault      string     // why there is no whole answer; "" if there is
	Cache      string
	Limit      string
	Key        string // whose it was; "" if nobody needs a key
	Resend     int    // which attempt of its request it is, from 0
}

const maxSpanPath = 128

// SetPath keeps the path as far as there is room.
func (s *Span) SetPath(path []byte) { s.PathLen = copy(s.Path[:], path) }

// MethodName is the method if it is a known one, else "_OTHER", as the conventions want it.
func MethodName(method []byte) string {
	if i := methodIndex(method); i < len(methods)-1 {
		return methods[i]
	}
	return "_OTHER"
}

// TracerOptions say where spans go.
type TracerOptions struct {
	Endpoint *url.URL          // the base: /v1/traces is added
	Headers  map[string]string // for the collector
	Service  string
	Version  string
	Ratio    float64     // the share of requests without a trace that begin one
	OnFault  func(error) // told when a batch could not be delivered; nil: nobody wants to know
}

// A Tracer takes spans and delivers them, off the way of requests: they wait in a bounded queue, and what finds it full is
// dropped and counted. A nil Tracer is off.
type Tracer struct {
	options TracerOptions
	target  string
	below   uint64
	spans   *ring[Span]
	body    []byte // of a batch, run's own
	client  *http.Client
	stop    chan struct{}
	done    chan struct{}
	ended   context.Context // when the time for the last batches is over
	end     context.CancelFunc

	delivered, failed atomic.Uint64
}

const (
	tracerSpans  = 8192 // that the queue holds
	tracerBatch  = 512  // spans of a request to the collector
	tracerGather = 200 * time.Millisecond
	exportTime   = 10 * time.Second // for a request to the collector: OTEL_EXPORTER_OTLP_TIMEOUT's default
	exportTries  = 4
	exportPause  = time.Second // before the second try; it doubles
	tracerEnd    = 2 * time.Second
)

// NewTracer starts a tracer. Close ends it.
func NewTracer(o TracerOptions) *Tracer {
	if o.OnFault == nil {
		o.OnFault = func(error) {}
	}
	t := &Tracer{
		options: o, target: o.Endpoint.JoinPath("v1", "traces").String(), below: math.MaxUint64, spans: newRing[Span](tracerSpans),
		client: &http.Client{
			Timeout: exportTime, Transport: &http.Transport{
				DialContext: (&net.Dialer{Timeout: exportTime}).DialContext, MaxIdleConns: 1, IdleConnTimeout: time.Minute,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // its fields are secret
		},
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	if o.Ratio < 1 {
		t.below = uint64(o.Ratio * math.MaxUint64)
	}
	t.ended, t.end = context.WithCancel(context.Background())
	go t.run()
	return t
}

// Samples decides for a request that came without a trace, whose id is random: by its last eight bytes, as the ratio
// sampler of the specification does, so that all who ask the same ratio decide the same.
func (t *Tracer) Samples(trace *[16]byte) bool {
	return t.below == math.MaxUint64 || binary.BigEndian.Uint64(trace[8:]) < t.below
}

// NewSpanID is a random id.
func NewSpanID() (id [8]byte) {
	binary.BigEndian.PutUint64(id[:], rand.Uint64()|1) // never all zero
	return id
}

// A Trace is a request's place in one.
type Trace struct {
	Sampled      bool // the request has spans
	ID           [16]byte
	Span, Parent [8]byte // the request's own; Parent is zero if the client brings none
	attempts     int
}

// Join gives a request that is sampled its ids. parent is the traceparent that goes upstream, which names the span of the attempt as
// its parent: it is the client's as it came, or a new one, and Join returns it as it is then.
func (t *Tracer) Join(of *Trace, parent, client []byte) []byte {
	_, _ = hex.Decode(of.ID[:], parent[3:35])
	if bytes.Equal(parent, client) {
		flags := hexDigit(parent[54])
		if of.Sampled = flags&1 != 0; !of.Sampled {
			return parent
		}
		_, _ = hex.Decode(of.Parent[:], parent[36:52])
		// What is sent on is of the version that is known here.
		parent = append(parent[:53], "01"...)
		parent[0], parent[1] = '0', '0'
	} else if of.Sampled = t.Samples(&of.ID); !of.Sampled {
		parent[54] = '0'
		return parent
	}
	of.Span = NewSpanID()
	nextAttempt(parent)
	return parent
}

// RecordAttempt leaves the span of an attempt that has ended, which parent names, and names the next one there.
func (t *Tracer) RecordAttempt(of *Trace, parent []byte, s *Span) {
	s.Trace, s.Parent, s.Resend = of.ID, of.Span, of.attempts
	_, _ = hex.Decode(s.ID[:], parent[36:52])
	t.Record(s)
	of.attempts++
	nextAttempt(parent)
}

func hexDigit(c byte) byte {
	if c >= 'a' {
		return c - 'a' + 10
	}
	return c - '0'
}

// nextAttempt names the next attempt's span in a traceparent.
func nextAttempt(parent []byte) {
	id := NewSpanID()
	hex.Encode(parent[36:52], id[:])
}

// Record leaves a copy of the span in the queue.
func (t *Tracer) Record(s *Span) {
	if t == nil {
		return
	}
	slot := t.spans.claim()
	if slot == nil {
		return
	}
	slot.value = *s
	t.spans.publish(slot)
}

// Close delivers what is in the queue, if the collector takes it in a moment, and ends the tracer.
func (t *Tracer) Close() {
	if t == nil {
		return
	}
	close(t.stop)
	timer := time.AfterFunc(tracerEnd, t.end)
	<-t.done
	timer.Stop()
	t.end()
	t.client.CloseIdleConnections()
}

func (t *Tracer) run() {
	defer close(t.done)
	for t.spans.rest(t.stop, tracerGather) {
		t.flush()
	}
	t.flush()
}

// flush delivers what is in the queue.
func (t *Tracer) flush() {
	for !t.spans.empty() {
		b := t.appendHead(t.body[:0])
		offset := time.Now().UnixNano() - int64(wire.Now()) // read anew: the wall clock may have been set
		n := uint64(0)
		for n < tracerBatch && t.spans.take(func(s *Span) {
			if n > 0 {
				b = append(b, ',')
			}
			b = appendSpan(b, s, offset)
		}) {
			n++
		}
		b = append(b, "]}]}]}"...)
		t.body = b
		if err := t.deliver(b); err != nil {
			t.failed.Add(n)
			t.options.OnFault(err)
		} else {
			t.delivered.Add(n)
		}
	}
}

// deliver posts a batch, and again if that may help: OTLP names the statuses.
func (t *Tracer) deliver(b []byte) error {
	for try, pause := 1, exportPause; ; try, pause = try+1, 2*pause {
		again, err := t.post(b)
		if err == nil || !again || try == exportTries {
			return err
		}
		select {
		case <-time.After(pause):
		case <-t.stop:
			_, err := t.post(b) // the last chance
			return err
		}
	}
}

func (t *Tracer) post(b []byte) (again bool, err error) {
	r, err := http.NewRequestWithContext(t.ended, http.MethodPost, t.target, bytes.NewReader(b))
	if err != nil {
		return false, err
	}
	for name, value := range t.options.Headers {
		r.Header.Set(name, value)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", wire.Name+"/"+t.options.Version)
	answer, err := t.client.Do(r)
	if err != nil {
		return true, err
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10))
	switch code := answer.StatusCode; {
	case code/100 == 2:
		return false, nil
	case code == 429, code == 502, code == 503, code == 504:
		return true, fmt.Errorf("the collector answers %d", code)
	default:
		return false, fmt.Errorf("the collector answers %d", code)
	}
}

func (t *Tracer) appendHead(b []byte) []byte {
	b = append(b, `{"resourceSpans":[{"resource":{"attributes":[`...)
	b = appendText(b, "service.name", t.options.Service)
	b = appendText(append(b, ','), "service.version", t.options.Version)
	b = append(b, `]},"scopeSpans":[{"scope":{"name":"`+wire.Name+`","version":`...)
	return append(appendString(b, t.options.Version), `},"spans":[`...)
}

// The numbers of SpanKind and StatusCode.
const (
	kindServer  = "2"
	kindClient  = "3"
	statusError = `,"status":{"code":2}}`
)

// appendSpan appends a span in OTLP's JSON: ids as hexadecimal, 64-bit numbers as strings. The attributes are those of the
// conventions for HTTP; none has a query, a field's value or a body.
func appendSpan(b []byte, s *Span, offset int64) []byte {
	b = hex.AppendEncode(append(b, `{"traceId":"`...), s.Trace[:])
	b = hex.AppendEncode(append(b, `","spanId":"`...), s.ID[:])
	if s.Parent != [8]byte{} {
		b = hex.AppendEncode(append(b, `","parentSpanId":"`...), s.Parent[:])
	}
	name, kind := s.Method, kindServer
	switch {
	case s.Client:
		kind = kindClient
	case s.Route != "":
		name += " " + s.Route
	}
	b = appendString(append(b, `","flags":1,"name":`...), name) // W3C: sampled
	b = append(append(b, `,"kind":`...), kind...)
	b = append(b, `,"startTimeUnixNano":"`...)
	b = strconv.AppendInt(b, offset+int64(s.Began), 10)
	b = append(b, `","endTimeUnixNano":"`...)
	b = strconv.AppendInt(b, offset+int64(s.Began+s.Took), 10)
	b = append(b, `","attributes":[`...)
	b = appendText(b, "http.request.method", s.Method)
	if s.Status != 0 {
		b = appendNumber(append(b, ','), "http.response.status_code", s.Status)
	}
	if s.Client {
		b = appendAttempt(b, s)
	} else {
		b = appendAsked(b, s)
	}
	switch {
	case s.Fault != "":
		b = appendText(append(b, ','), "error.type", s.Fault)
	case s.failed():
		b = appendText(append(b, ','), "error.type", strconv.Itoa(s.Status))
	default:
		return append(b, "]}"...)
	}
	return append(append(b, ']'), statusError...)
}

// failed tells whether the status is a failure: of a server's span, only its own.
func (s *Span) failed() bool { return s.Status >= 500 || s.Client && s.Status >= 400 }

func appendAttempt(b []byte, s *Span) []byte {
	if u, err := url.Parse(s.URL); err == nil {
		b = appendText(append(b, ','), "server.address", u.Hostname())
		if port, err := strconv.Atoi(u.Port()); err == nil {
			b = appendNumber(append(b, ','), "server.port", port)
		}
	}
	if s.Resend > 0 {
		b = appendNumber(append(b, ','), "http.request.resend_count", s.Resend)
	}
	return b
}

func appendAsked(b []byte, s *Span) []byte {
	b = appendText(append(b, ','), "url.path", string(s.Path[:s.PathLen]))
	if s.Route != "" {
		b = appendText(append(b, ','), "http.route", s.Route)
	}
	if s.Peer.IsValid() {
		b = appendText(append(b, ','), "client.address", s.Peer.WithZone("").String())
	}
	if s.Cache != "" {
		b = appendText(append(b, ','), "aigateway.cache", s.Cache)
	}
	if s.Key != "" {
		b = appendText(append(b, ','), "aigateway.key", s.Key)
	}
	if s.Limit != "" {
		b = appendText(append(b, ','), "aigateway.limit", s.Limit)
	}
	return b
}

func appendText(b []byte, key, value string) []byte {
	b = appendString(append(b, `{"key":`...), key)
	b = appendString(append(b, `,"value":{"stringValue":`...), value)
	return append(b, "}}"...)
}

func appendNumber(b []byte, key string, value int) []byte {
	b = appendString(append(b, `{"key":`...), key)
	b = strconv.AppendInt(append(b, `,"value":{"intValue":"`...), int64(value), 10)
	return append(b, `"}}`...)
}
