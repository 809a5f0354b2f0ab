// Package ops is the operator's room: what an operator and an orchestrator ask a gateway, and the listener for operators.
//
// Its door is [Ops]: pages as values, which the server writes to clients and [Ops.ServeAdmin] to operators. It reads what the
// other rooms say of themselves, and changes nothing but the cache, which it purges.
package ops

import (
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"aigateway/gateway/cache"
	"aigateway/gateway/config"
	"aigateway/gateway/proxy"
	"aigateway/gateway/telemetry"
)

// Service is the gateway's name in its health answer.
const Service = "api-gateway-go"

// Ops answers the operations pages.
type Ops struct {
	options Options
	view    atomic.Pointer[View]
	figures figures // of the dashboard
	past    past
	ended   chan struct{} // closed by Close
	closing sync.Once
	behind  sync.WaitGroup
	admin   admin
}

// Options are what the pages tell of, of the whole run of a gateway.
type Options struct {
	Started  time.Time
	Version  string
	Draining func() bool  // whether the gateway is on its way out: it is not ready then
	Inflight func() int64 // requests under way
	Cache    config.Cache // as at the start
	Store    *cache.Store // nil: there is no cache
	Metrics  *telemetry.Metrics
	Usage    func(now time.Time) (rows []telemetry.Usage, all bool) // what tenants use of models; all: of all replicas. nil: nothing is kept
	Tenants  func() []Tenant                                        // who asks; nil: nobody needs a key
	Log      *slog.Logger
	HeadSize int         // the longest head that the admin listener takes, in bytes
	MakeRoom func() bool // has an idle connection give up its descriptor
}

// A View is what there is to look at. A reload makes another one.
type View struct {
	Pools    []*proxy.Pool
	Required [][]*proxy.Pool     // groups of pools of which one must be healthy for the gateway to be ready: a pool and its fallback
	URLs     map[string][]string // of the upstreams, by pool
	Token    string              // of ADMIN_TOKEN; "": none
}

// New makes the pages of a gateway, and begins to put figures aside. [Ops.Look] must be called before the first request, and Close at the end.
func New(o Options) *Ops {
	made := &Ops{options: o, ended: make(chan struct{})}
	made.behind.Go(func() { made.remember(made.ended) })
	return made
}

// Look makes the pages look at something else from now on.
func (o *Ops) Look(v View) { o.view.Store(&v) }

type health struct {
	OK       bool               `json:"ok"`
	Service  string             `json:"service"`
	UptimeMS int64              `json:"uptime_ms"`
	Backends map[string]backend `json:"backends,omitempty"`
}

type backend struct {
	URL       string     `json:"url"`
	Healthy   bool       `json:"healthy"`
	State     string     `json:"state,omitempty"` // of the only upstream
	Reason    string     `json:"reason,omitempty"`
	Engine    *engine    `json:"engine,omitempty"`
	Upstreams []upstream `json:"upstreams,omitempty"` // when there are several
	Prefix    *prefix    `json:"prefix,omitempty"`    // of a pool that goes by how prompts begin

	Waiting map[string]int64 `json:"waiting,omitempty"` // requests, by class, if any does
}

type upstream struct {
	URL     string `json:"url"`
	Healthy bool   `json:"healthy"`
	State   string `json:"state"` // closed, half_open, open: what its breaker lets through; or slow_start
	Reason  string `json:"reason,omitempty"`

	Engine *engine `json:"engine,omitempty"` // what it says; none: nothing yet, or it is not asked
}

// An engine is what an upstream's inference engine says of itself.
type engine struct {
	Kind     string   `json:"kind"`
	Running  int64    `json:"running"`
	Waiting  int64    `json:"waiting"`
	KV       *float64 `json:"kv_usage,omitempty"`
	HitShare *float64 `json:"prefix_hit_share,omitempty"` // of the prompts' tokens, since it began
	Counts   bool     `json:"counts"`                     // for the choice among upstreams: it is young, and makes sense
}

func engineOf(u *proxy.Upstream) *engine {
	l, counts := u.Engine()
	if l == nil {
		return nil
	}
	e := &engine{Kind: l.Engine, Running: l.Running, Waiting: l.Waiting, Counts: counts}
	if l.KV >= 0 {
		e.KV = &l.KV
	}
	if l.Asked > 0 && l.Hits >= 0 {
		share := l.Hits / l.Asked
		e.HitShare = &share
	}
	return e
}

// A prefix is how requests with a prompt came to their upstreams.
type prefix struct {
	Matched    int64   `json:"matched"`     // it had read how the prompt begins
	Guessed    int64   `json:"guessed"`     // nobody had
	Spilled    int64   `json:"spilled"`     // who had has too much to do
	KnownShare float64 `json:"known_share"` // of all prompts' blocks, those that their upstream had read
}

func prefixOf(p *proxy.Pool) *prefix {
	if !p.ByPrefix() {
		return nil
	}
	c := p.Choices()
	return &prefix{c.Matched, c.Guessed, c.Spilled, float64(c.Known) / float64(max(1, c.Blocks))}
}

// Health is the body of /healthz at that time: the process serves, and what it thinks of its backends.
func (o *Ops) Health(now time.Time) []byte {
	h := health{
		OK: true, Service: Service, UptimeMS: now.Sub(o.options.Started).Milliseconds(),
		Backends: make(map[string]backend),
	}
	for _, p := range o.view.Load().Pools {
		if !p.Explicit {
			continue // nobody has named it, and nobody asks for its health
		}
		b := backend{Healthy: p.Healthy(), Prefix: prefixOf(p)}
		var urls []string
		for _, u := range p.Upstreams {
			urls = append(urls, u.URL)
			state, reason := u.Condition()
			b.Upstreams = append(b.Upstreams, upstream{u.URL, u.Healthy(), state, reason, engineOf(u)})
		}
		b.URL = strings.Join(urls, ",")
		if len(urls) == 1 {
			b.State, b.Reason, b.Engine = b.Upstreams[0].State, b.Upstreams[0].Reason, b.Upstreams[0].Engine
			b.Upstreams = nil
		}
		b.Waiting = waiting(p)
		h.Backends[p.Name] = b
	}
	return marshal(h)
}

// waiting is how many requests wait for a place in the pool, by class; nil if none does.
func waiting(p *proxy.Pool) map[string]int64 {
	state := p.Queue()
	if state.Length == 0 {
		return nil
	}
	by := make(map[string]int64)
	for i, c := range proxy.Classes {
		by[c.String()] = state.Waiting[i]
	}
	return by
}

// healthAlone is Health without the backends, which are nobody's business who is not known.
func (o *Ops) healthAlone(now time.Time) []byte {
	return marshal(health{OK: true, Service: Service, UptimeMS: now.Sub(o.options.Started).Milliseconds()})
}

// Ready tells whether the gateway wants traffic, and the body of /readyz that says why not.
func (o *Ops) Ready() (bool, []byte) {
	if o.options.Draining() {
		return false, marshal(map[string]any{"ok": false, "reason": "draining"})
	}
	for _, group := range o.view.Load().Required {
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
