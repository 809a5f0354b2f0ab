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

func (m *Metrics) addUpstreams(o Options) {
	requests := m.counters("upstream_requests_total", "Answers of upstreams, by status code.")
	errors := m.counters("upstream_errors_total", "Attempts that brought no whole answer from an upstream, by kind.")
	duration := m.histograms("upstream_duration_seconds", "Time an upstream took to answer.")
	inflight := m.gauges("upstream_inflight", "Requests that an upstream has and did not answer yet.")
	healthy := m.gauges("upstream_healthy", "1 if the last probe or attempt to connect found the upstream, else 0.")
	for _, pool := range slices.Sorted(maps.Keys(o.Pools)) {
		h := newHistogram(requestBounds)
		duration.histogram(label("pool", pool), h)
		for _, url := range o.Pools[pool] {
			if m.upstreams[upstreamName{pool, url}] != nil {
				continue // named twice, for twice the share
			}
			labels := label("pool", pool) + "," + label("upstream", url)
			m.upstreams[upstreamName{pool, url}] = &Upstream{
				requests: codes{family: requests, labels: labels},
				errors:   newTally(errors, labels, "kind", o.ErrorKinds),
				duration: h,
			}
			if o.UpstreamState == nil {
				continue
			}
			inflight.gauge(labels, func() float64 { return float64(o.UpstreamState(pool, url).Inflight) })
			healthy.gauge(labels, func() float64 { return oneIf(o.UpstreamState(pool, url).Healthy) })
		}
	}
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
