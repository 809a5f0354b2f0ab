package server

import (
	"math"
	"sync/atomic"
	"time"

	"aigateway/gateway/config"
	"aigateway/gateway/inference"
	"aigateway/gateway/keys"
	"aigateway/gateway/proxy"
	"aigateway/gateway/ratelimit"
	"aigateway/gateway/telemetry"
	"aigateway/gateway/wire"
)

// budgets are what a plan has of limits of tokens, and counts. A nil budgets counts nothing.
type budgets struct {
	accounts *ratelimit.Accounts
	models   map[*config.Model]*ratelimit.Account // nil: no limits
	all      *ratelimit.Account
	weights  config.Tokens
	observe  map[*proxy.Pool]bool // whose streams pass as they are

	estimates bool // of all requests: a limit of a model or of all counts tokens, or requests may have to wait by what they cost
}

// newBudgets makes those of a plan; nil, if its settings have nobody and nothing to count for.
func (g *Gateway) newBudgets(p *plan) *budgets {
	s := p.settings
	if s.Keys == nil && len(s.Models) == 0 && s.GlobalTPM == 0 {
		return nil
	}
	b := &budgets{accounts: g.accountsFor(s), models: make(map[*config.Model]*ratelimit.Account), weights: s.Tokens, observe: make(map[*proxy.Pool]bool)}
	if b.weights == (config.Tokens{}) {
		b.weights = config.Tokens{Input: 1, Output: 1, Cached: 1}
	}
	now := wire.Now()
	if p.models != nil {
		for _, m := range p.models.table.Models() {
			if a := b.accounts.Of(now, ratelimit.Model, []byte(m.Name), amounts(&m.Limits)); a != nil {
				b.models[m] = a
				b.estimates = b.estimates || a.CountsTokens()
			}
		}
	}
	b.all = b.accounts.Of(now, ratelimit.All, []byte("all"), ratelimit.Amounts{TPM: s.GlobalTPM})
	b.estimates = b.estimates || b.all.CountsTokens()
	for i := range s.Pools {
		c := &s.Pools[i]
		b.estimates = b.estimates || c.Queues()
		if c.Usage == config.Observe {
			b.observe[g.proxy.Pool(c.Name)] = true
		}
	}
	return b
}

// accountsFor are the accounts of this replica, or of all together, whichever the settings want. They outlive reloads.
func (g *Gateway) accountsFor(s *config.Settings) *ratelimit.Accounts {
	if g.accounts != nil && g.accountsIn == s.RateLimit.Backend {
		return g.accounts
	}
	old := g.accounts
	g.accountsIn = s.RateLimit.Backend
	if g.accountsIn != config.InRedis {
		g.accounts = ratelimit.NewAccounts(ratelimit.AccountOptions{})
	} else {
		shared, err := ratelimit.NewSharedAccounts(ratelimit.SharedAccountOptions{
			Redis: g.settings.Redis, Keys: g.settings.Redis.Prefix + ":v1:tok", Now: wire.Now,
			OnFault: func(err error) { g.log.Debug("cannot ask Redis about budgets", "error", err.Error()) },
		})
		if err != nil {
			g.log.Error("budgets are of this replica alone", "error", err.Error())
			shared = ratelimit.NewAccounts(ratelimit.AccountOptions{})
		}
		g.accounts = shared
	}
	if old != nil { // requests under way still settle there
		time.AfterFunc(time.Minute, old.Close)
	}
	return g.accounts
}

// amounts are limits as accounts have them.
func amounts(l *config.KeyLimits) ratelimit.Amounts {
	return ratelimit.Amounts{
		RPS: l.RPS, Burst: l.Burst, RPM: l.RPM, TPM: l.TPM, TPMBurst: l.TPMBurst, TPD: l.TPD, Concurrency: int64(l.Concurrency),
	}
}

// limitTenant spends a request of the tenant's own limits.
func (g *Gateway) limitTenant(x *exchange) (done bool) {
	b := x.plan.budgets
	if b == nil || x.tenant.Key == nil || x.route.ops {
		return false
	}
	x.account = b.accounts.Of(x.began, ratelimit.Key, x.tenant.ID, amounts(&x.tenant.Key.Limits))
	f := x.account.AdmitRequest(x.began)
	return f.Refused() && g.replyBudget(x, &f)
}

// countsTokens tells whether the tokens of the request are limited, by whom it is.
func (x *exchange) countsTokens() bool {
	b := x.plan.budgets
	return b != nil && (x.account.CountsTokens() || b.all.CountsTokens())
}

// estimates tells whether it matters how many tokens the request will need, before an upstream has counted them.
func (x *exchange) estimates() bool {
	b := x.plan.budgets
	return b != nil && (b.estimates || x.account.CountsTokens())
}

