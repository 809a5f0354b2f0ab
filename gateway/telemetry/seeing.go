package telemetry

import (
	"bytes"
	"fmt"
)

// Watch shows what becomes of lines, those of the access log among them, and of spans. Each may be nil. Not to be called
// once the page is served.
func (m *Metrics) Watch(l *Lines, a *AccessLog, t *Tracer) {
	if m != nil {
		m.lines, m.access, m.tracer = l, a, t
	}
}

// writeSeeing writes the series about what tells of requests elsewhere.
func (m *Metrics) writeSeeing(b *bytes.Buffer) {
	writeHead(b, "log_lines_lost_total", "Lines of the log, also of requests, that were not taken in time or could not be written.", "counter")
	fmt.Fprintf(b, "log_lines_lost_total %d\n", m.lines.Lost())
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
