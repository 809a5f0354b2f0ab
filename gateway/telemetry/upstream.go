package telemetry

import (
	"maps"
	"slices"
	"time"
)

// UpstreamState is what an upstream is like now.
type UpstreamState struct {
	Inflight int64 // requests it has and did not answer yet
	Healthy  bool
}

type upstreamName struct{ pool, url string }

// An Upstream is the series of one upstream. A nil Upstream counts nothing.
type Upstream struct {
	requests codes
	errors   tally
	duration *histogram // its pool's
}

// Done counts an answer of the upstream's, d after it was asked.
func (u *Upstream) Done(code int, d time.Duration) {
	if u == nil {
		return
	}
	u.requests.inc(code)
	u.duration.observe(d)
}

// Error counts an attempt that brought no whole answer. A kind that is not in Options.ErrorKinds is "other".
func (u *Upstream) Error(kind string) {
	if u != nil {
		u.errors.inc(kind)
	}
}

func (m *Metrics) upstreamFamilies() {
	m.upRequests = m.counters("upstream_requests_total", "Answers of upstreams, by status code.")
	m.upErrors = m.counters("upstream_errors_total", "Attempts that brought no whole answer from an upstream, by kind.")
	m.upDuration = m.histograms("upstream_duration_seconds", "Time an upstream took to answer.")
	m.upInflight = m.gauges("upstream_inflight", "Requests that an upstream has and did not answer yet.")
	m.upHealthy = m.gauges("upstream_healthy", "1 if the last probe or attempt to connect found the upstream, else 0.")
}

// addUpstreams makes the series of the upstreams that are not there yet.
func (m *Metrics) addUpstreams(pools map[string][]string) {
	for _, pool := range slices.Sorted(maps.Keys(pools)) {
		if m.pools[pool] == nil {
			m.pools[pool] = newHistogram(requestBounds)
			m.upDuration.histogram(label("pool", pool), m.pools[pool])
		}
		for _, url := range pools[pool] {
			if m.upstreams[upstreamName{pool, url}] == nil { // else named twice, for twice the share
				m.addUpstream(pool, url)
			}
		}
	}
}

func (m *Metrics) addUpstream(pool, url string) {
	labels := label("pool", pool) + "," + label("upstream", url)
	m.upstreams[upstreamName{pool, url}] = &Upstream{
		requests: codes{family: m.upRequests, labels: labels},
		errors:   newTally(m.upErrors, labels, "kind", m.options.ErrorKinds),
		duration: m.pools[pool],
	}
	state := m.options.UpstreamState
	if state == nil {
		return
	}
	m.upInflight.gauge(labels, func() float64 { return float64(state(pool, url).Inflight) })
	m.upHealthy.gauge(labels, func() float64 { return oneIf(state(pool, url).Healthy) })
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