// reserve readies what a request to a model is to be charged, and refuses it if that can never be. The tokens themselves are taken
// when it goes to an upstream: what the cache has, or another request fetches, costs none.
func (g *Gateway) reserve(x *exchange) (done bool) {
	b := x.plan.budgets
	if b == nil || len(x.route.targets) == 0 && x.route.models == nil {
		return false
	}
	if !x.route.openAI && x.account == nil {
		return false
	}
	c := newCharge(g, x)
	x.charge = c
	if f := c.model.AdmitRequest(x.began); f.Refused() {
		return g.replyBudget(x, &f)
	}
	if most := c.mostTokens(); most > 0 && c.stated > most {
		e := tokensExceed
		e.Param = x.asked.statedBy()
		g.replyError(x, e)
		return true
	}
	return false
}

var tokensExceed = inference.Error{
	Status: 400, Code: "tokens_exceed_limit", Message: "the request wants more tokens than its limit ever has at once",
}

// replyBudget refuses with the bucket that had not enough.
func (g *Gateway) replyBudget(x *exchange, f *ratelimit.Refusal) bool {
	x.observed.budget = f.Name()
	g.metrics.OverBudget(f.Name())
	g.ledger.Refuse(x.tenant.label(), f.Name())
	x.say("RateLimit-Scope", f.Name())
	x.sayInt("RateLimit-Remaining", f.Remaining)
	x.sayInt("Retry-After", f.RetryAfter())
	g.replyError(x, inference.Error{Status: 429, Code: "rate_limit_exceeded", Message: budgetTexts[f.Kind]})
	return true
}

var budgetTexts = map[ratelimit.Kind]string{
	ratelimit.RequestsPerSecond: "too many requests a second (rps); see the RateLimit-Scope and Retry-After fields",
	ratelimit.RequestsPerMinute: "too many requests a minute (rpm); see the RateLimit-Scope and Retry-After fields",
	ratelimit.TokensPerMinute:   "too many tokens a minute (tpm); see the RateLimit-Scope and Retry-After fields",
	ratelimit.TokensPerDay:      "too many tokens a day (tpd); see the RateLimit-Scope and Retry-After fields",
	ratelimit.Concurrency:       "too many requests under way (concurrency); see the RateLimit-Scope and Retry-After fields",
}

// replyOverBudget refuses what its meter did not let go to an upstream, or that of the request whose fetch it waited for.
func (g *Gateway) replyOverBudget(x *exchange) {
	if c := x.charge; c != nil && c.refusal.Refused() {
		g.replyBudget(x, &c.refusal)
		return
	}
	x.sayInt("Retry-After", 1)
	g.replyFault(x, ofProxyFault(proxy.OverBudget))
}

// meter has the proxy ask the charge.
func (x *exchange) meter(f *proxy.Exchange) {
	c := x.charge
	if c == nil {
		return
	}
	f.Meter = c
	if c.session != nil {
		f.Tunnel = c
	}
	if c.bound {
		if f.Drop = limitFields; x.route.cors != nil {
			f.Drop = limitAndCORSFields
		}
	}
}

// appendBudgets appends what is left of the tenant's limits.
func (x *exchange) appendBudgets(dst []byte) []byte {
	switch c := x.charge; {
	case c != nil:
		return c.appendStanding(dst, wire.Now())
	case x.account != nil:
		return appendStanding(dst, wire.Now(), x.account, nil, nil)
	}
	return dst
}

// endCharge counts the request, and gives the charge back.
func (x *exchange) endCharge() {
	c := x.charge
	if c == nil {
		return
	}
	if c.dialect.Counts() {
		c.requests, c.saved = 1, x.cached.SavedTokens
	}
	c.put()
}

// A charge is what one request costs its tenant. It outlives the request where others read on what it has fetched.
type charge struct {
	gateway *Gateway
	budgets *budgets
	users   atomic.Int32 // the exchange, and the proxy between Admit and Settle
	open    atomic.Bool  // between these

	tenant  []byte // whose answers it is to be judged by; no longer than the plan's keys
	label   string // of metrics
	key     *ratelimit.Account
	model   *ratelimit.Account
	bound   bool   // there is a limit
	limits  bool   // of tokens
	guesses bool   // what it will need is estimated beforehand, and learned from what it needed
	name    string // of the model, if the settings have it
	learnt  []byte // by which name its tokens are learned
	context int64  // tokens of the model's context; 0: not known
	dialect inference.Dialect
	scan    *inference.Scanner // of the exchange: until Admit has returned
	stated  int64              // tokens that the request wants, at most; -1: it does not say
	size    inference.Size
	input   int64 // estimated
	output  int64

	session     *session // nil: it is no tunnel whose messages are read
	reservation ratelimit.Reservation
	refusal     ratelimit.Refusal

	status   int
	stream   bool
	events   telemetry.Events
	answer   telemetry.Answer
	filter   inference.UsageFilter
	with     []byte
	injected bool

	used            telemetry.Used // of tokens: written by Settle
	requests, saved int64          // written by the exchange
}

