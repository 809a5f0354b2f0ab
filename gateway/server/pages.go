package server

import (
	"aigateway/gateway/ops"
	"aigateway/gateway/routing"
)

// pageRoute is an operations page as a route.
func (g *Gateway) pageRoute(p ops.Route) *route {
	r := &route{Route: routing.Route{Path: p.Path, Methods: p.Methods}, allow: ops.Allow(p.Methods), reply: func(x *exchange) { g.replyPage(x, &p) }, ops: true}
	if p.Operators {
		r.closed = byOperator
	}
	return r
}

// addPages provisions the pages that clients may see.
func (g *Gateway) addPages(p *plan) {
	pages := g.ops.Pages()
	if g.settings.Admin.Addr == "" {
		pages = append(pages, g.ops.AdminPages()...)
	}
	for _, page := range pages {
		p.add(g.pageRoute(page))
	}
	for _, door := range g.ops.Doors() {
		if !p.routes.Has([]byte(door.Path)) {
			p.add(g.pageRoute(door))
		}
	}
}

// replyPage answers with a page.
func (g *Gateway) replyPage(x *exchange, r *ops.Route) {
	p := r.Reply(&ops.Request{Method: x.head.Method, Target: x.head.Target, Field: x.head.Field, Public: x.route.guard == unguarded && x.plan.strangers()})
	for _, f := range p.Fields {
		x.say(f.Name, f.Value)
	}
	if p.Fault != nil {
		g.replyFault(x, &fault{p.Status, p.Fault.Code, p.Fault.Message})
		return
	}
	g.reply(x, p.Status, p.Type, p.Body)
}
