package telemetry

import (
	"slices"
	"sync"
)

// A life is that of series which a reload may take away. Requests that began before count to their end, but make no series
// any more.
type life struct {
	mu   sync.Mutex // held to make a series of a status code
	over bool
}

func (l *life) end() {
	l.mu.Lock()
	l.over = true
	l.mu.Unlock()
}

// past is what routes have counted that are no more: totals over all routes must not shrink.
type past struct {
	requests           Responses
	duration, overhead *histogram
	leaving            []*Route // since the last reload: requests may be under way on them
}

// Keep drops the series of the routes and upstreams that are none of these: a reload took them away, and no request finds them
// any more.
func (m *Metrics) Keep(routes []string, pools map[string][]string) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fold()
	for template, r := range m.routes {
		if template != noRoute && !slices.Contains(routes, template) {
			delete(m.routes, template)
			m.forgetRoute(r)
		}
	}
	for name, u := range m.upstreams {
		if !slices.Contains(pools[name.pool], name.url) {
			delete(m.upstreams, name)
			m.forgetUpstream(name, u)
		}
	}
	for pool, duration := range m.pools {
		if len(pools[pool]) == 0 {
			delete(m.pools, pool)
			m.upDuration.forget(duration)
			m.forgetQueue(pool)
		}
	}
}

// fold adds up the routes that left with the reload before the last.
func (m *Metrics) fold() {
	for _, r := range m.past.leaving {
		m.past.requests.addRoute(r)
		m.past.duration.add(r.duration)
		m.past.overhead.add(r.overhead)
		m.overhead.parts = slices.DeleteFunc(m.overhead.parts, func(h *histogram) bool { return h == r.overhead })
	}
	m.past.leaving = nil
}

func (m *Metrics) forgetRoute(r *Route) {
	r.life.end()
	for i := range r.requests {
		if c := r.requests[i].Load(); c != nil {
			c.forget()
		}
	}
	m.duration.forget(r)
	m.firstByte.forget(r)
	m.past.leaving = append(m.past.leaving, r)
}

func (m *Metrics) forgetUpstream(name upstreamName, u *Upstream) {
	u.life.end()
	u.requests.forget()
	u.errors.forget()
	labels := name.labels()
	for _, f := range []*family{m.upInflight, m.upBreaker, m.upHealthy} {
		f.drop(labels)
	}
}

func (m *Metrics) forgetQueue(pool string) {
	labels := label("pool", pool)
	m.queueLength.drop(labels)
	for _, class := range m.options.QueueClasses {
		m.queueDepth.drop(labels + "," + label("class", class))
	}
	for _, reason := range m.options.ShedReasons {
		m.queueShed.drop(labels + "," + label("reason", reason))
	}
	if waits := m.waits[pool]; waits != nil {
		m.queueWait.forget(waits)
		delete(m.waits, pool)
	}
	for _, outcome := range queueOutcomes {
		m.queueWaits.drop(labels + "," + label("outcome", outcome.name))
	}
}

// Gone tells whether the upstream's series are gone for good.
func (u *Upstream) Gone() bool {
	if u == nil {
		return false
	}
	u.life.mu.Lock()
	defer u.life.mu.Unlock()
	return u.life.over
}
