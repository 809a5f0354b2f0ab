// Package ops is the look inside: what an operator and an orchestrator ask a gateway.
//
// Its door is [Ops]. It reads the state of the proxy's pools; it changes nothing and knows no request.
package ops

import (
	"encoding/json"
	"strings"
	"sync/atomic"
	"time"

	"aigateway/gateway/proxy"
)

// Service is the gateway's name in its health answer.
const Service = "api-gateway-go"

// Ops answers the operations pages.
type Ops struct {
	started  time.Time
	view     atomic.Pointer[view]
	draining func() bool // whether the gateway is on its way out
}

// A view is what there is to look at. A reload makes another one.
type view struct {
	pools    []*proxy.Pool
	required [][]*proxy.Pool
}

// New makes the pages for a gateway started at that time. Each element of required is a group of pools of
// which one must be healthy for the gateway to be ready: a pool and its fallback. One that drains is not.
func New(started time.Time, draining func() bool, pools []*proxy.Pool, required [][]*proxy.Pool) *Ops {
	o := &Ops{started: started, draining: draining}
	o.Look(pools, required)
	return o
}

// Look makes the pages look at other pools from now on.
func (o *Ops) Look(pools []*proxy.Pool, required [][]*proxy.Pool) {
	o.view.Store(&view{pools, required})
}

type health struct {
	OK       bool               `json:"ok"`
	Service  string             `json:"service"`
	UptimeMS int64              `json:"uptime_ms"`
	Backends map[string]backend `json:"backends"`
}

type backend struct {
	URL       string     `json:"url"`
	Healthy   bool       `json:"healthy"`
	State     string     `json:"state,omitempty"` // of the only upstream
	Reason    string     `json:"reason,omitempty"`
	Upstreams []upstream `json:"upstreams,omitempty"` // when there are several
}

type upstream struct {
	URL     string `json:"url"`
	Healthy bool   `json:"healthy"`
	State   string `json:"state"` // closed, half_open, open: what its breaker lets through; or slow_start
	Reason  string `json:"reason,omitempty"`
}

// Health is the body of /healthz at that time: the process serves, and what it thinks of its backends.
func (o *Ops) Health(now time.Time) []byte {
	h := health{
		OK: true, Service: Service, UptimeMS: now.Sub(o.started).Milliseconds(),
		Backends: make(map[string]backend),
	}
	for _, p := range o.view.Load().pools {
		if !p.Explicit {
			continue // nobody has named it, and nobody asks for its health
		}
		b := backend{Healthy: p.Healthy()}
		var urls []string
		for _, u := range p.Upstreams {
			urls = append(urls, u.URL)
			state, reason := u.Condition()
			b.Upstreams = append(b.Upstreams, upstream{u.URL, u.Healthy(), state, reason})
		}
		b.URL = strings.Join(urls, ",")
		if len(urls) == 1 {
			b.State, b.Reason = b.Upstreams[0].State, b.Upstreams[0].Reason
			b.Upstreams = nil
		}
		h.Backends[p.Name] = b
	}
	return marshal(h)
}

// Live is the body of /livez.
func (o *Ops) Live() []byte { return marshal(map[string]bool{"ok": true}) }

// Ready tells whether the gateway wants traffic, and the body of /readyz that says why not.
func (o *Ops) Ready() (bool, []byte) {
	if o.draining() {
		return false, marshal(map[string]any{"ok": false, "reason": "draining"})
	}
	for _, group := range o.view.Load().required {
		if !anyHealthy(group) {
			reason := "no healthy upstream in pool " + group[0].Name
			return false, marshal(map[string]any{"ok": false, "reason": reason})
		}
	}
	return true, marshal(map[string]bool{"ok": true})
}

func anyHealthy(group []*proxy.Pool) bool {
	for _, p := range group {
		if p.Healthy() {
			return true
		}
	}
	return false
}

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("BUG: cannot marshal an operations page: " + err.Error())
	}
	return append(b, '\n')
}
