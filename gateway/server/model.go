package server

import (
	"bytes"

	"aigateway/gateway/config"
	"aigateway/gateway/inference"
	"aigateway/gateway/proxy"
	"aigateway/gateway/routing"
	"aigateway/gateway/wire"
)

// models is what a route does with the models that requests name. A nil models does nothing.
type models struct {
	table *inference.Table // nil: there are none in the settings
	pool  *proxy.Pool      // the route's own; nil: none
	clock bool             // it matters whether a stream is asked for
	ways  map[*config.Model][]way

	prompts bool // a pool goes by how prompts begin
	counts  bool // what requests ask for is read where tokens are limited, whether or not the model decides
}

// A way is where a request for a model may go, and what it is to say there.
type way struct {
	model  inference.Result
	pool   *proxy.Pool
	name   []byte // of the model
	plain  []byte // its name upstream
	fields []byte // for a response from there
}

// modelsOf is what a plan's routes do with models, by the settings; nil of none.
func (g *Gateway) modelsOf(s *config.Settings) *models {
	table := inference.NewTable(s.Models)
	if table == nil {
		return nil
	}
	m := &models{table: table, ways: make(map[*config.Model][]way)}
	for _, model := range table.Models() {
		r := table.Of(model)
		ways := g.waysOf(s, r)
		for _, other := range r.Fallback() {
			ways = append(ways, g.waysOf(s, table.Of(other))...)
		}
		m.ways[model] = ways
		for _, w := range ways {
			m.prompts = m.prompts || w.pool.ByPrefix()
		}
	}
	return m
}

// waysOf are a model's pool and the one that stands in for it.
func (g *Gateway) waysOf(s *config.Settings, r inference.Result) []way {
	name := r.Model.Asked()
	w := way{model: r, name: []byte(r.Model.Name), plain: r.Written(inference.Plain), fields: wire.AppendField(nil, "X-Upstream-Model: ", []byte(name))}
	var ways []way
	for _, t := range targetsOf(g.proxy.Pool(r.Model.Pool), g.fallback(s, config.Route{Pool: r.Model.Pool})) {
		w.pool = t.Pool
		ways = append(ways, w)
	}
	return ways
}

// modelsOf is what a route with a pool of its own does with models; nil if it does not look for them.
func (p *plan) modelsOf(pool *proxy.Pool) *models {
	m := models{pool: pool, counts: p.charging != nil, prompts: pool.ByPrefix()}
	if p.models != nil {
		m.table, m.ways, m.prompts = p.models.table, p.models.ways, m.prompts || p.models.prompts
	}
	if m.table == nil && !m.counts && !m.prompts && !pool.Discovers() {
		return nil
	}
	return &m
}

// known are the models of the settings; nil: there are none.
func (m *models) known() *inference.Table {
	if m == nil {
		return nil
	}
	return m.table
}

// lists tells whether the gateway knows which models there are.
func (m *models) lists() bool { return m.table != nil || m.pool.Discovers() }

// decide tells whether the model of a request decides about it.
func (m *models) decide() bool { return m.table != nil || m.clock || m.pool.Narrows() }

// An asked is what a request asks of a model, as far as its body has been read.
type asked struct {
	dialect inference.Dialect
	place   place
	scan    inference.Scanner
	form    inference.Form
	query   inference.QueryModel
	buffer  [inference.MaxName + 1]byte // of a name in a query or a path
	refusal inference.Refusal           // of the body

	measures bool
	measure  inference.Measurer
	read     int64 // bytes of the body until now, if it is measured

	name  []byte           // as the client says it; nil: it says none
	found inference.Result // zero, or Unknown, if the settings have no such model
	ways  []way            // in the order in which they may be asked; nil: the route's own

	prompt *prompt // how the prompt begins; nil: it was never asked for
}

// A place is where a request names its model.
type place uint8

const (
	nowhere place = iota
	inJSON
	inForm
	inQuery
)

// reset readies a for another request.
func (a *asked) reset() {
	if a == nil {
		return
	}
	a.dialect, a.place, a.refusal = inference.Other, nowhere, inference.Accepted
	a.name, a.found, a.ways = nil, inference.Result{}, nil
	a.prompt.reset()
	if a.measures {
		a.measure.Reset()
		a.read = 0
	}
}

