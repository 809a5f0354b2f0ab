package ops

import (
	_ "embed"
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"

	"aigateway/gateway/telemetry"
	"aigateway/gateway/wire"
)

// The dashboard is one page with its style and its script, which asks for figures once a second. It loads nothing from
// anywhere else.
var (
	//go:embed dashboard/index.html
	dashboardPage []byte
	//go:embed dashboard/app.css
	dashboardStyle []byte
	//go:embed dashboard/app.js
	dashboardScript []byte
)

// dashboardPolicy lets the page load its own three files, ask for figures, and nothing else.
const dashboardPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// dashboardPages are the page and what it asks for.
func (o *Ops) dashboardPages() []Route {
	file := func(path, kind string, body []byte) Route {
		return get(path, func(*Request) Page {
			return Page{Status: 200, Type: kind, Body: body, Fields: []Field{
				{"Cache-Control", "no-cache"}, {"Content-Security-Policy", dashboardPolicy},
				{"X-Content-Type-Options", "nosniff"}, {"Referrer-Policy", "no-referrer"},
			}}
		})
	}
	return []Route{
		file("/dashboard", "text/html; charset=utf-8", dashboardPage),
		file("/dashboard/app.css", "text/css; charset=utf-8", dashboardStyle),
		file("/dashboard/app.js", "text/javascript; charset=utf-8", dashboardScript),
		get("/dashboard/data", func(*Request) Page { return state(200, o.figures.at(wire.Now(), o.readFigures)) }),
	}
}

// figures are the last reply of /dashboard/data: however many look, the counters are read about once a second.
type figures struct {
	mu   sync.Mutex
	read time.Duration // when, as wire.Now
	body []byte
}

const figuresAge = 900 * time.Millisecond

// at returns the reply as of now, from read if there is none that is young enough.
func (f *figures) at(now time.Duration, read func() []byte) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.body == nil || now-f.read > figuresAge {
		f.body, f.read = read(), now
	}
	return f.body
}

// readFigures is the reply of /dashboard/data.
func (o *Ops) readFigures() []byte {
	urls := o.view.Load().URLs
	now := time.Now()
	body, err := json.Marshal(struct {
		Version  string `json:"version"`
		Now      int64  `json:"now_ms"` // of this process' own clock: rates do not depend on the network
		Uptime   int64  `json:"uptime_ms"`
		Inflight int64  `json:"inflight"` // requests, without those for pages like this
		Draining bool   `json:"draining"`
		telemetry.Snapshot
	}{o.options.Version, now.UnixMilli(), now.Sub(o.options.Started).Milliseconds(), max(0, o.options.Inflight()), o.options.Draining(),
		o.options.Metrics.Snapshot(slices.Sorted(maps.Keys(urls)), urls)})
	if err != nil {
		panic("BUG: cannot marshal the figures: " + err.Error())
	}
	return body
}
