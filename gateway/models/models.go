// Package models is what a request asks of a model: which one it names, in whatever dialect, who has that model and what it is called
// there, and which models there are.
//
// Its door is [PlanOf], for the settings, and [Plan.RouteOf], for a route: [Route.Inquire] says where a request names its model, an
// [Asked] reads it, a [proxy.BodyReader], [Route.Find] finds who has it, and [Asked.Aim] tells the proxy. How bodies and names are read
// is package inference's. It does not know what a request is in the gateway, nor how it is refused: a [Request] says all that it goes by.
package models

import (
	"aigateway/gateway/config"
	"aigateway/gateway/inference"
	"aigateway/gateway/proxy"
	"aigateway/gateway/wire"
)

// A Plan is what the settings say of models. A nil Plan is that of settings without any.
type Plan struct {
	table   *inference.Table
	ways    [][]way // by the places of models in the table
	prompts bool    // a pool goes by how prompts begin
}

// A way is where a request for a model may go, and what it is to say there.
type way struct {
	target proxy.Target // with the model's name upstream
	fields []byte       // for a response from there, if the client calls the model otherwise
	model  inference.Result
	name   []byte // of the model
}

// PlanOf is that of settings. pools are those of a name, and of who stands in for it; at least one.
func PlanOf(s *config.Settings, pools func(name string) []proxy.Target) *Plan {
	table := inference.NewTable(s.Models)
	if table == nil {
		return nil
	}
	p := &Plan{table: table}
	for _, model := range table.Models() {
		r := table.Of(model)
		ways := waysOf(r, pools(r.Model.Pool))
		for _, other := range r.Fallback() {
			next := table.Of(other)
			ways = append(ways, waysOf(next, pools(next.Model.Pool))...)
		}
		p.ways = append(p.ways, ways)
		for _, w := range ways {
			p.prompts = p.prompts || w.target.Pool.ByPrefix()
		}
	}
	return p
}

// waysOf are those of a model to its pools.
func waysOf(r inference.Result, pools []proxy.Target) (ways []way) {
	m := r.Model
	w := way{
		target: proxy.Target{
			Model: r.Written(inference.Plain), ContextMax: m.ContextMax, FirstToken: m.Timeouts.FirstToken, InterToken: m.Timeouts.InterToken,
		},
		model: r, name: []byte(m.Name), fields: wire.AppendField(nil, "X-Upstream-Model: ", []byte(m.Asked())),
	}
	for _, t := range pools {
		w.target.Pool = t.Pool
		ways = append(ways, w)
	}
	return ways
}

// Table is the settings' models; nil: there are none.
func (p *Plan) Table() *inference.Table {
	if p == nil {
		return nil
	}
	return p.table
}

// Pools are all that have a model of the settings, some of them several times.
func (p *Plan) Pools() (pools []proxy.Target) {
	if p == nil {
		return nil
	}
	for _, ways := range p.ways {
		for _, w := range ways {
			pools = append(pools, proxy.Target{Pool: w.target.Pool})
		}
	}
	return pools
}

// A Route is what a route does with the models that requests name. A nil Route does nothing.
type Route struct {
	table *inference.Table // nil: there are none in the settings
	ways  [][]way          // by the places of models in the table
	pool  *proxy.Pool      // the route's own; nil: none

	prompts bool // a pool goes by how prompts begin
	clock   bool // it matters whether a stream is asked for
}

// Options are what RouteOf goes by.
type Options struct {
	Pool   *proxy.Pool // the route's own; nil: none
	Counts bool        // what requests ask for is read where tokens are limited, whether or not the model decides
	Clock  bool        // it matters whether a stream is asked for
	Limits bool        // keys may have models of their own, or limits of tokens
}

// RouteOf is what a route does with models; nil if it does not look for them.
func (p *Plan) RouteOf(o Options) *Route {
	r := Route{pool: o.Pool, prompts: o.Pool.ByPrefix(), clock: o.Clock}
	if p != nil {
		r.table, r.ways, r.prompts = p.table, p.ways, r.prompts || p.prompts
	}
	if r.table == nil && !r.prompts && !o.Counts && !o.Clock && !o.Limits && !o.Pool.Discovers() {
		return nil
	}
	return &r
}

// finding is what the table has found, with what a request needs of it.
func (r *Route) finding(found inference.Result) finding {
	f := finding{verdict: found.Verdict, model: found.Model}
	if f.model != nil {
		f.called = f.model.Name
	}
	if f.verdict == inference.Found {
		f.ways = r.ways[found.Place()]
	}
	return f
}

// lists tells whether the gateway knows which models there are.
func (r *Route) lists() bool { return r.table != nil || r.pool.Discovers() }

// decides tells whether the model of a request decides about it.
func (r *Route) decides() bool { return r.table != nil || r.clock || r.pool.Narrows() }

// Called is the name of the model that is asked for, by the settings or as an upstream lists it; "": none that is known. Both may be nil.
func (r *Route) Called(a *Asked) string {
	switch {
	case a == nil:
		return ""
	case a.found.model != nil:
		return a.found.called
	case a.name != nil && r != nil:
		return r.pool.Listed(a.name)
	}
	return ""
}
