package models

import (
	"bytes"

	"aigateway/gateway/inference"
	"aigateway/gateway/keys"
	"aigateway/gateway/wire"
)

// Known tells whether it is known which models there are: of the settings, or as upstreams list them.
func (r *Route) Known() bool {
	_, known := r.pool.Models()
	return r.table != nil || known
}

// AppendList appends what a request asks for that looks for models, as JSON: all of them, or the one that its path names, if there is one
// for the tenant. They are told to be as old as the gateway's start, in seconds since 1970.
func (r *Route) AppendList(dst []byte, q *Request, started int64) (_ []byte, found bool) {
	path := q.Path[bytes.Index(q.Path, modelsPath):]
	if len(path) == len(modelsPath) {
		return append(inference.AppendModels(dst, r.listed(q.Key, started)), '\n'), true
	}
	var buffer [inference.MaxName + 1]byte
	name := inference.ModelOfPath(buffer[:0], path)
	if name == nil || !r.offers(name, q.Key) {
		return dst, false
	}
	return append(inference.AppendModel(dst, entry(string(name), started)), '\n'), true
}

var modelsPath = []byte("/v1/models")

// listed are the visible models that the tenant may ask for and a healthy upstream has.
func (r *Route) listed(k *keys.Key, started int64) (list []inference.Listed) {
	for _, model := range r.table.Models() {
		if name := []byte(model.Name); r.offers(name, k) {
			list = append(list, entry(model.Name, started))
		}
	}
	names, _ := r.pool.Models()
	for _, name := range names {
		if (r.table == nil || !r.table.Mentions([]byte(name))) && k.Allows(name) {
			list = append(list, entry(name, started))
		}
	}
	return list
}

// offers tells whether there is a model of that name or alias for the client, and an upstream that has it is well.
func (r *Route) offers(name []byte, k *keys.Key) bool {
	switch found := r.table.Resolve(name); {
	case found.Verdict == inference.Found:
		own := &r.ways[found.Place()][0].target
		return own.Pool.Serves(own.Model) && k.Allows(found.Model.Name)
	case found.Verdict == inference.Concealed, r.table != nil && r.table.Mentions(name):
		return false
	}
	return r.pool.Listed(name) != "" && r.pool.Serves(name) && k.AllowsName(name)
}

// entry is a model in a list. The gateway does not know who made it, nor when.
func entry(name string, started int64) inference.Listed {
	return inference.Listed{ID: name, Owner: wire.Name, Created: started}
}