// newCharge is that of a request whose body has been read as far as is needed.
func newCharge(g *Gateway, x *exchange) *charge {
	c := g.charges.Get().(*charge)
	c.gateway, c.budgets, c.key = g, x.plan.budgets, x.account
	c.users.Store(1)
	c.tenant, c.label = x.tenant.ID, x.tenant.label()
	c.stated, c.injected, c.name, c.context, c.model = -1, false, "", 0, nil
	c.dialect, c.scan, c.size, c.limits, c.guesses = inference.Other, nil, inference.Size{}, false, x.estimates()
	if x.route.openAI {
		c.dialect = inference.DialectOf(pathOf(x.head.Target))
	}
	c.size.Text = max(x.head.ContentLength, 0)
	c.learnt = c.learnt[:0]
	if a := x.asked; a != nil && a.dialect != inference.Other {
		c.learnt = append(c.learnt, a.name...)
		c.name = x.modelName()
		if m := a.found.Model; m != nil {
			c.context, c.model = m.ContextMax, c.budgets.models[m]
			c.learnt = append(c.learnt[:0], m.Name...)
		}
		switch a.place {
		case inJSON:
			c.scan, c.stated = &a.scan, a.scan.Stated()
			c.size = a.size(x.head.ContentLength)
		case inForm:
			c.size = inference.Size{Media: 1}
		}
	}
	if c.dialect.Counts() {
		c.limits = c.key.CountsTokens() || c.model.CountsTokens() || c.budgets.all.CountsTokens()
	}
	c.bound = c.key != nil || c.model != nil || c.budgets.all != nil
	c.used, c.requests, c.saved = telemetry.Used{}, 0, 0
	c.session = c.newSession(x)
	return c
}

// label is what metrics call a tenant.
func (t *tenant) label() string {
	if t.Key == nil {
		return keys.Others
	}
	return t.Key.Label
}

// mostTokens is what the smallest bucket holds, 0 if there is none.
func (c *charge) mostTokens() (most int64) {
	for _, a := range [...]*ratelimit.Account{c.key, c.model, c.budgets.all} {
		if n := a.MaxTokens(); n > 0 && (most == 0 || n < most) {
			most = n
		}
	}
	return most
}

// estimate is how many tokens the request will need, or has needed if nobody says.
func (c *charge) estimate() {
	if !c.dialect.Counts() {
		return
	}
	e := c.gateway.estimator
	c.input = e.Input(c.learnt, c.size)
	if c.context > 0 {
		c.input = min(c.input, c.context)
	}
	if c.dialect.Generates() {
		c.output = e.Output(c.tenant, c.learnt, c.stated)
	}
}

// weigh is what so many tokens count.
func (c *charge) weigh(input, output, cached int64) int64 {
	w := &c.budgets.weights
	return int64(math.Ceil(float64(input-cached)*w.Input + float64(cached)*w.Cached + float64(output)*w.Output))
}

