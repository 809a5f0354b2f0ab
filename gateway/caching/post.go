package caching

import (
	"slices"
	"time"

	"aigateway/gateway/cache"
	"aigateway/gateway/inference"
	"aigateway/gateway/proxy"
	"aigateway/gateway/wire"
)

// A PostRule is what a route does with models' answers to POST.
type PostRule struct {
	Policy cache.Policy
	Route  []byte // its name
	When   inference.When
	Shared bool // what was made for one is for all
	Tools  bool // answers that want tools called are kept as well
	Paced  bool // a stream comes from the cache about as it came
}

// Asked is what a request asks of a model, as its caller knows it. The zero value is of a path where no model is asked.
type Asked struct {
	Dialect inference.Dialect
	Model   []byte // as the operator calls it; nil: as the request does. Borrowed
	Tenant  []byte // who asks; nil: whoever shows the same credentials. Borrowed
}

// A posting is what a Request to a model has beside others. It is made once and reused.
type posting struct {
	canon  inference.Canon
	key    cache.Post
	large  *wire.Buffer // of a body that does not lie in one piece
	batch  *batch       // of a request for embeddings; nil: there was none yet
	model  []byte       // as JSON, as answers to parts of the request say it; empty: they do not
	record []byte       // scratch: a record that is being written
	own    []byte       // lines of the answer that are only for who asks
	tap    proxy.Tap    // of who leads: it sees what is read of the flight
}

// longestPost is the longest body that is looked at, in bytes.
const longestPost = wire.HugeBuffer

// servePost is Serve for a POST to a model.
func (c *Caching) servePost(r *Request) Outcome {
	rule := r.Rule.Post
	by := cache.ByCredentials
	switch {
	case rule.Shared:
		by = cache.Anybody
	case r.Asked.Tenant != nil:
		by = cache.ByTenant
	}
	r.request.ReadPost(r.Head, r.Origin, r.Rule.Fields, by)
	why := r.request.Bypass()
	if why == cache.None {
		if why = r.readBody(); r.Fault != proxy.None {
			return Done
		}
	}
	if why != cache.None {
		r.bypass(why)
		return Passed
	}
	if r.readItems() {
		return r.serveItems()
	}
	r.post.key.Body = r.post.canon.Sum(r.Asked.Dialect, "")
	now := time.Now().UnixMilli()
	if tier, verdict := r.lookup(now); tier != cache.Nowhere && verdict.Serves() {
		r.hit(tier, verdict, now)
		return Done
	}
	return r.miss()
}

// readBody reads the request's body and makes its key, or says why there is none.
func (r *Request) readBody() cache.Reason {
	if !r.Asked.Dialect.Kept() {
		return cache.ForDialect
	}
	f := r.Forward
	if !f.Collected() {
		r.Client.Prepare(f)
		r.ready = true
		if r.Fault = r.caching.proxy.Collect(f); r.Fault != proxy.None {
			return cache.None
		}
	}
	if r.post == nil {
		r.post = new(posting)
	}
	p := r.post
	body, ok := p.body(f)
	if !ok {
		return cache.ForBody
	}
	d, rule := r.Asked.Dialect, r.Rule.Post
	if p.canon.Read(body) != inference.Accepted {
		return cache.ForNoCanon
	}
	when := rule.When
	if when == inference.OnRequest && cache.WantsPost(r.Head) {
		when = inference.Always
	}
	if doubt := d.Doubt(&p.canon, when); doubt != inference.NoDoubt {
		return reasonOf(doubt)
	}
	p.key = cache.Post{Route: rule.Route, Model: r.Asked.Model}
	if p.key.Model == nil {
		p.key.Model = p.canon.Text("model")
	}
	if !rule.Shared {
		p.key.Tenant = r.Asked.Tenant
	}
	r.posts = true
	return cache.None
}

// body is the request's body in one piece.
func (p *posting) body(f *proxy.Exchange) (body []byte, ok bool) {
	n, whole := f.Held()
	if !whole || n == 0 || n > longestPost {
		return nil, false
	}
	if body, ok = f.HeldInOne(); ok {
		return body, true
	}
	p.large = wire.GetBuffer(n)
	return f.AppendHeld(p.large.B[:0]), true
}

// reset readies p for another request.
func (p *posting) reset(flights *Flights) {
	if p.large != nil {
		p.large.Put()
		p.large = nil
	}
	if p.batch != nil {
		flights.taken.Add(-p.batch.taken)
		p.batch.reset()
	}
	p.key, p.own, p.tap, p.model = cache.Post{}, p.own[:0], nil, p.model[:0]
	p.canon.Reset()
}

