package telemetry

import (
	"bytes"
	"strings"

	"github.com/VictoriaMetrics/metrics"
)

// writeProcess writes what the Go runtime and the kernel tell about the process.
func writeProcess(b *bytes.Buffer) {
	var plain bytes.Buffer
	metrics.WriteProcessMetrics(&plain)
	metrics.WriteFDMetrics(&plain)
	writeTyped(b, plain.String())
}

// writeTyped puts metadata before each family of plain series. The library knows the types, but tells them only behind a
// switch for the whole process, without help, and with process_io_*_total as gauges; the names tell as much.
func writeTyped(b *bytes.Buffer, plain string) {
	var last string
	for line := range strings.Lines(plain) {
		name := line[:max(0, strings.IndexAny(line, "{ "))]
		if name == "" {
			continue // no series
		}
		if !partOf(name, last) {
			var kind string
			last, kind = familyOf(name, line[len(name):])
			writeHead(b, last, helpOf(last), kind)
		}
		b.WriteString(line)
	}
}

// partOf tells whether a series belongs to the family before it.
func partOf(name, family string) bool {
	suffix, ok := strings.CutPrefix(name, family)
	if !ok || family == "" {
		return false
	}
	switch suffix {
	case "", "_bucket", "_sum", "_count":
		return true
	}
	return false
}

// familyOf tells a family's name and type from its first series.
func familyOf(name, rest string) (family, kind string) {
	if base, ok := strings.CutSuffix(name, "_bucket"); ok && strings.HasPrefix(rest, "{le=") {
		return base, "histogram"
	}
	switch {
	case strings.HasPrefix(rest, "{quantile="):
		return name, "summary"
	case strings.HasSuffix(name, "_total"), name == "go_cgo_calls_count", name == "go_gc_forced_count":
		return name, "counter"
	}
	return name, "gauge"
}

func helpOf(name string) string {
	if strings.HasPrefix(name, "go_") {
		return "As Go's runtime/metrics and runtime.MemStats tell it."
	}
	return "As the operating system tells it of this process."
}
