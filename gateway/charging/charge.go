package charging

import (
	"math"
	"sync/atomic"
	"time"

	"aigateway/gateway/config"
	"aigateway/gateway/inference"
	"aigateway/gateway/proxy"
	"aigateway/gateway/ratelimit"
	"aigateway/gateway/telemetry"
	"aigateway/gateway/wire"
)

// A Request is what a charge goes by. What it borrows is the caller's until the charge has gone to an upstream, or has ended.
type Request struct {
	Account *ratelimit.Account // the tenant's; nil: it has no limits
	Tenant  []byte             // by whose answers it is judged; borrowed for longer: no longer than the plan's keys
	Label   string             // of the tenant, for metrics
	Dialect inference.Dialect  // Other: nothing is counted
	Tunnel  bool               // it asks for a WebSocket

	Model *config.Model      // nil: none of the settings
	Name  string             // of the model, as it is counted; "": not known
	Said  []byte             // the model, as the client says it
	Scan  *inference.Scanner // of a body of JSON; nil: it is none
	Size  inference.Size     // of what the model is to read
}

// A Charge is what one request costs its tenant. It outlives the request where others read on what it has fetched.
type Charge struct {
	charging *Charging
	plan     *Plan
	users    atomic.Int32 // the exchange, and the proxy between Admit and Settle
	open     atomic.Bool  // between these

	tenant []byte // whose answers it is to be judged by; no longer than the plan's keys
	accounts
	bound   bool // there is a limit
	limits  bool // of tokens
	guesses bool // what it will need is estimated beforehand, and learned from what it needed
	dialect inference.Dialect
	of      *config.Model      // nil: none of the settings
	said    []byte             // the model's name, if it is none of the settings
	scan    *inference.Scanner // of the exchange: until Admit has returned
	stated  int64              // tokens that the request wants, at most; -1: it does not say
	size    inference.Size
	input   int64 // estimated
	output  int64

	session  *session // nil: it is no tunnel whose messages are read
	refusal  ratelimit.Refusal
	status   int
	stream   bool
	coded    bool // nobody here can read it
	injected bool
	events   telemetry.Events

	line            telemetry.LedgerLine // of the tenant and the model; it outlives the charge
	used            telemetry.Used       // of tokens: written by Settle
	requests, saved int64                // written by End

	answer      telemetry.Answer
	reservation ratelimit.Reservation
	filter      inference.UsageFilter
	with        []byte
}

// Begin readies the charge of a request whose body has been read as far as is needed.
func (p *Plan) Begin(r *Request) *Charge {
	c := p.charging.charges.Get().(*Charge)
	c.charging, c.plan = p.charging, p
	c.accounts = accounts{key: r.Account, all: p.all}
	c.users.Store(1)
	c.tenant, c.dialect = r.Tenant, r.Dialect
	c.line.Name(r.Label, r.Name)
	c.injected, c.limits, c.guesses = false, false, p.Estimates(r.Account)
	c.scan, c.size, c.stated, c.refusal = r.Scan, r.Size, -1, ratelimit.Refusal{}
	if c.of = r.Model; c.of == nil {
		c.said = append(c.said[:0], r.Said...)
	} else if len(p.models) > 0 {
		c.model = p.models[c.of]
	}
	if c.scan != nil {
		c.stated = c.scan.Stated()
	}
	if c.dialect.Counts() {
		c.limits = c.key.CountsTokens() || c.model.CountsTokens() || c.all.CountsTokens()
	}
	c.bound = c.key != nil || c.model != nil || c.all != nil
	c.used, c.requests, c.saved = telemetry.Used{}, 0, 0
	if c.limits && c.dialect == inference.Realtime && r.Tunnel {
		c.session = new(session)
	}
	return c
}

// AdmitRequest spends a request of the model's own limits.
func (c *Charge) AdmitRequest(now time.Duration) ratelimit.Refusal { return c.model.AdmitRequest(now) }

// Refusal is what Admit has said; it has not refused if the zero one.
func (c *Charge) Refusal() *ratelimit.Refusal { return &c.refusal }

