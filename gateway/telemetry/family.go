package telemetry

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/VictoriaMetrics/metrics"
)

// A family is the series of one name. Each has a set of its own: the library's HELP lines are empty, are written for
// families with a series only, and are switched on for the whole process; these are not.
type family struct {
	name, help, kind string

	set        *metrics.Set
	histograms []*labelled
	sparse     bool // histograms without an observation are left out
}

// labelled is histograms that are one series: their sum.
type labelled struct {
	labels string
	parts  []*histogram
	group  any // what it goes with, if it can
}

func (m *Metrics) counters(name, help string) *family { return m.family(name, help, "counter") }

func (m *Metrics) gauges(name, help string) *family { return m.family(name, help, "gauge") }

func (m *Metrics) histograms(name, help string) *family { return m.family(name, help, "histogram") }

func (m *Metrics) family(name, help, kind string) *family {
	f := &family{name: name, help: help, kind: kind, set: metrics.NewSet()}
	m.families = append(m.families, f)
	return f
}

// counter returns the counter with these labels; it makes it if need be.
func (f *family) counter(labels string) *metrics.Counter {
	return f.set.GetOrCreateCounter(f.series(labels))
}

func (f *family) gauge(labels string, read func() float64) {
	f.set.GetOrCreateGauge(f.series(labels), read)
}

// histogram makes the sum of parts a series. Not to be called while the family is written.
func (f *family) histogram(labels string, parts ...*histogram) *labelled {
	l := &labelled{labels: labels, parts: parts}
	f.histograms = append(f.histograms, l)
	return l
}

// forget drops the histograms of a group. Not to be called while the family is written.
func (f *family) forget(group any) {
	f.histograms = slices.DeleteFunc(f.histograms, func(l *labelled) bool { return l.group == group })
}

// drop takes the counter or gauge with these labels away.
func (f *family) drop(labels string) { f.set.UnregisterMetric(f.series(labels)) }

func (f *family) series(labels string) string {
	if labels == "" {
		return f.name
	}
	return f.name + "{" + labels + "}"
}

func (f *family) write(b *bytes.Buffer) {
	writeHead(b, f.name, f.help, f.kind)
	f.set.WritePrometheus(b)
	for _, h := range f.histograms {
		if f.sparse && h.parts[0].empty() {
			continue
		}
		writeHistogram(b, f.name, *h)
	}
}

// writeHead writes the metadata that come before a family's series, which tell a scraper how to read them.
func writeHead(w io.Writer, name, help, kind string) {
	fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// label quotes a label as the text format does, which is not how Go does: only these three are escaped.
func label(name, value string) string {
	value = strings.ToValidUTF8(value, "\uFFFD")
	return name + `="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(value) + `"`
}
