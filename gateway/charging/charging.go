// Package charging is what requests to models cost those who ask: tokens are reserved before a request goes to an upstream, and
// settled by what the upstream has counted, or by what has passed.
//
// Its door is [New], [Charging.PlanOf] and [Plan.Begin]: a [Charge] is one request's, and the [proxy.Meter] of its exchange. The limits
// themselves are package ratelimit's, what a body and an answer say of tokens is package inference's. It does not know what a request
// is in the gateway, nor how it is refused: a [Request] says all that it goes by.
package charging

import (
	"log/slog"
	"sync"
	"time"

	"aigateway/gateway/config"
	"aigateway/gateway/inference"
	"aigateway/gateway/ratelimit"
	"aigateway/gateway/telemetry"
	"aigateway/gateway/wire"
)

// Options are what New needs besides the settings.
type Options struct {
	Log     *slog.Logger
	Metrics *telemetry.Metrics // nil: nothing is counted
	Ledger  *telemetry.Ledger  // nil: likewise
	OnPanic func(any)          // told of a panic in a goroutine, which goes on
}

// Charging is what outlives requests and plans: what accounts have left, what has been learned of models, and what was used.
type Charging struct {
	options   Options
	settings  *config.Settings    // of the start
	accounts  *ratelimit.Accounts // nil: there are none yet. Of who makes plans
	in        config.Backend      // where they are
	estimator *inference.Estimator
	ledger    *telemetry.Ledger
	charges   sync.Pool
	usage     usageKeeper
}

// New begins to count, by the settings of the start. Close ends it.
func New(s *config.Settings, o Options) *Charging {
	c := &Charging{options: o, settings: s, ledger: o.Ledger, estimator: inference.NewEstimator()}
	c.charges.New = func() any { return new(Charge) }
	c.keepUsage()
	return c
}

// Close ends what New and plans have begun, and tells what was used until now. No request may be under way.
func (c *Charging) Close() {
	c.accounts.Close()
	c.closeUsage()
}

// accountsFor are the accounts of this replica, or of all together, whichever the settings want. They outlive reloads.
func (c *Charging) accountsFor(s *config.Settings) *ratelimit.Accounts {
	if c.accounts != nil && c.in == s.RateLimit.Backend {
		return c.accounts
	}
	old := c.accounts
	c.in = s.RateLimit.Backend
	if c.in != config.InRedis {
		c.accounts = ratelimit.NewAccounts(ratelimit.AccountOptions{})
	} else {
		shared, err := ratelimit.NewSharedAccounts(ratelimit.SharedAccountOptions{
			Redis: c.settings.Redis, Keys: c.settings.Redis.Prefix + ":v1:tok", Now: wire.Now,
			OnFault: func(err error) { c.options.Log.Debug("cannot ask Redis about budgets", "error", err.Error()) },
		})
		if err != nil {
			c.options.Log.Error("budgets are of this replica alone", "error", err.Error())
			shared = ratelimit.NewAccounts(ratelimit.AccountOptions{})
		}
		c.accounts = shared
	}
	if old != nil { // requests under way still settle there
		time.AfterFunc(time.Minute, old.Close)
	}
	return c.accounts
}
