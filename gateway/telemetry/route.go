package telemetry

import (
	"sync/atomic"
	"time"
)

// methods are those that everybody knows; any other is counted as one.
var methods = [...]string{"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", other}

// methodIndex finds a method in methods, without making a string of it.
func methodIndex(method []byte) int {
	switch string(method) {
	case "DELETE":
		return 0
	case "GET":
		return 1
	case "HEAD":
		return 2
	case "OPTIONS":
		return 3
	case "PATCH":
		return 4
	case "POST":
		return 5
	case "PUT":
		return 6
	case "QUERY":
		return 7
	}
	return len(methods) - 1
}

// A Route is the series of one route. A nil Route counts nothing.
type Route struct {
	labels    string
	family    *family
	life      life
	requests  [len(methods)]atomic.Pointer[codes] // 4 KB each, and few routes see more than two methods
	duration  *histogram
	overhead  *histogram // all routes' are one series, but not one cache line
	firstByte *histogram
}

// Done counts a request that was answered. Total is from its first byte to its answer's last; overhead is the part of it
// that was neither the upstream's nor a peer's.
func (r *Route) Done(method []byte, code int, total, overhead time.Duration) {
	if r == nil {
		return
	}
	r.by(methodIndex(method)).inc(code)
	r.duration.observe(total)
	r.overhead.observe(overhead)
}

// FirstByte counts an answer that begins, d after its request.
func (r *Route) FirstByte(d time.Duration) {
	if r != nil {
		r.firstByte.observe(d)
	}
}

// by returns the counters of a method.
func (r *Route) by(method int) *codes {
	p := &r.requests[method]
	if c := p.Load(); c != nil {
		return c
	}
	p.CompareAndSwap(nil, &codes{family: r.family, life: &r.life, labels: r.labels + "," + label("method", methods[method])})
	return p.Load()
}

func (m *Metrics) routeFamilies() {
	m.requests = m.counters("http_requests_total", "Requests answered, by route, method and status code.")
	m.duration = m.histograms("request_duration_seconds", "Time from a request's first byte to the last of its answer.")
	m.firstByte = m.histograms("time_to_first_byte_seconds", "Time from a request's first byte to the first of its answer.")
	overhead := m.histograms("gateway_overhead_seconds", "The gateway's own part of the time a request took.")
	m.past.duration, m.past.overhead = newHistogram(requestBounds), newHistogram(overheadBounds)
	m.overhead = overhead.histogram("", m.past.overhead)
}

// addRoutes makes the series of the routes that are not there yet.
func (m *Metrics) addRoutes(templates []string) {
	for _, template := range templates {
		if m.routes[template] != nil {
			continue
		}
		r := &Route{
			labels:    label("route", template),
			family:    m.requests,
			duration:  newHistogram(requestBounds),
			firstByte: newHistogram(requestBounds),
			overhead:  newHistogram(overheadBounds),
		}
		m.duration.histogram(r.labels, r.duration).group = r
		m.firstByte.histogram(r.labels, r.firstByte).group = r
		m.overhead.parts = append(m.overhead.parts, r.overhead)
		m.routes[template] = r
	}
}
