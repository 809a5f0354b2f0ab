package ops

import (
	"bytes"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"aigateway/gateway/telemetry"
)

// The dashboard opens with the last quarter of an hour: figures are put aside every few seconds, without those that have
// a place of their own for each upstream or tenant, which are about the present.
const (
	pastEvery  = 5 * time.Second
	pastKept   = 15 * time.Minute / pastEvery // and a sample more: figures are about what lies between two
	pastBytes  = 512 << 10                    // of all samples: then those that are left are about less time
	pastModels = 8                            // those with the most tokens
)

// A past is the figures that were put aside, the newest last.
type past struct {
	mu      sync.Mutex
	samples [][]byte // of JSON, a kilobyte or two each
	bytes   int      // of all of them
}

// keep puts figures aside, in place of the oldest if there are enough.
func (p *past) keep(sample []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes += len(sample)
	gone := 0
	for ; gone < len(p.samples) && (len(p.samples)-gone > int(pastKept) || p.bytes > pastBytes); gone++ {
		p.bytes -= len(p.samples[gone])
	}
	p.samples = append(slices.Clone(p.samples[gone:]), sample)
}

// appendTo appends them as a list.
func (p *past) appendTo(b []byte) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append(append(append(b, '['), bytes.Join(p.samples, []byte{','})...), ']')
}

// remember puts figures aside until ended is closed.
func (o *Ops) remember(ended <-chan struct{}) {
	o.keepFigures(time.Now()) // nothing has happened yet: what comes is the difference
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
	s := o.options.Metrics.Snapshot(nil, nil)
	s.Brief(pastModels)
	sample, err := json.Marshal(o.figuresOf(now, s))
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
	Tenants []Tenant `json:"tenants,omitempty"` // the busiest
	More    int      `json:"tenants_more,omitempty"`
}

func (o *Ops) figuresOf(now time.Time, s telemetry.Snapshot) dashboardFigures {
	return dashboardFigures{
		Now: now.UnixMilli(), Uptime: now.Sub(o.options.Started).Milliseconds(),
		Inflight: max(0, o.options.Inflight()), Draining: o.options.Draining(), Snapshot: s,
	}
}
