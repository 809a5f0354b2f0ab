package server

import (
	"aigateway/gateway/inference"
	"aigateway/gateway/proxy"
	"aigateway/gateway/telemetry"
)

// readLoad reads an engine's page of metrics for the proxy.
func readLoad(engine string, page []byte) (proxy.Load, bool) {
	l, ok := inference.ReadLoad(engine, page)
	return proxy.Load(l), ok
}

// engineStates are what the engines of all pools say, and how requests came to those of pools that go by prefix.
func (g *Gateway) engineStates() (engines []telemetry.EngineState, prefixes []telemetry.PrefixState) {
	for _, p := range g.proxy.Pools() {
		if c := p.Choices(); p.ByPrefix() {
			prefixes = append(prefixes, telemetry.PrefixState{Pool: p.Name, Matched: c.Matched, Guessed: c.Guessed, Spilled: c.Spilled, Blocks: c.Blocks, Known: c.Known})
		}
		for _, u := range p.Upstreams {
			if l, counts := u.Engine(); l != nil {
				engines = append(engines, telemetry.EngineState{Pool: p.Name, URL: u.URL, Kind: l.Engine, Running: l.Running, Waiting: l.Waiting,
					KV: l.KV, Hits: l.Hits, Asked: l.Asked, Counts: counts})
			}
		}
	}
	return engines, prefixes
}
