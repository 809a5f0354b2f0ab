package telemetry

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Used is what was used in a time.
type Used struct {
	Requests int64 `json:"requests"`
	In       int64 `json:"tokens_in"`
	Out      int64 `json:"tokens_out"`
	Cached   int64 `json:"tokens_cached"` // of In, by a cache of the engine
	Saved    int64 `json:"tokens_saved"`  // beside In and Out: answers that no model had to make again
}

// Add adds what was used in another time.
func (u *Used) Add(v *Used) {
	u.Requests += v.Requests
	u.In += v.In
	u.Out += v.Out
	u.Cached += v.Cached
	u.Saved += v.Saved
}

// A Usage is what one tenant has used of one model.
type Usage struct {
	Tenant string `json:"key"`
	Model  string `json:"model"`
	Total  Used   `json:"total"` // since the start
	Minute Used   `json:"minute"`
	Hour   Used   `json:"hour"`
	Day    Used   `json:"day"`
}

// A Ledger keeps what tenants use of models, in a bounded number of series. A nil Ledger keeps nothing.
type Ledger struct {
	mu     sync.Mutex
	series atomic.Pointer[map[ledgerKey]*ledgerSeries]
	tokens *family

	refused map[string]map[string]uint64 // requests, by tenant and by the limit that refused them
}

type ledgerKey struct{ tenant, model string }

// maxLedger bounds the series. What comes later is counted as others'.
const maxLedger = 2048

// A LedgerLine is where a ledger counts what a tenant uses of a model. It is for one ledger, and remembers its series there.
type LedgerLine struct {
	key    ledgerKey
	series *ledgerSeries // nil: not known yet
}

// Name makes it the line of a tenant and a model.
func (l *LedgerLine) Name(tenant, model string) {
	if l.key.tenant != tenant || l.key.model != model {
		*l = LedgerLine{key: ledgerKey{tenant, model}}
	}
}

// ledgerSeries are the counts of one tenant and one model. What is new is in one place until its step is over, because a request has little
// time for it.
type ledgerSeries struct {
	mu     sync.Mutex
	at     int64 // the step, of minuteStep, in which recent was used
	recent Used  // it is not in what follows
	total  Used
	told   Used // by Drain
	minute [13]ledgerSlot
	hour   [61]ledgerSlot
	day    [25]ledgerSlot
}

// A ledgerSlot is what was used in one step of time since the process began.
type ledgerSlot struct {
	at   int64
	used Used
}

const (
	minuteStep = 5 * time.Second
	hourStep   = time.Minute
	dayStep    = time.Hour
)

// NewLedger makes one whose series m shows; m may be nil.
func NewLedger(m *Metrics) *Ledger {
	l := &Ledger{}
	l.series.Store(&map[ledgerKey]*ledgerSeries{})
	if m != nil {
		l.tokens = m.counters("gateway_tokens_total", "Tokens of models' requests and answers: input (cached is a part of it), output, and saved ones.")
	}
	return l
}

// Count counts what was used in a line, at a time as wire.Now.
func (l *Ledger) Count(in *LedgerLine, now time.Duration, u *Used) {
	if l == nil || *u == (Used{}) {
		return
	}
	s := in.series
	if s == nil {
		if s = (*l.series.Load())[in.key]; s == nil {
			s = l.enter(in.key)
		}
		in.series = s
	}
	at := int64(now / minuteStep)
	s.mu.Lock()
	if s.at != at {
		s.settle()
		s.at = at
	}
	s.recent.Add(u)
	s.mu.Unlock()
}

// settle puts what is recent where it belongs.
func (s *ledgerSeries) settle() {
	if s.recent == (Used{}) {
		return
	}
	now := time.Duration(s.at) * minuteStep
	s.total.Add(&s.recent)
	count(s.minute[:], now, minuteStep, &s.recent)
	count(s.hour[:], now, hourStep, &s.recent)
	count(s.day[:], now, dayStep, &s.recent)
	s.recent = Used{}
}

