package charging

import (
	"sync"
	"time"

	"aigateway/gateway/config"
	"aigateway/gateway/ratelimit"
	"aigateway/gateway/telemetry"
	"aigateway/gateway/wire"
)

// A usageKeeper tells Redis what this replica counts, where limits are of all replicas together.
type usageKeeper struct {
	store   *ratelimit.UsageStore // nil: this replica is alone
	stop    chan struct{}
	running sync.WaitGroup
}

// usageTime is how often.
const usageTime = 2 * time.Second

func (c *Charging) keepUsage() {
	if c.settings.RateLimit.Backend != config.InRedis || c.ledger == nil {
		return
	}
	k := &c.usage
	k.store, k.stop = ratelimit.NewUsageStore(c.settings.Redis, c.settings.Redis.Prefix+":v1:use"), make(chan struct{})
	k.running.Go(func() {
		var late []ratelimit.Usage
		for ended := false; !ended; {
			select {
			case <-k.stop:
				ended = true
			case <-time.After(usageTime):
			}
			late = c.tellUsage(late)
		}
	})
}

// tellUsage tells what was counted since the last time, and what did not arrive then. It returns what has not arrived.
func (c *Charging) tellUsage(late []ratelimit.Usage) []ratelimit.Usage {
	defer func() {
		if p := recover(); p != nil {
			c.options.OnPanic(p)
		}
	}()
	const most = 4096 // of a Redis that is away for long the last counts are lost
	if len(late) < most {
		c.ledger.Drain(func(tenant, model string, u telemetry.Used) {
			late = append(late, ratelimit.Usage{Tenant: tenant, Model: model, Counts: [...]int64{u.Requests, u.In, u.Out, u.Cached, u.Saved}})
		})
	}
	if err := c.usage.store.Add(time.Now(), late); err != nil {
		c.options.Log.Debug("cannot tell Redis about usage", "error", err.Error())
		return late
	}
	return late[:0]
}

func (c *Charging) closeUsage() {
	k := &c.usage
	if k.store == nil {
		return
	}
	close(k.stop)
	k.running.Wait()
	k.store.Close()
}

// Usage is what /usagez shows: of all replicas, or of this one if Redis does not answer.
func (c *Charging) Usage(now time.Time) (rows []telemetry.Usage, all bool) {
	if c.usage.store != nil {
		if times, err := c.usage.store.Read(now); err == nil {
			used := func(c [ratelimit.UsageCounts]int64) telemetry.Used {
				return telemetry.Used{Requests: c[0], In: c[1], Out: c[2], Cached: c[3], Saved: c[4]}
			}
			for _, t := range times {
				rows = append(rows, telemetry.Usage{
					Tenant: t.Tenant, Model: t.Model, Total: used(t.Total), Minute: used(t.Minute), Hour: used(t.Hour), Day: used(t.Day),
				})
			}
			telemetry.SortUsage(rows)
			return rows, true
		}
	}
	return c.ledger.Usage(wire.Now()), false
}
