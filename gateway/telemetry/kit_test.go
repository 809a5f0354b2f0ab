package telemetry

import (
	"bytes"
	"math"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

func testOptions() Options {
	return Options{
		Version:       "1.2.3",
		Routes:        []string{"/infer/python", "/v1/*"},
		Pools:         map[string][]string{"python": {"http://a:8001", "http://b:8001"}, "llm": {"http://c:80"}},
		ErrorKinds:    []string{"timeout_connect", "truncated"},
		RetryReasons:  []string{"unreachable"},
		CancelPhases:  []string{"waiting", "streaming"},
		UpstreamState: func(_, url string) UpstreamState { return UpstreamState{Inflight: 7, Healthy: url == "http://a:8001"} },
		RateLimit: func() RateLimit {
			return RateLimit{Clients: 1, Overflow: 2, DroppedClient: 3, DroppedGlobal: 4, Leases: 5, LeaseTokens: 6, Fallback: true}
		},
	}
}

func page(m *Metrics) string {
	var b bytes.Buffer
	m.WritePrometheus(&b)
	return b.String()
}

// scrape is the page as Prometheus reads it.
func scrape(t *testing.T, m *Metrics) map[string]*dto.MetricFamily {
	t.Helper()
	text := page(m)
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("the page does not parse: %v\n%s", err, text)
	}
	return families
}

// value is a series' value, or NaN if there is no such series. Labels are as on the page.
func value(t *testing.T, m *Metrics, series string) float64 {
	t.Helper()
	name, _, _ := strings.Cut(series, "{")
	for _, metric := range scrape(t, m)[name].GetMetric() {
		if name+labelsOf(metric) == series {
			switch {
			case metric.Counter != nil:
				return metric.Counter.GetValue()
			case metric.Gauge != nil:
				return metric.Gauge.GetValue()
			case metric.Histogram != nil:
				return float64(metric.Histogram.GetSampleCount())
			}
		}
	}
	return math.NaN()
}

func labelsOf(m *dto.Metric) string {
	var pairs []string
	for _, l := range m.GetLabel() {
		pairs = append(pairs, label(l.GetName(), l.GetValue()))
	}
	if pairs == nil {
		return ""
	}
	return "{" + strings.Join(pairs, ",") + "}"
}

// seriesCount counts what a scraper stores of the gateway's own: the lines that are no metadata.
func seriesCount(m *Metrics) (n int) {
	for line := range strings.Lines(page(m)) {
		if !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "go_") && !strings.HasPrefix(line, "process_") {
			n++
		}
	}
	return n
}
