package models

import (
	"bytes"

	"aigateway/gateway/config"
	"aigateway/gateway/inference"
	"aigateway/gateway/proxy"
)

// An Asked is what a request asks of a model, as far as its body has been read.
type Asked struct {
	dialect  inference.Dialect
	byway    bool // by the path that upstreams get
	place    place
	refusal  inference.Refusal // of the body
	measures bool
	prompt   *prompt // how the prompt begins; nil: it was never asked for
	name     []byte  // as the client says it; nil: it says none
	found    finding
	last     resolved
	scan     inference.Scanner

	form    inference.Form
	query   inference.QueryModel
	buffer  [inference.MaxName + 1]byte // of a name in a query or a path
	measure inference.Measurer
	read    int64 // bytes of the body until now, if it is measured
}

// A finding is what was found in the settings by a name. The zero one is of who has not looked.
type finding struct {
	verdict inference.Verdict
	model   *config.Model // nil: none
	called  string        // its name
	ways    []way         // in the order in which they may be asked; nil: the route's own
}

// resolved is what a name has led to the last time: most requests are for the same model as the one before.
type resolved struct {
	table *inference.Table
	name  []byte
	found finding
}

// resolve finds the model of a name among those of a route.
func (l *resolved) resolve(r *Route, name []byte) *finding {
	if l.table != r.table || !bytes.Equal(l.name, name) {
		l.table, l.name, l.found = r.table, append(l.name[:0], name...), r.finding(r.table.Resolve(name))
	}
	return &l.found
}

// A place is where a request names its model.
type place uint8

const (
	nowhere place = iota
	inJSON
	inForm
	inQuery
)

// Reset readies a, which may be nil, for another request.
func (a *Asked) Reset() {
	if a == nil {
		return
	}
	a.dialect, a.place, a.refusal = inference.Other, nowhere, inference.Accepted
	a.name, a.found = nil, finding{}
	a.prompt.reset()
	if a.measures {
		a.measure.Reset()
		a.read = 0
	}
}

// Read implements [proxy.BodyReader].
func (a *Asked) Read(piece []byte) proxy.Fault {
	if a.measures {
		a.measure.Scan(piece)
		a.read += int64(len(piece))
	}
	if a.place == inForm {
		return a.judge(a.form.Scan(piece))
	}
	if a.prompt.done() {
		return proxy.None
	}
	r := a.scan.Scan(piece)
	a.prompt.read(&a.scan, piece)
	return a.judge(r)
}

// End implements [proxy.BodyReader].
func (a *Asked) End() proxy.Fault {
	if a.place == inForm {
		return a.judge(a.form.End())
	}
	return a.judge(a.scan.End())
}

func (a *Asked) judge(r inference.Refusal) proxy.Fault {
	if a.prompt.alone() {
		return proxy.None // the upstream is to say what it thinks of it
	}
	if a.refusal = r; r != inference.Accepted {
		return proxy.BodyRefused
	}
	return proxy.None
}

// Open implements [proxy.BodyReader]: the model is not known yet, and may still come.
func (a *Asked) Open() bool {
	if a.prompt.alone() {
		return false
	}
	_, stated := a.model()
	if a.place == inForm {
		return !stated && !a.form.Complete()
	}
	return !stated && !a.scan.Complete()
}

// model is the name that was read.
func (a *Asked) model() (name []byte, stated bool) {
	switch a.place {
	case inForm:
		return a.form.Model()
	case inQuery:
		return a.query.Name, a.query.Stated
	}
	return a.scan.Model()
}

// Begin readies a for what a request says where Inquire has found: InQuery, InBody or InPrompt. Body tells whether the body is to be read; a fault is a
// verdict on what can be seen before.
func (a *Asked) Begin(r *Route, q *Request, where Inquiry) (body bool, f proxy.Fault) {
	a.measures = q.Estimates
	a.dialect, a.byway = q.spoken, q.byway
	switch where {
	case InQuery:
		a.place = inQuery
		_, query, _ := bytes.Cut(q.Head.Target, []byte("?"))
		a.query, a.refusal = inference.ModelOfQuery(a.buffer[:], query)
		return false, proxy.None
	case InPrompt:
		a.place = inJSON
		a.scan.Reset()
		a.prompt = a.prompt.beginAlone()
		return true, proxy.None
	}
	kind := q.Head.ContentType
	if a.place = inJSON; (a.dialect.Forms() || a.dialect == inference.Other) && inference.IsForm(kind) {
		a.place = inForm
		f = a.judge(a.form.Reset(kind))
	} else {
		a.scan.Reset()
		if r.prompts {
			a.prompt = a.prompt.begin()
		}
	}
	if f == proxy.None && !q.Head.HasBody() {
		f = a.End()
	}
	return f == proxy.None && q.Head.HasBody(), f
}

// Dialect is that of the request; Other: nothing is asked of a model. A may be nil.
func (a *Asked) Dialect() inference.Dialect {
	if a == nil {
		return inference.Other
	}
	return a.dialect
}

// Model is that of the settings which was found; nil: none.
func (a *Asked) Model() *config.Model { return a.found.model }

// Said is the model's name as the client says it; nil: it says none.
func (a *Asked) Said() []byte { return a.name }

// First is the name of the model that is asked first; nil: it is none of the settings. A may be nil.
func (a *Asked) First() []byte {
	if a == nil || a.found.ways == nil {
		return nil
	}
	return a.found.ways[0].name
}

// Scan is what was read of a body of JSON; nil: it is none.
func (a *Asked) Scan() *inference.Scanner {
	if a.place != inJSON {
		return nil
	}
	return &a.scan
}

// Size is how much the model is to read: of a body of that length, -1 if it was not announced.
func (a *Asked) Size(length int64) inference.Size {
	switch {
	case a.place == inForm:
		return inference.Size{Media: 1}
	case a.place != inJSON:
		return inference.Size{Text: max(length, 0)}
	case !a.measures:
		return inference.Size{Text: max(length, a.scan.Read())}
	}
	s := a.measure.Size()
	s.Text += max(length-a.read, 0)
	return s
}

// Refused is what a client is told of a body or a query that was refused.
func (a *Asked) Refused() inference.Error {
	switch a.place {
	case inForm:
		return inference.ErrorOf(a.refusal, a.form.Culprit())
	case inQuery:
		return inference.ErrorOf(a.refusal, inference.ModelMember)
	}
	return inference.ErrorOf(a.refusal, a.scan.Culprit())
}
