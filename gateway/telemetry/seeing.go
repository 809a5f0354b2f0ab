package telemetry

import (
	"bytes"
	"fmt"
)

// Watch shows what becomes of access lines and spans. Either may be nil. Not to be called once the page is served.
func (m *Metrics) Watch(l *AccessLog, t *Tracer) {
	if m != nil {
		m.access, m.tracer = l, t
	}
}

// writeSeeing writes the series about what tells of requests elsewhere.
func (m *Metrics) writeSeeing(b *bytes.Buffer) {
	writeHead(b, "access_log_dropped_total", "Access lines dropped because too many were waiting.", "counter")
	fmt.Fprintf(b, "access_log_dropped_total %d\n", m.access.Dropped())
	var delivered, failed, dropped uint64
	if t := m.tracer; t != nil {
		delivered, failed, dropped = t.delivered.Load(), t.failed.Load(), t.spans.dropped.Load()
	}
	writeHead(b, "trace_spans_total", "Spans, by what became of them.", "counter")
	fmt.Fprintf(b, "trace_spans_total{outcome=\"delivered\"} %d\n", delivered)
	fmt.Fprintf(b, "trace_spans_total{outcome=\"refused\"} %d\n", failed)
	fmt.Fprintf(b, "trace_spans_total{outcome=\"dropped\"} %d\n", dropped)
}
