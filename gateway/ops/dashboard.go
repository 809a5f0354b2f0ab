package ops

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"

	"aigateway/gateway/wire"
)

// The dashboard is one page with its style and its scripts, which ask for figures once a second. It loads nothing from
// anywhere else.
var (
	//go:embed dashboard/index.html
	dashboardPage []byte
	//go:embed dashboard/app.css
	dashboardStyle []byte
	//go:embed dashboard/app.js
	dashboardScript []byte
	//go:embed dashboard/charts.js
	dashboardCharts []byte
	//go:embed dashboard/generations.js
	dashboardGenerations []byte
)

// dashboardPolicy lets the page load its own files, ask for figures, and nothing else.
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
		file("/dashboard/charts.js", "text/javascript; charset=utf-8", dashboardCharts),
		file("/dashboard/generations.js", "text/javascript; charset=utf-8", dashboardGenerations),
		get("/dashboard/data", o.figuresPage),
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
	f := o.figuresOf(time.Now(), o.options.Metrics.Snapshot(slices.Sorted(maps.Keys(urls)), urls))
	f.Version = o.options.Version
	f.Tenants, f.More = o.tenants()
	body, err := json.Marshal(f)
	if err != nil {
		panic("BUG: cannot marshal the figures: " + err.Error())
	}
	return body
}

// figuresPage is the reply of /dashboard/data; with ?past, it is what was put aside.
func (o *Ops) figuresPage(r *Request) Page {
	if _, query, _ := bytes.Cut(r.Target, []byte("?")); string(query) == "past" {
		return state(200, o.past.appendTo(nil))
	}
	return state(200, o.figures.at(wire.Now(), o.readFigures))
}
