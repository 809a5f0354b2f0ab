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
	Breaker  int // 0 closed, 1 half open, 2 open
}

// QueueState is what the queue of a pool is like now, and what became of the requests that were to wait.
type QueueState struct {
	Length   int64
	Waiting  []int64 // by Options.QueueClasses
	Admitted int64   // found a place at an upstream
	Late     int64   // found none in time
	Refused  int64   // found the queue full
	Shed     []int64 // by Options.ShedReasons
}

type upstreamName struct{ pool, url string }

func (n upstreamName) labels() string { return label("pool", n.pool) + "," + label("upstream", n.url) }

// An Upstream is the series of one upstream. A nil Upstream counts nothing.
type Upstream struct {
	life     life
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
	m.upBreaker = m.gauges("breaker_state", "What the breaker of an upstream lets through: 0 closed, 1 half open, 2 open.")
	m.queueLength = m.gauges("upstream_queue_length", "Requests that wait for a place at an upstream of the pool.")
	m.queueWaits = m.counters("upstream_queue_waits_total", "Requests that waited for a place at an upstream, by what became of them.")
	m.queueDepth = m.gauges("queue_depth", "Requests that wait for a place at an upstream of the pool, by class.")
	m.queueWait = m.histograms("queue_wait_seconds", "Time that requests waited for their place at an upstream, by class.")
	m.queueWait.sparse = true
	m.queueShed = m.counters("queue_shed_total", "Requests that had to wait, and were refused or given up, by reason.")
	m.upHealthy = m.gauges("upstream_healthy", "1 if the last probe or attempt to connect found the upstream, else 0.")
}

// addUpstreams makes the series of the upstreams that are not there yet.
func (m *Metrics) addUpstreams(pools map[string][]string) {
	for _, pool := range slices.Sorted(maps.Keys(pools)) {
		if m.pools[pool] == nil {
			m.pools[pool] = newHistogram(requestBounds)
			m.upDuration.histogram(label("pool", pool), m.pools[pool]).group = m.pools[pool]
			m.addQueue(pool)
		}
		for _, url := range pools[pool] {
			if m.upstreams[upstreamName{pool, url}] == nil { // else named twice, for twice the share
				m.addUpstream(pool, url)
			}
		}
	}
}

func (m *Metrics) addUpstream(pool, url string) {
	labels := upstreamName{pool, url}.labels()
	u := &Upstream{errors: newTally(m.upErrors, labels, "kind", m.options.ErrorKinds), duration: m.pools[pool]}
	u.requests = codes{family: m.upRequests, life: &u.life, labels: labels}
	m.upstreams[upstreamName{pool, url}] = u
	state := m.options.UpstreamState
	if state == nil {
		return
	}
	m.upInflight.gauge(labels, func() float64 { return float64(state(pool, url).Inflight) })
	m.upBreaker.gauge(labels, func() float64 { return float64(state(pool, url).Breaker) })
	m.upHealthy.gauge(labels, func() float64 { return oneIf(state(pool, url).Healthy) })
}

func (m *Metrics) addQueue(pool string) {
	state := m.options.QueueState
	if state == nil {
		return
	}
	labels := label("pool", pool)
	waits := &queueWaits{by: make(map[string]*histogram, len(m.options.QueueClasses))}
	for i, class := range m.options.QueueClasses {
		labels := labels + "," + label("class", class)
		m.queueDepth.gauge(labels, func() float64 { return float64(state(pool).Waiting[i]) })
		waits.by[class] = newHistogram(requestBounds)
		m.queueWait.histogram(labels, waits.by[class]).group = waits
	}
	m.waits[pool] = waits
	for i, reason := range m.options.ShedReasons {
		m.queueShed.gauge(labels+","+label("reason", reason), func() float64 { return float64(state(pool).Shed[i]) })
	}
	m.queueLength.gauge(labels, func() float64 { return float64(state(pool).Length) })
	for _, outcome := range queueOutcomes {
		m.queueWaits.gauge(labels+","+label("outcome", outcome.name), func() float64 { return float64(outcome.count(state(pool))) })
	}
}

// queueWaits are the times that requests to a pool waited, by class.
type queueWaits struct{ by map[string]*histogram }

// Waited counts a request to the pool that waited so long for its place.
func (m *Metrics) Waited(pool, class string, took time.Duration) {
	if m == nil {
		return
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if waits := m.waits[pool]; waits != nil && waits.by[class] != nil {
		waits.by[class].observe(took)
	}
}

var queueOutcomes = []struct {
	name  string
	count func(QueueState) int64
}{
	{"admitted", func(s QueueState) int64 { return s.Admitted }},
	{"timeout", func(s QueueState) int64 { return s.Late }},
	{"full", func(s QueueState) int64 { return s.Refused }},
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