// Admit implements [proxy.Meter].
func (c *charge) Admit(x *proxy.Exchange) proxy.Fault {
	c.input, c.output = 0, 0
	if c.guesses {
		c.estimate()
	}
	c.status, c.stream, c.events = 0, false, telemetry.Events{}
	c.answer.Reset()
	if x.Cost = 0; c.guesses {
		x.Cost = c.weigh(c.input, c.output, 0)
	}
	if c.bound {
		now := wire.Now()
		if c.refusal = c.reservation.Reserve(now, x.Cost, c.key, c.model, c.budgets.all); c.refusal.Refused() {
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

// roomToInject is how much longer a body may be for it, in bytes.
const roomToInject = 64

// inject has the stream tell its usage, if it would not.
func (c *charge) inject(x *proxy.Exchange) {
	if c.injected { // and the request goes out again
		c.filter.Reset()
		return
	}
	if c.dialect != inference.Chat && c.dialect != inference.Completions {
		return
	}
	for i := range x.Targets {
		if c.budgets.observe[x.Targets[i].Pool] {
			return
		}
	}
	in := c.scan.Inject(c.with[:0], x.HeldFirst())
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
func (c *charge) Response(h *wire.ResponseHead) { c.status, c.stream = h.Status, h.EventStream() }

// Body implements [proxy.Meter].
func (c *charge) Body(piece []byte) {
	if c.status >= 400 || !c.dialect.Counts() {
		return
	}
	if c.stream {
		c.events.Pass(piece)
	}
	c.answer.Pass(piece)
}

// reads tells whether all that the client gets is read here: what comes from the cache, or is taken for it, is not, or goes on for others.
func (c *charge) reads(x *exchange) bool {
	return c != nil && c.dialect.Counts() && c.open.Load() && (x.cached.Rule == nil || x.cached.Rule.Post == nil)
}

// Settle implements [proxy.Meter].
func (c *charge) Settle(x *proxy.Exchange, f proxy.Fault) {
	if !c.open.CompareAndSwap(true, false) {
		return // a panic came before
	}
	defer c.put()
	if c.session != nil && c.session.begun {
		c.endSession()
		return
	}
	input, output, cached, told := c.answer.Tokens()
	cut := f == proxy.ClientGone || f == proxy.Truncated || c.events.N > 0 && f != proxy.None // of a stream that is read for several
	switch {
	case !c.dialect.Counts():
		input, output, cached = 0, 0, 0
	case c.status >= 400, c.status == 0 && (f != proxy.ClientGone || x.Upstream == nil), f != proxy.None && !cut:
		input, output, cached = 0, 0, 0 // failed, or never sent
	case cut: // what has passed
		if input == 0 {
			c.estimate()
			input = c.input
		}
		output = max(output, int64(c.events.N))
	case !told:
		c.estimate()
		input, output = c.input, c.output
		if c.stream {
			output = int64(c.events.N)
		}
		c.gateway.metrics.UsageUnknown()
	case c.guesses:
		c.learn(input, output)
	}
	if c.bound {
		c.reservation.Settle(wire.Now(), c.weigh(input, output, cached))
	}
	c.used.Add(telemetry.Used{In: input, Out: output, Cached: cached})
}

// abandon gives back what is reserved for a request that panicked, whoever still reads for it; the charge is not used again then.
func (c *charge) abandon() {
	if c != nil && c.open.CompareAndSwap(true, false) {
		c.reservation.Settle(wire.Now(), 0)
	}
}

// learn takes in what an upstream has counted.
func (c *charge) learn(input, output int64) {
	e := c.gateway.estimator
	if c.dialect != inference.Audio && c.dialect != inference.Realtime {
		e.LearnInput(c.learnt, c.size, input)
	}
	if c.dialect.Generates() {
		e.LearnOutput(c.tenant, c.learnt, output)
	}
}

// put counts what was used and gives the charge back, when nobody needs it any more.
func (c *charge) put() {
	if c.users.Add(-1) > 0 {
		return
	}
	c.used.Requests, c.used.Saved = c.requests, c.saved
	c.gateway.ledger.Count(c.label, c.name, c.used)
	c.scan, c.key, c.model, c.budgets, c.session = nil, nil, nil, nil, nil
	c.gateway.charges.Put(c)
}

// appendStanding appends OpenAI's fields: what is left of the limits.
func (c *charge) appendStanding(dst []byte, now time.Duration) []byte {
	return appendStanding(dst, now, c.key, c.model, c.budgets.all)
}

func appendStanding(dst []byte, now time.Duration, key, model, all *ratelimit.Account) []byte {
	dst = appendLimit(dst, "requests", ratelimit.Requests(now, key, model))
	return appendLimit(dst, "tokens", ratelimit.Tokens(now, key, model, all))
}

const limitPrefix = "x-ratelimit-"

// limitFields are the lines that tell an upstream's limits: the gateway's replace them.
var (
	limitFields        = []string{limitPrefix}
	limitAndCORSFields = append(limitFields[:1:1], corsFields...)
)

func appendLimit(dst []byte, of string, s ratelimit.Standing) []byte {
	if s.Kind == ratelimit.NoLimit {
		return dst
	}
	name := func(what string) {
		dst = append(append(append(append(append(dst, limitPrefix...), what...), '-'), of...), ": "...)
	}
	name("limit")
	dst = wire.AppendInt(dst, "", s.Limit)
	name("remaining")
	dst = wire.AppendInt(dst, "", s.Remaining)
	name("reset")
	return append(ratelimit.AppendReset(dst, s.Reset), "\r\n"...)
}

// statedBy is the field that says how many tokens a request wants.
func (a *asked) statedBy() string {
	most, by := -1.0, inference.MaxTokensMember
	for _, m := range [...]inference.Member{inference.MaxTokensMember, inference.MaxCompletionTokensMember, inference.MaxOutputTokensMember} {
		if v, ok := a.scan.Value(m); ok && v.Kind == inference.Number && v.Number > most {
			most, by = v.Number, m
		}
	}
	return by.String()
}
