package main

import (
	"math/rand/v2"
	"net/url"
	"slices"
	"strconv"
	"time"

	"aigateway/gateway/config"
	"aigateway/gateway/inference"
	"aigateway/gateway/proxy"
	"aigateway/gateway/simulator"
)

// A policy is a way to spread requests.
type policy struct {
	name     string
	balance  config.Balance // "": the oracle's
	replicas int            // gateways that do not know of each other's requests
	says     saying         // nil: engines say nothing
	late     time.Duration  // by which readings are late
	every    time.Duration  // between two readings
}

// A saying is what an engine says instead of what is so.
type saying func(engine int, truth proxy.Load, rng *rand.Rand) *proxy.Load

func truly(_ int, truth proxy.Load, _ *rand.Rand) *proxy.Load { return &truth }

func policies() []policy {
	const second = time.Second
	return []policy{
		{name: "oracle"},
		{name: "round_robin", balance: config.RoundRobin},
		{name: "p2c", balance: config.P2C},
		{name: "hash by session", balance: config.ByHash},
		{name: "prefix", balance: config.ByPrefix, says: truly, every: second},
		{name: "prefix, 3 replicas", balance: config.ByPrefix, says: truly, every: second, replicas: 3},
		{name: "p2c, 3 replicas", balance: config.P2C, replicas: 3},
		{name: "prefix, no metrics", balance: config.ByPrefix},
		{name: "prefix, stale: 10 s old", balance: config.ByPrefix, says: truly, every: second, late: 10 * second},
		{name: "prefix, slow: 2 s, half of them lost", balance: config.ByPrefix, every: 2 * second, says: func(_ int, truth proxy.Load, rng *rand.Rand) *proxy.Load {
			if rng.IntN(2) == 0 {
				return nil
			}
			return &truth
		}},
		{name: "prefix, lies: all are idle", balance: config.ByPrefix, every: second, says: func(int, proxy.Load, *rand.Rand) *proxy.Load {
			return &proxy.Load{}
		}},
		{name: "prefix, lies: half are full", balance: config.ByPrefix, every: second, says: func(engine int, truth proxy.Load, rng *rand.Rand) *proxy.Load {
			if engine%2 == 0 {
				return &proxy.Load{Running: 64, Waiting: 50, KV: 0.99}
			}
			return &truth
		}},
		{name: "prefix, lies: half are full, more or less", balance: config.ByPrefix, every: second, says: func(engine int, truth proxy.Load, rng *rand.Rand) *proxy.Load {
			if engine%2 == 0 {
				return &proxy.Load{Running: 60 + rng.Int64N(4), Waiting: 50 + rng.Int64N(4), KV: 0.96 + 0.03*rng.Float64()}
			}
			return &truth
		}},
		{name: "prefix, lies: at random", balance: config.ByPrefix, every: second, says: func(_ int, _ proxy.Load, rng *rand.Rand) *proxy.Load {
			return &proxy.Load{Running: rng.Int64N(64), Waiting: rng.Int64N(64), KV: rng.Float64()}
		}},
	}
}

// A gateway chooses as one does.
type gateway struct {
	balancer *proxy.Balancer
	scanner  inference.Scanner
	prefix   inference.Prefix
	request  proxy.Request
}

func newGateway(balance config.Balance) *gateway {
	pool := config.Pool{Name: "llm", Balance: balance, Hash: config.Hash{By: config.HashClient}, MaxInflight: 10000}
	for i := range engines {
		pool.Upstreams = append(pool.Upstreams, config.Upstream{URL: &url.URL{Scheme: "http", Host: "10.0.0." + strconv.Itoa(i) + ":80"}, Weight: 1})
	}
	return &gateway{balancer: proxy.NewBalancer(pool)}
}

// choose takes a place for a request, and returns what the table remembers of it.
func (g *gateway) choose(c *conversation, t *turn) (engine int, prefix []uint64) {
	g.scanner.Reset()
	g.prefix.Reset()
	if g.scanner.Scan(t.body) != inference.Accepted {
		panic("BUG: a body that cannot be read")
	}
	g.prefix.Read(&g.scanner, t.body)
	g.request.Prefix, g.request.ClientKey = slices.Clone(g.prefix.Hashes([]byte("m"), nil)), []byte(c.name)
	if engine = g.balancer.Acquire(&g.request); engine < 0 {
		panic("BUG: all engines are full")
	}
	return engine, g.request.Prefix
}

// foresee is the oracle's choice: where the first token would come first, by all that there is to know.
func foresee(all []*simulator.Engine, o simulator.EngineOptions, j *simulator.Job) int {
	best, least := 0, time.Duration(1<<62)
	for i, e := range all {
		l := e.Load()
		unread := j.Prompt - e.Cached(j)*simulator.KVBlock
		cost := time.Duration(unread+l.Unread)*o.PerToken + time.Duration(l.Running)*o.PerSequence + time.Duration(l.Waiting)*100*o.PerStep
		if cost < least {
			best, least = i, cost
		}
	}
	return best
}