// Read implements [proxy.BodyReader].
func (a *asked) Read(piece []byte) proxy.Fault {
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

// size is how much the model is to read: of a body of that length, -1 if it was not announced.
func (a *asked) size(length int64) inference.Size {
	if !a.measures {
		return inference.Size{Text: max(length, a.scan.Read())}
	}
	s := a.measure.Size()
	s.Text += max(length-a.read, 0)
	return s
}

// End implements [proxy.BodyReader].
func (a *asked) End() proxy.Fault {
	if a.place == inForm {
		return a.judge(a.form.End())
	}
	return a.judge(a.scan.End())
}

func (a *asked) judge(r inference.Refusal) proxy.Fault {
	if a.prompt.alone() {
		return proxy.None // the upstream is to say what it thinks of it
	}
	if a.refusal = r; r != inference.Accepted {
		return proxy.BodyRefused
	}
	return proxy.None
}

// Open implements [proxy.BodyReader]: the model is not known yet, and may still come.
func (a *asked) Open() bool {
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
func (a *asked) model() (name []byte, stated bool) {
	switch a.place {
	case inForm:
		return a.form.Model()
	case inQuery:
		return a.query.Name, a.query.Stated
	}
	return a.scan.Model()
}

// ask finds out which model the request is for, and who has it. It reads as much of the body as that takes.
func (g *Gateway) ask(x *exchange) (done bool) {
	m := x.route.models
	if m == nil {
		return false
	}
	path := routing.PathOf(x.head.Target)
	limited := x.tenant.Key.Limited()
	switch d := inference.DialectOf(path); {
	case (m.table != nil || limited || x.plan.charging.CountsTokens(x.account)) && x.disguised(path, d):
		g.replyFault(x, &otherDialect)
		return true
	case d == inference.Models && m.lists():
		return g.listModels(x, path)
	case !m.decide() && !limited && !x.plan.charging.CountsTokens(x.account):
		return m.prompts && g.askPrompt(x, d)
	case limited && d == inference.Other && x.head.HasBody(): // which may name a model all the same
		return g.askBody(x, d)
	case d == inference.Realtime && (x.head.WebSocket || limited): // by WebRTC its body is no JSON
		return g.askQuery(x)
	case limited && d.NamesModel() && x.head.HasBody(): // in whatever way: somebody behind may take it for a POST
		return g.askBody(x, d)
	case !d.NamesModel() || d == inference.Realtime || string(x.head.Method) != "POST":
		return g.askNobody(x)
	default:
		return g.askBody(x, d)
	}
}

// disguised tells whether a path is another dialect's than d, which it has as it stands, to anybody behind: then what is asked there
// would not be counted, nor its model looked at. Some of those behind (Express) take any case, and a slash at the end, too.
func (x *exchange) disguised(path []byte, d inference.Dialect) bool {
	switch d {
	case inference.Other, inference.Models, inference.Audio:
	default: // which has one path, and that has no other reading
		return false
	}
	speaks := func(reading []byte) bool {
		x.scratch = append(x.scratch[:0], bytes.TrimRight(reading, "/")...)
		for i, c := range x.scratch {
			if 'A' <= c && c <= 'Z' {
				x.scratch[i] = c | 0x20
			}
		}
		return inference.DialectOf(x.scratch) == d
	}
	if x.head.Plain {
		return !speaks(path)
	}
	return !routing.AllReadings(path, speaks)
}

// askNobody leaves a request that is for no model to the route's pool, if there is one.
func (g *Gateway) askNobody(x *exchange) (done bool) {
	if len(x.route.targets) > 0 {
		return false
	}
	g.replyFault(x, &noLLM)
	return true
}

// askQuery reads the model from the target.
func (g *Gateway) askQuery(x *exchange) (done bool) {
	a := x.asks(inference.Realtime)
	a.place = inQuery
	_, query, _ := bytes.Cut(x.head.Target, []byte("?"))
	if a.query, a.refusal = inference.ModelOfQuery(a.buffer[:], query); a.refusal != inference.Accepted {
		g.replyError(x, a.refused())
		return true
	}
	return g.find(x)
}

// askBody reads the model from the body.
func (g *Gateway) askBody(x *exchange, d inference.Dialect) (done bool) {
	a := x.asks(d)
	if coding, ok := x.head.Field("content-encoding"); ok && !bytes.EqualFold(coding, []byte("identity")) {
		g.replyError(x, codedBody)
		return true
	}
	kind, _ := x.head.Field("content-type")
	if a.place = inJSON; (d.Forms() || d == inference.Other) && inference.IsForm(kind) {
		a.place = inForm
		a.judge(a.form.Reset(kind))
	} else {
		a.scan.Reset()
		if x.route.models.prompts {
			a.prompt = a.prompt.begin(false)
		}
	}
	fault := proxy.None
	if a.refusal != inference.Accepted || !x.head.HasBody() && a.End() != proxy.None {
		fault = proxy.BodyRefused
	} else {
		fault = g.collect(x)
	}
	if fault != proxy.None {
		g.conclude(x, fault, 0)
		return true
	}
	if done = g.find(x); !done {
		model := a.name
		if len(a.ways) > 0 {
			model = a.ways[0].plain
		}
		a.prompt.hash(model, x.tenant.ID)
	}
	return done
}

// collect reads the body as far as it has to be known, and as it is held.
func (g *Gateway) collect(x *exchange) proxy.Fault {
	f := x.cached.Forward
	f.Head, f.Client, f.Reader, f.Room = &x.head, x.conn, x.asked, x.route.room
	return g.proxy.Collect(f)
}

// asks readies what the request asks of a model.
func (x *exchange) asks(d inference.Dialect) *asked {
	if x.asked == nil {
		x.asked = new(asked)
	}
	x.asked.dialect, x.asked.measures = d, x.plan.charging.Estimates(x.account)
	return x.asked
}

// find leads the name that was read to a model, and to those who have it.
func (g *Gateway) find(x *exchange) (done bool) {
	a, m := x.asked, x.route.models
	name, stated := a.model()
	if stated {
		a.name = name
	}
	switch {
	case m.table == nil || a.dialect == inference.Other:
		return !g.allowed(x, stated)
	case stated:
		a.found = m.table.Resolve(name)
	case a.dialect == inference.Tokenize && len(x.route.targets) > 0: // engines need none for that
		return false
	default:
		a.found = m.table.Sole()
	}
	switch a.found.Verdict {
	case inference.Found:
		if !x.tenant.Key.Allows(a.found.Model.Name) {
			g.replyError(x, inference.NotAllowed)
			return true
		}
		a.ways = m.ways[a.found.Model]
		return false
	case inference.Unstated:
		g.replyError(x, inference.ModelUnstated)
		return true
	}
	if m.discovered(name) {
		return !g.allowed(x, true)
	}
	g.replyError(x, inference.NoSuchModel)
	return true
}

// allowed tells whether the tenant may ask a model that is not in the settings, or refuses the request: with 404 for who may not even
// know that there is one.
func (g *Gateway) allowed(x *exchange, stated bool) bool {
	a, k := x.asked, x.tenant.Key
	e := inference.NoSuchModel
	switch {
	case !k.Limited():
		return true
	case !stated && (a.dialect == inference.Other || a.dialect == inference.Tokenize):
		return true
	case !stated: // the upstream would choose one
		e = inference.ModelUnstated
	case k.AllowsName(a.name):
		return true
	default:
		if x.route.models.pool.Listed(a.name) != "" {
			e = inference.NotAllowed
		}
	}
	g.replyError(x, e)
	return false
}

// discovered tells whether an upstream of the route's pool lists a model of which the settings say nothing.
func (m *models) discovered(name []byte) bool {
	return !m.table.Mentions(name) && m.pool.Listed(name) != ""
}

// aim tells the proxy who has the model, and what to say to them.
func (x *exchange) aim(f *proxy.Exchange) {
	a := x.asked
	f.Prefix = a.prompt.hashed()
	if a.ways == nil {
		for i := range f.Targets {
			f.Targets[i].Model = a.name
		}
		return
	}
	f.Targets = f.Targets[:0]
	renamed := false
	for i := range a.ways {
		w := &a.ways[i]
		t := proxy.Target{Pool: w.pool, Model: w.plain}
		if m := w.model.Model; m != nil {
			t.ContextMax, t.FirstToken, t.InterToken = m.ContextMax, m.Timeouts.FirstToken, m.Timeouts.InterToken
		}
		if a.name != nil && !bytes.Equal(a.name, w.plain) {
			t.Fields, renamed = w.fields, true
		}
		f.Targets = append(f.Targets, t)
	}
	if renamed {
		a.rename(f)
	}
}

// rename has each target find the name that it knows the model by.
func (a *asked) rename(f *proxy.Exchange) {
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
		f.Targets[i].With = a.ways[i].model.Written(writing)
	}
}

// refused is what a client is told of a body or a query that was refused.
func (a *asked) refused() inference.Error {
	switch a.place {
	case inForm:
		return inference.ErrorOf(a.refusal, a.form.Culprit())
	case inQuery:
		return inference.ErrorOf(a.refusal, inference.ModelMember)
	}
	return inference.ErrorOf(a.refusal, a.scan.Culprit())
}