// takePost is Take for the answer of a model.
func (r *Request) takePost(h *wire.ResponseHead, length int64) bool {
	rule := r.Rule.Post
	if cache.Failure(h.Status) && r.mayServeOnError() {
		r.take((*Request).replace)
		return true
	}
	meta, why := rule.Policy.StorePost(&r.request, &r.response, r.Rule.Fields)
	switch {
	case why != cache.None:
	case length == wire.UntilClose, length > rule.Policy.MaxBody:
		why = cache.ForTooLarge
	case r.Forward.OtherModel():
		why = cache.ForFallback
	}
	if why != cache.None {
		return r.takeNot(h, why)
	}
	r.take((*Request).store)
	l, p := r.fill, r.post
	l.response = Response{Meta: meta, Live: h.EventStream(), Length: length}
	m := &l.flight.memory
	m.lines, p.own = r.response.AppendPostHead(m.lines[:0], p.own[:0], h)
	m.lines = slices.Grow(append(m.lines, r.Forward.TargetFields()...), headEnd)
	m.text = append(m.text[:0], r.urlText()...)
	l.response.Lines, l.keeps = m.lines, true
	l.posts, l.answer = true, answer{dialect: r.Asked.Dialect, tools: rule.Tools, paced: rule.Paced && l.response.Live, note: l.answer.note}
	if tap := r.Forward.Tap; tap != nil && tap.Response(h) {
		p.tap = tap
	}
	return true
}

// An answer is what a fill of a model's answer has beside others.
type answer struct {
	dialect inference.Dialect
	tools   bool
	paced   bool   // it is a stream that is to be paced
	note    []byte // then, see notes
	last    time.Duration
	tail    proxy.Tail // of the body
}

// judge says whether the whole body may be kept, and what it cost.
func (l *fill) judge(body []byte) {
	read := l.answer.dialect.ReadAnswer
	if l.response.Live {
		read = l.answer.dialect.ReadStream
	}
	r := read(body)
	why := reasonOf(r.Doubt)
	if why == cache.None && r.Calls && !l.answer.tools {
		why = cache.ForToolCall
	}
	if why != cache.None {
		l.keeps = false
	}
	l.caching.metrics.Judged(int(why))
	m := &l.flight.memory
	m.variant = appendNote(m.variant[:0], &r.Usage, l.answer.note)
	l.response.Variant, l.response.Why, l.response.Tokens = m.variant, why, r.Usage.Input+r.Usage.Output
}

// tell tells those who read a stream that broke between two of its events that it has no end, in an event of the gateway's.
func (l *fill) tell(f proxy.Fault) {
	a := &l.answer
	if !l.posts || !l.response.Live || l.response.Length >= 0 || f == proxy.ClientGone || a.tail == 0 || !a.tail.Ends() {
		return
	}
	e := &inference.Broken
	if f == proxy.TimeoutIdle {
		e = &inference.Silent
	}
	if l.flight.Write(a.dialect.AppendCut(nil, e.Code, e.Message)) == nil {
		l.flight.Told()
	}
}

// note notes how the body ends, and of a stream that is to be paced when a piece came.
func (l *fill) note(piece []byte) {
	if !l.posts {
		return
	}
	l.answer.tail.Pass(piece)
	if a := &l.answer; a.paced {
		now := wire.Now()
		if a.last == 0 {
			a.last = now
		}
		a.note = appendPiece(a.note, len(piece), now-a.last)
		a.last = now
	}
}

// saved counts what the model did not have to read and write.
func (r *Request) saved(tokens int64) {
	if r.SavedTokens = max(tokens, 0); tokens > 0 {
		r.caching.metrics.Saved(uint64(tokens))
	}
}

// pass shows the tap a piece of the answer as the client that leads gets it.
func (r *Request) pass(piece []byte) {
	if r.posts && r.post.tap != nil && len(piece) > 0 {
		r.post.tap.Body(piece)
	}
}

// reasonOf is the cache's word for a doubt.
func reasonOf(d inference.Doubt) cache.Reason {
	return [...]cache.Reason{
		inference.NoDoubt: cache.None, inference.OtherDialect: cache.ForDialect, inference.NoCanon: cache.ForNoCanon, inference.Sampled: cache.ForSampled,
		inference.Choices: cache.ForChoices, inference.Unasked: cache.ForNotAsked, inference.Stateful: cache.ForStateful, inference.Misspelled: cache.ForMisspelled,
		inference.NotWhole: cache.ForNotWhole, inference.Failing: cache.ForFailing, inference.Unfinished: cache.ForUnfinished,
		inference.CallsTool: cache.ForToolCall, inference.OtherAnswer: cache.ForShape,
	}[d]
}
