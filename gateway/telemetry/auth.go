package telemetry

import "github.com/VictoriaMetrics/metrics"

// addAuth registers the refusals of those who have not shown a key that opens, by the reasons in Options.
func (m *Metrics) addAuth() {
	if len(m.options.AuthReasons) == 0 {
		return
	}
	f := m.counters("auth_failures_total", "Requests refused for the key they showed, or did not, by reason.")
	for _, reason := range m.options.AuthReasons {
		m.authFailures = append(m.authFailures, f.counter(label("reason", reason)))
	}
}

// AuthFailure counts a refusal, by its number among Options.AuthReasons.
func (m *Metrics) AuthFailure(reason int) {
	if m != nil && reason < len(m.authFailures) {
		m.authFailures[reason].Inc()
	}
}

type authFailures []*metrics.Counter
