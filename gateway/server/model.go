package server

import (
	"aigateway/gateway/inference"
	"aigateway/gateway/models"
	"aigateway/gateway/proxy"
	"aigateway/gateway/routing"
)

// ask finds out which model the request is for, and who has it. It reads as much of the body as that takes.
func (g *Gateway) ask(x *exchange) (done bool) {
	m := x.route.models
	if m == nil {
		return false
	}
	q := models.Request{
		Head: &x.head, Path: routing.PathOf(x.head.Target), Key: x.tenant.Key, Tenant: x.tenant.ID, Pool: len(x.route.targets) > 0,
		Counts: x.plan.charging.CountsTokens(x.account), Estimates: x.plan.charging.Estimates(x.account),
	}
	if x.route.Rewrite != "" && (q.Key.Limited() || q.Counts) {
		x.target = x.route.AppendTarget(x.target[:0], x.head.Target)
		q.Forwarded = routing.PathOf(x.target)
	}
	switch where := m.Inquire(&q); where {
	case models.NotAsked:
		return false
	case models.InDisguise:
		g.replyFault(x, &otherDialect)
	case models.InCode:
		g.replyError(x, codedBody)
	case models.ForNobody:
		return g.askNobody(x)
	case models.ForList:
		return g.listModels(x, &q)
	default:
		return g.askThere(x, &q, where)
	}
	return true
}

// askNobody leaves a request that is for no model to the route's pool, if there is one.
func (g *Gateway) askNobody(x *exchange) (done bool) {
	if len(x.route.targets) > 0 {
		return false
	}
	g.replyFault(x, &noLLM)
	return true
}

// askThere reads what a request says of its model, and finds that.
func (g *Gateway) askThere(x *exchange, q *models.Request, where models.Inquiry) (done bool) {
	if x.asked == nil {
		x.asked = new(models.Asked)
	}
	body, fault := x.asked.Begin(x.route.models, q, where)
	if body {
		fault = g.collect(x)
	}
	if fault != proxy.None {
		g.conclude(x, fault, 0)
		return true
	}
	if e, found := x.route.models.Find(x.asked, q); !found {
		g.replyError(x, e)
		return true
	}
	return false
}

// collect reads the body as far as it has to be known, and as it is held.
func (g *Gateway) collect(x *exchange) proxy.Fault {
	f := x.cached.Forward
	f.Head, f.Client, f.Reader, f.Room = &x.head, x.conn, x.asked, x.route.room
	return g.proxy.Collect(f)
}

// listModels replies to who looks for models: those of the settings, and what upstreams list. Where neither is known, the upstream
// replies.
func (g *Gateway) listModels(x *exchange, q *models.Request) (done bool) {
	m := x.route.models
	if !m.Known() || string(x.head.Method) != "GET" && string(x.head.Method) != "HEAD" {
		return g.askNobody(x)
	}
	x.say("Cache-Control", "private, no-store")
	var found bool
	if x.scratch, found = m.AppendList(x.scratch[:0], q, g.started.Unix()); found {
		g.replyJSON(x, 200, x.scratch)
	} else {
		g.replyError(x, inference.NoSuchModel)
	}
	return true
}
