package server

import (
	_ "embed"
	"encoding/json"
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
func (g *Gateway) dashboardPages() []*route {
	file := func(path, kind string, body []byte) *route {
		return page(path, func(x *exchange) {
			x.say("Cache-Control", "no-cache")
			x.say("Content-Security-Policy", dashboardPolicy)
			x.say("X-Content-Type-Options", "nosniff")
			x.say("Referrer-Policy", "no-referrer")
			g.reply(x, 200, kind, body)
		}, "GET")
	}
	return []*route{
		file("/dashboard", "text/html; charset=utf-8", dashboardPage),
		file("/dashboard/app.css", "text/css; charset=utf-8", dashboardStyle),
		file("/dashboard/app.js", "text/javascript; charset=utf-8", dashboardScript),
		page("/dashboard/data", func(x *exchange) { g.replyPage(x, 200, g.figures.at(wire.Now(), g.readFigures)) }, "GET"),
	}
}

// figures are the last answer of /dashboard/data: however many look, the counters are read about once a second.
type figures struct {
	mu   sync.Mutex
	read time.Duration // when, as wire.Now
	body []byte
}

const figuresAge = 900 * time.Millisecond

// at returns the answer as of now, from read if there is none that is young enough.
func (f *figures) at(now time.Duration, read func() []byte) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.body == nil || now-f.read > figuresAge {
		f.body, f.read = read(), now
	}
	return f.body
}

// readFigures is the answer of /dashboard/data.
func (g *Gateway) readFigures() []byte {
	_, urls := measured(g.plan.Load().settings)
	pools := make([]string, 0, len(urls))
	for name := range urls {
		pools = append(pools, name)
	}
	slices.Sort(pools)
	now := time.Now()
	body, err := json.Marshal(struct {
		Version  string `json:"version"`
		Now      int64  `json:"now_ms"` // of this process' own clock: rates do not depend on the network
		Uptime   int64  `json:"uptime_ms"`
		Inflight int64  `json:"inflight"` // requests, without those for pages like this
		Draining bool   `json:"draining"`
		telemetry.Snapshot
	}{g.version, now.UnixMilli(), now.Sub(g.started).Milliseconds(), max(0, g.open[0].Load()+g.open[1].Load()-1), g.draining.Load(),
		g.metrics.Snapshot(pools, urls)})
	if err != nil {
		panic("BUG: cannot marshal the figures: " + err.Error())
	}
	return body
}