// Limited tells whether a limit of the tenant, the model or all is told with the reply.
func (c *Charge) Limited() bool { return c.bound }

// Tunnel reads the request's tunnel; nil, if it need not be read.
func (c *Charge) Tunnel() proxy.TunnelTap {
	if c.session == nil {
		return nil
	}
	return c
}

// Exceeds tells whether the request wants more tokens than a limit ever has at once, and by which field.
func (c *Charge) Exceeds() (field string, exceeds bool) {
	if most := c.mostTokens(); most > 0 && c.stated > most {
		return statedBy(c.scan), true
	}
	return "", false
}

// learnt is the name by which its tokens are learned.
func (c *Charge) learnt() []byte {
	if c.of != nil {
		c.said = append(c.said[:0], c.of.Name...)
	}
	return c.said
}

// mostTokens is what the smallest bucket holds, 0 if there is none.
func (c *Charge) mostTokens() (most int64) {
	for _, a := range [...]*ratelimit.Account{c.key, c.model, c.all} {
		if n := a.MaxTokens(); n > 0 && (most == 0 || n < most) {
			most = n
		}
	}
	return most
}

// estimate is how many tokens the request will need, or has needed if nobody says.
func (c *Charge) estimate() {
	if !c.dialect.Counts() {
		return
	}
	e, learnt := c.charging.estimator, c.learnt()
	c.input = e.Input(learnt, c.size)
	if c.of != nil && c.of.ContextMax > 0 {
		c.input = min(c.input, c.of.ContextMax)
	}
	if c.dialect.Generates() {
		c.output = e.Output(c.tenant, learnt, c.stated)
	}
}

// weigh is what so many tokens count.
func (c *Charge) weigh(input, output, cached int64) int64 {
	w := &c.plan.weights
	return int64(math.Ceil(float64(input-cached)*w.Input + float64(cached)*w.Cached + float64(output)*w.Output))
}

// Admit implements [proxy.Meter].
func (c *Charge) Admit(x *proxy.Exchange) proxy.Fault {
	c.input, c.output = 0, 0
	if c.guesses {
		c.estimate()
	}
	c.status, c.stream, c.coded, c.events = 0, false, false, telemetry.Events{}
	c.answer.Reset()
	if x.Cost = 0; c.guesses {
		x.Cost = c.weigh(c.input, c.output, 0)
	}
	if c.bound {
		now := wire.Now()
		if c.refusal = c.reservation.Reserve(now, x.Cost, c.key, c.model, c.all); c.refusal.Refused() {
			return proxy.OverBudget
		}
		x.Fields = c.appendStanding(x.Fields, now)
	}
	c.users.Add(1)
	c.open.Store(true)
	if c.limits && c.scan != nil && c.scan.Streams() {
		c.inject(x)
	}
	return proxy.None
}

// RoomToInject is how much longer a body may be for it, in bytes.
const RoomToInject = 64

// maxKept is how much memory for the options of a stream a charge keeps.
const maxKept = 4 << 10

// inject has the stream tell its usage, if it would not.
func (c *Charge) inject(x *proxy.Exchange) {
	if c.injected { // and the request goes out again
		c.filter.Reset()
		return
	}
	if c.dialect != inference.Chat && c.dialect != inference.Completions {
		return
	}
	for i := range x.Targets {
		if c.plan.observe[x.Targets[i].Pool] {
			return
		}
	}
	in := c.scan.Inject(c.with[:0], x)
	if in.With == nil {
		return
	}
	if c.with = in.With; x.Splice(in.From, in.To, in.With) {
		c.injected = true
		c.filter.Reset()
		x.Filter, x.Identity = &c.filter, true
	}
}

// Response implements [proxy.Meter].
func (c *Charge) Response(h *wire.ResponseHead) {
	c.status, c.stream, c.coded = h.Status, h.EventStream(), h.Coded
}

// Body implements [proxy.Meter].
func (c *Charge) Body(piece []byte) {
	if c.status >= 400 || c.coded || !c.dialect.Counts() {
		return
	}
	if c.stream {
		c.events.Pass(piece)
	}
	c.answer.Pass(piece)
}

