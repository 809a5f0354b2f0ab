package telemetry

import (
	"bytes"
	"fmt"
)

// EngineState is what an upstream's inference engine says of itself.
type EngineState struct {
	Pool    string  `json:"pool"`
	URL     string  `json:"url"`
	Kind    string  `json:"kind"`
	Running int64   `json:"running"`
	Waiting int64   `json:"waiting"`
	KV      float64 `json:"kv"`    // share of its KV cache in use, 0 to 1; negative: it does not say
	Hits    float64 `json:"hits"`  // tokens of prompts that were in its prefix cache; negative: it does not say
	Asked   float64 `json:"asked"` // tokens of prompts; negative: it does not say
	Counts  bool    `json:"counts"`
}

// PrefixState is how requests came to the upstreams of a pool that goes by how prompts begin.
type PrefixState struct {
	Pool    string `json:"pool"`
	Matched int64  `json:"matched"` // it had read the beginning
	Guessed int64  `json:"guessed"` // nobody had
	Spilled int64  `json:"spilled"` // who had has too much to do
	Blocks  int64  `json:"blocks"`  // of 1 KB, of all prompts
	Known   int64  `json:"known"`   // and of these, known to the upstream that was chosen
}

// writeEngines writes what engines say, and how requests came to them. Where there are none, it writes nothing.
func (m *Metrics) writeEngines(b *bytes.Buffer) {
	if m.options.Engines == nil {
		return
	}
	engines, prefixes := m.options.Engines()
	if len(engines) > 0 {
		for _, f := range engineFigures {
			f.write(b, engines)
		}
	}
	if len(prefixes) == 0 {
		return
	}
	writeHead(b, "prefix_choices_total", "Requests with a prompt, by how they came to their upstream.", "counter")
	for _, p := range prefixes {
		for _, c := range []struct {
			name string
			n    int64
		}{{"matched", p.Matched}, {"guessed", p.Guessed}, {"spilled", p.Spilled}} {
			fmt.Fprintf(b, "prefix_choices_total{%s,%s} %d\n", label("pool", p.Pool), label("choice", c.name), c.n)
		}
	}
	writeHead(b, "prefix_blocks_total", "Blocks of prompts, of 1 KB, by whether the upstream that was chosen had read them before.", "counter")
	for _, p := range prefixes {
		fmt.Fprintf(b, "prefix_blocks_total{%s,known=\"yes\"} %d\nprefix_blocks_total{%s,known=\"no\"} %d\n", label("pool", p.Pool), p.Known, label("pool", p.Pool), p.Blocks-p.Known)
	}
}

// An engineFigure is one of those that engines say; a negative one is none.
type engineFigure struct {
	name, help string
	of         func(EngineState) float64
}

var engineFigures = []engineFigure{
	{"upstream_engine_running", "Requests that an upstream's engine says it works on.", func(e EngineState) float64 { return float64(e.Running) }},
	{"upstream_engine_waiting", "Requests that an upstream's engine says wait in it.", func(e EngineState) float64 { return float64(e.Waiting) }},
	{"upstream_engine_kv_usage", "Share of its KV cache that an upstream's engine says is in use.", func(e EngineState) float64 { return e.KV }},
	{"upstream_engine_prefix_hit_share", "Share of prompts' tokens that an upstream's engine says were in its prefix cache.", func(e EngineState) float64 {
		if e.Asked <= 0 || e.Hits < 0 {
			return -1
		}
		return e.Hits / e.Asked
	}},
	{"upstream_engine_counts", "1 if what the engine has said bears on the choice among upstreams, else 0.", func(e EngineState) float64 { return oneIf(e.Counts) }},
}

// write writes the figure of all engines.
func (f *engineFigure) write(b *bytes.Buffer, engines []EngineState) {
	writeHead(b, f.name, f.help, "gauge")
	for _, e := range engines {
		if v := f.of(e); v >= 0 {
			fmt.Fprintf(b, "%s{%s} %g\n", f.name, upstreamName{e.Pool, e.URL}.labels(), v)
		}
	}
}
