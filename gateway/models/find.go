package models

import (
	"bytes"

	"aigateway/gateway/inference"
	"aigateway/gateway/proxy"
)

// Find leads the name that was read to a model, and to those who have it; or it says why the request is refused.
func (r *Route) Find(a *Asked, q *Request) (e inference.Error, found bool) {
	if a.prompt.alone() {
		name, _ := a.scan.Model()
		a.prompt.hash(name, q.Tenant)
		return e, true
	}
	if a.refusal != inference.Accepted { // of a query: that of a body has ended its reading
		return a.Refused(), false
	}
	if e, found = r.lead(a, q); found && a.prompt != nil {
		model := a.name
		if ways := a.found.ways; ways != nil {
			model = ways[0].target.Model
		}
		a.prompt.hash(model, q.Tenant)
	}
	return e, found
}

// lead is Find of a name that was read.
func (r *Route) lead(a *Asked, q *Request) (e inference.Error, found bool) {
	name, stated := a.model()
	if stated {
		a.name = name
	}
	switch {
	case r.table == nil || a.byway || a.dialect == inference.Other:
		return r.allowed(a, q)
	case stated:
		a.found = *a.last.resolve(r, name)
	case a.dialect == inference.Tokenize && q.Pool: // engines need none for that
		return e, true
	default:
		a.found = r.finding(r.table.Sole())
	}
	switch a.found.verdict {
	case inference.Found:
		if q.Key.Limited() && !q.Key.Allows(a.found.called) {
			return inference.NotAllowed, false
		}
		return e, true
	case inference.Unstated:
		return inference.ModelUnstated, false
	}
	if r.discovered(name) {
		return r.allowed(a, q)
	}
	return inference.NoSuchModel, false
}

// allowed tells whether the tenant may ask a model that is not in the settings, or says why not: there is none, for who may not even know that
// there is one.
func (r *Route) allowed(a *Asked, q *Request) (e inference.Error, allowed bool) {
	k := q.Key
	if !k.Limited() {
		return e, true
	}
	name, stated := a.model()
	switch {
	case !stated && (a.dialect == inference.Other || a.dialect == inference.Tokenize):
		return e, true
	case !stated: // the upstream would choose one
		return inference.ModelUnstated, false
	case k.AllowsName(name):
		return e, true
	case r.pool.Listed(name) != "":
		return inference.NotAllowed, false
	}
	return inference.NoSuchModel, false
}

// discovered tells whether an upstream of the route's pool lists a model of which the settings say nothing.
func (r *Route) discovered(name []byte) bool {
	return !r.table.Mentions(name) && r.pool.Listed(name) != ""
}

// Aim tells the proxy who has the model, and what to say to them: in place of the targets that it has, or to them. A may be nil.
func (a *Asked) Aim(f *proxy.Exchange) {
	if a.Dialect() == inference.Other {
		return
	}
	f.Prefix = a.prompt.hashed()
	ways := a.found.ways
	if ways == nil {
		for i := range f.Targets {
			f.Targets[i].Model = a.name
		}
		return
	}
	f.Targets = f.Targets[:0]
	renamed := false
	for i := range ways {
		w := &ways[i]
		f.Targets = append(f.Targets, w.target)
		if a.name != nil && !bytes.Equal(a.name, w.target.Model) {
			f.Targets[i].Fields, renamed = w.fields, true
		}
	}
	if renamed {
		a.rename(f)
	}
}

// rename has each target find the name that it knows the model by.
func (a *Asked) rename(f *proxy.Exchange) {
	writing := inference.Quoted
	switch f.Span.In = proxy.InBody; a.place {
	case inForm:
		writing = inference.Plain
		f.Span.From, f.Span.To = a.form.Span()
	case inQuery:
		writing, f.Span.In = inference.Escaped, proxy.InTarget
		query := int64(bytes.IndexByte(f.Target, '?') + 1)
		f.Span.From, f.Span.To = query+int64(a.query.From), query+int64(a.query.To)
	default:
		v, _ := a.scan.Value(inference.ModelMember)
		f.Span.From, f.Span.To = v.From, v.To
	}
	for i := range f.Targets {
		f.Targets[i].With = a.found.ways[i].model.Written(writing)
	}
}
