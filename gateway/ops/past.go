package ops

import (
	"bytes"
	"encoding/json"
	"sync"
	"time"

	"aigateway/gateway/telemetry"
)

// The dashboard opens with the last quarter of an hour: figures are put aside every few seconds, without those that have
// a place of their own for each upstream, which are about the present.
const (
	pastEvery = 5 * time.Second
	pastKept  = 15 * time.Minute / pastEvery // and a sample more: figures are about what lies between two
)

// A past is the figures that were put aside, the newest last.
type past struct {
	mu      sync.Mutex
	samples [][]byte // of JSON, a kilobyte or two each
}

// keep puts figures aside, in place of the oldest if there are enough.
func (p *past) keep(sample []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.samples) > int(pastKept) {
		p.samples = append(p.samples[:0:0], p.samples[1:]...)
	}
	p.samples = append(p.samples, sample)
}

// appendTo appends them as a list.
func (p *past) appendTo(b []byte) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append(append(append(b, '['), bytes.Join(p.samples, []byte{','})...), ']')
}

// remember puts figures aside until ended is closed.
func (o *Ops) remember(ended <-chan struct{}) {
	tick := time.NewTicker(pastEvery)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
			o.keepFigures(time.Now())
		}
	}
}

// keepFigures puts the figures of now aside.
func (o *Ops) keepFigures(now time.Time) {
	sample, err := json.Marshal(o.figuresOf(now, o.options.Metrics.Snapshot(nil, nil)))
	if err != nil {
		panic("BUG: cannot marshal the figures: " + err.Error())
	}
	o.past.keep(sample)
}

// A dashboardFigures is what the dashboard draws.
type dashboardFigures struct {
	Version  string `json:"version,omitempty"`
	Now      int64  `json:"now_ms"` // of this process' own clock: rates do not depend on the network
	Uptime   int64  `json:"uptime_ms"`
	Inflight int64  `json:"inflight"` // requests, without those for pages like this
	Draining bool   `json:"draining,omitempty"`
	telemetry.Snapshot
}

func (o *Ops) figuresOf(now time.Time, s telemetry.Snapshot) dashboardFigures {
	return dashboardFigures{
		Now: now.UnixMilli(), Uptime: now.Sub(o.options.Started).Milliseconds(),
		Inflight: max(0, o.options.Inflight()), Draining: o.options.Draining(), Snapshot: s,
	}
}
