// Package telemetry counts what happened and writes it down for Prometheus.
//
// Its door is [New]. [Metrics.Route] and [Metrics.Upstream] hand out the series of a route and of an upstream once, at
// start; what a request does with them later is a few atomic additions: it takes no lock and looks nothing up.
// [Metrics.WritePrometheus] is the page.
//
// No label has a value that a client chose: they come from [Options] and from fixed lists, and what is in none of them is
// "other". So the number of series is bounded before the first request.
//
// The package does not know what a route, a pool or a limit is, nor where the page is served.
package telemetry

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/VictoriaMetrics/metrics"
)

// Options says what there is to be counted. Every value of a label comes from here.
type Options struct {
	Version string
	Routes  []string            // templates, as configured
	Pools   map[string][]string // the URLs of each pool's upstreams, as configured

	Models []string // of generations, as services call them

	ErrorKinds   []string // why an upstream gave no whole answer
	RetryReasons []string // why a request was sent again
	AuthReasons  []string // why a key did not open; none: nobody needs one
	CancelPhases []string // when a client left

	QueueClasses []string // of requests that wait
	ShedReasons  []string // why they no longer do

	CacheTiers   []string // of the cache; none: there is no cache
	CacheReasons []string // why an answer did not come from the cache
	CacheSources []string // who wants a stored answer gone

	// These are asked at each scrape; nil has nothing to tell.
	UpstreamState func(pool, url string) UpstreamState
	QueueState    func(pool string) QueueState
	Engines       func() ([]EngineState, []PrefixState)
	Budgets       func() []BudgetState
	RateLimit     func() RateLimit // asked once a scrape: it may read a large table
	Cache         func() CacheState
	Tunnels       func() (open, ever int64)
}

// Metrics are the series of one gateway. Nil Metrics are off, and so is what they hand out.
type Metrics struct {
	options  Options
	families []*family

	mu        sync.RWMutex // held to add series while the page may be written
	rateLimit func() RateLimit

	routes    map[string]*Route
	overhead  *labelled // the sum of all routes'
	upstreams map[upstreamName]*Upstream
	pools     map[string]*histogram  // by name
	waits     map[string]*queueWaits // by pool

	requests, duration, firstByte                                                               *family // of routes
	upRequests, upErrors, upDuration, upInflight, upHealthy, upBreaker, queueLength, queueWaits *family

	queueDepth, queueWait, queueShed *family

	overBudget   refusals
	usageUnknown *metrics.Counter

	past    past
	streams streams
	genAI   *GenAI
	lines   *Lines
	access  *AccessLog
	tracer  *Tracer

	cache          *Cache
	cacheState     func() CacheState
	tiers, sources []string

	authFailures authFailures

	retries   tally
	cancels   tally
	truncated *metrics.Counter
	panics    *metrics.Counter
	room      *metrics.Counter // client connections closed to make room
	refused   *metrics.Counter // client connections that were one too many
}

// noRoute is the label of requests that found no route. It cannot be a template: those begin with a slash.
const noRoute = "none"

// New registers every series but those of status codes, which appear when the code does.
func New(o Options) *Metrics {
	m := &Metrics{
		options:   o,
		rateLimit: o.RateLimit,
		routes:    map[string]*Route{},
		upstreams: map[upstreamName]*Upstream{},
		pools:     map[string]*histogram{},
		waits:     map[string]*queueWaits{},
	}
	m.routeFamilies()
	m.addRoutes(append([]string{noRoute}, o.Routes...))
	m.upstreamFamilies()
	m.addUpstreams(o.Pools)
	m.addStreams()
	m.addBudgets()
	m.addGenAI(o.Models)
	if len(o.CacheTiers) > 0 {
		m.addCache(o)
	}
	m.retries = newTally(m.counters("upstream_retries_total", "Requests sent to an upstream again, by reason."),
		"", "reason", o.RetryReasons)
	m.cancels = newTally(m.counters("client_cancel_total", "Requests whose client left before the answer was whole, by phase."),
		"", "phase", o.CancelPhases)
	m.truncated = m.counters("stream_truncated_total", "Answers cut short after they had begun.").counter("")
	m.panics = m.counters("panics_total", "Bugs that cost one request each.").counter("")
	m.addConnections()
	m.addAuth()
	m.addTunnels(o.Tunnels)
	m.gauges("build_info", "What is running; always 1.").gauge(label("version", o.Version)+","+label("goversion", runtime.Version()),
		func() float64 { return 1 })
	return m
}

func (m *Metrics) addTunnels(tunnels func() (open, ever int64)) {
	if tunnels == nil {
		tunnels = func() (open, ever int64) { return 0, 0 }
	}
	m.gauges("websocket_tunnels", "WebSocket tunnels that are open.").gauge("", func() float64 { open, _ := tunnels(); return float64(open) })
	m.counters("websocket_tunnels_total", "WebSocket tunnels that were opened.").gauge("", func() float64 { _, ever := tunnels(); return float64(ever) })
}

// Add registers the series of routes and upstreams that came with a reload. Those that are there stay: a counter must not
// start again. What the reload took away goes with [Metrics.Keep].
func (m *Metrics) Add(routes []string, pools map[string][]string) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.addRoutes(routes)
	m.addUpstreams(pools)
}

// Route returns the series of a route; "" is what found no route. Its template must be in Options.Routes, or added.
func (m *Metrics) Route(template string) *Route {
	if m == nil {
		return nil
	}
	if template == "" {
		template = noRoute
	}
	r := m.routes[template]
	if r == nil {
		panic(fmt.Sprintf("BUG: route %q was not announced to telemetry", template))
	}
	return r
}

// Upstream returns the series of an upstream. Its pool and URL must be in Options.Pools, or added.
func (m *Metrics) Upstream(pool, url string) *Upstream {
	if m == nil {
		return nil
	}
	u := m.upstreams[upstreamName{pool, url}]
	if u == nil {
		panic(fmt.Sprintf("BUG: upstream %q of pool %q was not announced to telemetry", url, pool))
	}
	return u
}

// Retry counts a request that is sent again.
func (m *Metrics) Retry(reason string) {
	if m != nil {
		m.retries.inc(reason)
	}
}

// Cancel counts a client that left.
func (m *Metrics) Cancel(phase string) {
	if m != nil {
		m.cancels.inc(phase)
	}
}

// Truncated counts an answer cut short after it had begun.
func (m *Metrics) Truncated() {
	if m != nil {
		m.truncated.Inc()
	}
}

// Panic counts a bug.
func (m *Metrics) Panic() {
	if m != nil {
		m.panics.Inc()
	}
}

// WritePrometheus writes every series, and those of the Go runtime and the process, with one write. The format is
// Prometheus' text format 0.0.4: "text/plain; version=0.0.4; charset=utf-8".
func (m *Metrics) WritePrometheus(w io.Writer) {
	if m == nil {
		return
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	var b bytes.Buffer
	for _, f := range m.families {
		f.write(&b)
	}
	m.writeEngines(&b)
	m.writeBudgets(&b)
	m.writeRateLimit(&b)
	m.writeCache(&b)
	m.writeSeeing(&b)
	writeProcess(&b)
	_, _ = w.Write(b.Bytes()) // a scraper that left needs no answer
}
