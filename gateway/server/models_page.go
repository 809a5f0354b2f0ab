package server

import (
	"bytes"

	"aigateway/gateway/inference"
	"aigateway/gateway/wire"
)

// listModels replies to who looks for models: those of the settings, and what upstreams list. Where neither is known, the upstream
// replies.
func (g *Gateway) listModels(x *exchange, path []byte) (done bool) {
	m := x.route.models
	_, known := m.pool.Models()
	if m.table == nil && !known || string(x.head.Method) != "GET" && string(x.head.Method) != "HEAD" {
		return g.askNobody(x)
	}
	x.say("Cache-Control", "private, no-store")
	path = path[bytes.Index(path, modelsPath):]
	if len(path) == len(modelsPath) {
		x.scratch = append(inference.AppendModels(x.scratch[:0], x.listed()), '\n')
		g.replyJSON(x, 200, x.scratch)
		return true
	}
	a := x.asks(inference.Models)
	name := inference.ModelOfPath(a.buffer[:0], path)
	if name == nil || !x.offers(name) {
		g.replyError(x, inference.NoSuchModel)
		return true
	}
	x.scratch = append(inference.AppendModel(x.scratch[:0], g.entry(string(name))), '\n')
	g.replyJSON(x, 200, x.scratch)
	return true
}

var modelsPath = []byte("/v1/models")

// listed are the visible models that the tenant may ask for and a healthy upstream has.
func (x *exchange) listed() (list []inference.Listed) {
	g, m := x.gateway, x.route.models
	for _, model := range m.table.Models() {
		if name := []byte(model.Name); x.offers(name) {
			list = append(list, g.entry(model.Name))
		}
	}
	names, _ := m.pool.Models()
	for _, name := range names {
		if (m.table == nil || !m.table.Mentions([]byte(name))) && x.tenant.Key.Allows(name) {
			list = append(list, g.entry(name))
		}
	}
	return list
}

// offers tells whether there is a model of that name or alias for the client, and an upstream that has it is well.
func (x *exchange) offers(name []byte) bool {
	m := x.route.models
	switch r := m.table.Resolve(name); {
	case r.Verdict == inference.Found:
		own := m.ways[r.Model][0]
		return own.pool.Serves(own.plain) && x.tenant.Key.Allows(r.Model.Name)
	case r.Verdict == inference.Concealed, m.table != nil && m.table.Mentions(name):
		return false
	}
	return m.pool.Listed(name) != "" && m.pool.Serves(name) && x.tenant.Key.AllowsName(name)
}

// entry is a model in a list. The gateway does not know who made it, nor when.
func (g *Gateway) entry(name string) inference.Listed {
	return inference.Listed{ID: name, Owner: wire.Name, Created: g.started.Unix()}
}