func count(slots []ledgerSlot, now, step time.Duration, u *Used) {
	at := int64(now / step)
	s := &slots[at%int64(len(slots))]
	if s.at != at {
		*s = ledgerSlot{at: at}
	}
	s.used.Add(u)
}

// sum is what was used in all steps but the oldest, which is over.
func sum(slots []ledgerSlot, now, step time.Duration) (u Used) {
	at := int64(now / step)
	for i := range slots {
		if s := &slots[i]; s.at <= at && s.at > at-int64(len(slots))+1 {
			u.Add(&s.used)
		}
	}
	return u
}

// enter makes a series, if there is room for another.
func (l *Ledger) enter(key ledgerKey) *ledgerSeries {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := *l.series.Load()
	if s := known[key]; s != nil {
		return s
	}
	if len(known) >= maxLedger {
		key = ledgerKey{other, other}
		if s := known[key]; s != nil {
			return s
		}
	}
	more := make(map[ledgerKey]*ledgerSeries, len(known)+1)
	for k, s := range known {
		more[k] = s
	}
	s := new(ledgerSeries)
	more[ledgerKey{strings.Clone(key.tenant), strings.Clone(key.model)}] = s
	l.series.Store(&more)
	l.show(key, s)
	return s
}

// show makes the series' counters.
func (l *Ledger) show(key ledgerKey, s *ledgerSeries) {
	if l.tokens == nil {
		return
	}
	model := key.model
	if model == "" {
		model = other
	}
	for kind, read := range map[string]func(*Used) int64{
		"input": func(u *Used) int64 { return u.In }, "output": func(u *Used) int64 { return u.Out },
		"cached": func(u *Used) int64 { return u.Cached }, "saved": func(u *Used) int64 { return u.Saved },
	} {
		l.tokens.gauge(label("key", key.tenant)+","+label("model", model)+","+label("kind", kind), func() float64 {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.settle()
			return float64(read(&s.total))
		})
	}
}

// Usage is all that was used until now, a time as wire.Now, sorted by tenant and model.
func (l *Ledger) Usage(now time.Duration) []Usage {
	if l == nil {
		return nil
	}
	var list []Usage
	for key, s := range *l.series.Load() {
		s.mu.Lock()
		s.settle()
		list = append(list, Usage{
			Tenant: key.tenant, Model: key.model, Total: s.total,
			Minute: sum(s.minute[:], now, minuteStep), Hour: sum(s.hour[:], now, hourStep), Day: sum(s.day[:], now, dayStep),
		})
		s.mu.Unlock()
	}
	SortUsage(list)
	return list
}

// SortUsage sorts by tenant and model.
func SortUsage(list []Usage) {
	slices.SortFunc(list, func(a, b Usage) int {
		if c := strings.Compare(a.Tenant, b.Tenant); c != 0 {
			return c
		}
		return strings.Compare(a.Model, b.Model)
	})
}

// Drain tells what was used since the last call, by tenant and model.
func (l *Ledger) Drain(tell func(tenant, model string, u Used)) {
	if l == nil {
		return
	}
	for key, s := range *l.series.Load() {
		s.mu.Lock()
		s.settle()
		u, t := s.total, s.told
		s.told = u
		s.mu.Unlock()
		u.Add(&Used{-t.Requests, -t.In, -t.Out, -t.Cached, -t.Saved})
		if u != (Used{}) {
			tell(key.tenant, key.model, u)
		}
	}
}

// addBudgets makes the series of refusals by budgets, and of answers that do not tell their usage.
func (m *Metrics) addBudgets() {
	m.overBudget.family = m.counters("gateway_budget_refused_total", "Requests that a limit of a key, a model or all has refused, by the limit.")
	m.usageUnknown = m.counters("gateway_usage_unknown_total", "Answers of models that did not tell their tokens, which were estimated.").counter("")
}

// OverBudget counts a request that the limit of that name has refused.
func (m *Metrics) OverBudget(limit string) {
	if m != nil {
		m.overBudget.count(limit)
	}
}

// UsageUnknown counts an answer whose tokens were estimated.
func (m *Metrics) UsageUnknown() {
	if m != nil {
		m.usageUnknown.Inc()
	}
}
