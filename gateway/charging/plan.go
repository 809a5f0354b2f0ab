package charging

import (
	"time"

	"aigateway/gateway/config"
	"aigateway/gateway/inference"
	"aigateway/gateway/keys"
	"aigateway/gateway/proxy"
	"aigateway/gateway/ratelimit"
	"aigateway/gateway/telemetry"
	"aigateway/gateway/wire"
)

// A Plan is what the settings have of limits of tokens, and of who counts. A nil Plan counts nothing.
type Plan struct {
	charging *Charging
	accounts *ratelimit.Accounts
	models   map[*config.Model]*ratelimit.Account // of those that have limits
	all      *ratelimit.Account
	weights  config.Tokens
	observe  map[*proxy.Pool]bool // whose streams pass as they are

	estimates bool // of all requests: a limit of a model or of all counts tokens, or requests may have to wait by what they cost
}

// PlanOf is the plan of settings whose models are in the table and whose pools are found by their names; nil, if there is nobody and
// nothing to count for. It is called by one goroutine at a time.
func (c *Charging) PlanOf(s *config.Settings, table *inference.Table, pool func(name string) *proxy.Pool) *Plan {
	if s.Keys == nil && len(s.Models) == 0 && s.GlobalTPM == 0 {
		return nil
	}
	p := &Plan{charging: c, accounts: c.accountsFor(s), weights: s.Tokens, observe: make(map[*proxy.Pool]bool)}
	if p.weights == (config.Tokens{}) {
		p.weights = config.Tokens{Input: 1, Output: 1, Cached: 1}
	}
	now := wire.Now()
	for _, m := range table.Models() {
		if a := p.accounts.Of(now, ratelimit.Model, []byte(m.Name), amounts(&m.Limits)); a != nil {
			if p.models == nil {
				p.models = make(map[*config.Model]*ratelimit.Account)
			}
			p.models[m] = a
			p.estimates = p.estimates || a.CountsTokens()
		}
	}
	p.all = p.accounts.Of(now, ratelimit.All, []byte("all"), ratelimit.Amounts{TPM: s.GlobalTPM})
	p.estimates = p.estimates || p.all.CountsTokens()
	for i := range s.Pools {
		has := &s.Pools[i]
		p.estimates = p.estimates || has.Queues()
		if has.Usage == config.Observe {
			p.observe[pool(has.Name)] = true
		}
	}
	return p
}

// Account is that of a key's tenant; nil, if it has no limits.
func (p *Plan) Account(now time.Duration, tenant []byte, limits *config.KeyLimits) *ratelimit.Account {
	if p == nil {
		return nil
	}
	return p.accounts.Of(now, ratelimit.Key, tenant, amounts(limits))
}

// CountsTokens tells whether the tokens of a request are limited, whichever model it is for. The tenant's account may be nil.
func (p *Plan) CountsTokens(tenant *ratelimit.Account) bool {
	return p != nil && (tenant.CountsTokens() || p.all.CountsTokens())
}

// Estimates tells whether it matters how many tokens a request will need, before an upstream has counted them.
func (p *Plan) Estimates(tenant *ratelimit.Account) bool {
	return p != nil && (p.estimates || tenant.CountsTokens())
}

// States are the limits of the keys that have a series of their own, of models and of all, and how much of them is taken.
func (p *Plan) States(of *keys.Set, models []config.Model) (list []telemetry.BudgetState) {
	if p == nil {
		return nil
	}
	now := wire.Now()
	add := func(a *ratelimit.Account, id string) {
		a.Used(now, func(k ratelimit.Kind, share float64) {
			list = append(list, telemetry.BudgetState{Limit: ratelimit.BucketName(a.Owner, k), Owner: a.Owner.String(), ID: id, Used: share})
		})
	}
	for _, k := range of.Keys() {
		if k.Label == keys.Others {
			break // and so are all behind it
		}
		add(p.accounts.Of(now, ratelimit.Key, k.Tenant(), amounts(&k.Limits)), k.ID)
	}
	for _, m := range models {
		add(p.accounts.Of(now, ratelimit.Model, []byte(m.Name), amounts(&m.Limits)), m.Name)
	}
	add(p.all, "")
	return list
}

// Standings are what is left of a key's limits.
func (p *Plan) Standings(k *keys.Key) []ratelimit.Standing {
	if p == nil {
		return nil
	}
	return p.accounts.Standings(wire.Now(), ratelimit.Key, k.Tenant(), amounts(&k.Limits))
}

// amounts are limits as accounts have them.
func amounts(l *config.KeyLimits) ratelimit.Amounts {
	return ratelimit.Amounts{
		RPS: l.RPS, Burst: l.Burst, RPM: l.RPM, TPM: l.TPM, TPMBurst: l.TPMBurst, TPD: l.TPD, Concurrency: int64(l.Concurrency),
	}
}