// Reads tells whether all that comes from the upstream is read here. A nil charge reads nothing.
func (c *Charge) Reads() bool { return c != nil && c.dialect.Counts() && c.open.Load() }

// Told is what an answer that was read has told of its tokens, if it has.
func (c *Charge) Told() (input, output int64, told bool) {
	input, output, _, told = c.answer.Tokens()
	return input, output, told
}

// Settle implements [proxy.Meter].
func (c *Charge) Settle(x *proxy.Exchange, f proxy.Fault) {
	if !c.open.CompareAndSwap(true, false) {
		return // a panic came before
	}
	defer func() {
		if c.leave() {
			c.put(wire.Now())
		}
	}()
	if c.session != nil && c.session.begun {
		c.endSession()
		return
	}
	input, output, cached, told := c.answer.Tokens()
	cut := f == proxy.ClientGone || f == proxy.Truncated || (c.events.N > 0 || c.coded) && f != proxy.None // of a stream that is read for several
	switch {
	case !c.dialect.Counts():
		input, output, cached = 0, 0, 0
	case c.status >= 400, c.status == 0 && (f != proxy.ClientGone || x.Upstream == nil), f != proxy.None && !cut:
		input, output, cached = 0, 0, 0 // failed, or never sent
	case cut && !c.coded: // what has passed
		if input == 0 {
			c.estimate()
			input = c.input
		}
		output = max(output, int64(c.events.N))
	case !told:
		c.estimate()
		input, output = c.input, c.output
		if c.stream && !c.coded {
			output = int64(c.events.N)
		}
		c.charging.options.Metrics.UsageUnknown()
	case c.guesses:
		c.learn(input, output)
	}
	if c.bound {
		c.reservation.Settle(wire.Now(), c.weigh(input, output, cached))
	}
	c.used.Add(&telemetry.Used{In: input, Out: output, Cached: cached})
}

// Abandon gives back what is reserved for a request that panicked, whoever still reads for it; the charge is not used again then.
func (c *Charge) Abandon() {
	if c != nil && c.open.CompareAndSwap(true, false) {
		c.reservation.Settle(wire.Now(), 0)
	}
}

// learn takes in what an upstream has counted.
func (c *Charge) learn(input, output int64) {
	e, learnt := c.charging.estimator, c.learnt()
	if c.dialect != inference.Audio && c.dialect != inference.Realtime {
		e.LearnInput(learnt, c.size, input)
	}
	if c.dialect.Generates() {
		e.LearnOutput(c.tenant, learnt, output)
	}
}

// leave tells whether nobody needs the charge any more.
func (c *Charge) leave() (last bool) { return c.users.Add(-1) == 0 }

// put counts what was used, at a time as wire.Now, and gives the charge back.
func (c *Charge) put(now time.Duration) {
	c.used.Requests, c.used.Saved = c.requests, c.saved
	c.charging.ledger.Count(&c.line, now, &c.used)
	c.scan, c.accounts, c.plan, c.of, c.session = nil, accounts{}, nil, nil, nil
	if cap(c.with) > maxKept {
		c.with = nil
	}
	c.charging.charges.Put(c)
}

// End counts the request, whose charge may be nil and which has ended then (as wire.Now), with the tokens that the cache has saved, and gives the
// charge back.
func (c *Charge) End(now time.Duration, saved int64) {
	if c == nil {
		return
	}
	if c.dialect.Counts() {
		c.requests, c.saved = 1, saved
	}
	if c.leave() {
		c.put(now)
	}
}

// statedBy is the field that says how many tokens a request wants.
func statedBy(s *inference.Scanner) string {
	most, by := -1.0, inference.MaxTokensMember
	for _, m := range [...]inference.Member{inference.MaxTokensMember, inference.MaxCompletionTokensMember, inference.MaxOutputTokensMember} {
		if v, ok := s.Value(m); ok && v.Kind == inference.Number && v.Number > most {
			most, by = v.Number, m
		}
	}
	return by.String()
}
