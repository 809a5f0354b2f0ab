package config

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

const modelPools = "pools:\n  a: {upstreams: [{url: http://a:1}]}\n  b: {upstreams: [{url: http://b:1}]}\n"

func TestModels(t *testing.T) {
	s := mustLoad(t, modelPools+`
models:
  - name: llama-8b
    pool: a
    upstream_model: meta-llama/Llama-3.1-8B
    aliases: [gpt-4o-mini, gpt-4o]
    fallback: [q]
    context_max: 8192
    timeouts: {first_token: 20s, inter_token: 5s}
  - {name: qwen-7b, pool: b, aliases: [q], visible: false}
`)
	want := []Model{
		{Name: "llama-8b", Pool: "a", Upstream: "meta-llama/Llama-3.1-8B", Aliases: []string{"gpt-4o-mini", "gpt-4o"}, Fallback: []string{"q"},
			ContextMax: 8192, Timeouts: ModelTimeouts{FirstToken: 20 * time.Second, InterToken: 5 * time.Second}},
		{Name: "qwen-7b", Pool: "b", Aliases: []string{"q"}, Hidden: true},
	}
	if !reflect.DeepEqual(s.Models, want) {
		t.Errorf("got %+v", s.Models)
	}
	for _, p := range s.Pools[:2] {
		if p.Health.Path != "/health" || p.Health.Else != "/healthz" || p.Timeouts.Response != generationTimeout {
			t.Errorf("%s is not taken for a pool of engines: %+v %+v", p.Name, p.Health, p.Timeouts)
		}
	}
	var out strings.Builder
	s.Print(&out)
	if again := mustLoad(t, out.String()); !reflect.DeepEqual(again.Models, want) {
		t.Errorf("printed and loaded: %+v\n%s", again.Models, out.String())
	}
}

func TestModelFaults(t *testing.T) {
	f := func(models string, want ...string) {
		t.Helper()
		_, _, err := load(modelPools + "models:\n" + models)
		if err == nil {
			t.Fatalf("no fault: %s", models)
		}
		got := strings.Split(err.Error(), "\n")
		if len(got) != len(want) {
			t.Fatalf("got %d faults, want %d:\n%s", len(got), len(want), err)
		}
		for i, w := range want {
			if !strings.HasPrefix(got[i], "gw.yaml:") || !strings.Contains(got[i], w) {
				t.Errorf("got %q, want %q", got[i], w)
			}
		}
	}
	f("  - {name: a, pool: a, aliases: [x, b, a]}\n  - {name: b, pool: b, aliases: [x]}",
		`models[0].aliases: "b" is the name of another model, at gw.yaml:6`,
		`models[0].aliases: "a" is the model's own name`,
		`models[1].aliases: "x" is an alias of the model "a" already`)
	f("  - {name: a, pool: a}\n  - {name: a, pool: b}", `models[1].name: there is a model "a" already, at gw.yaml:5`)
	f("  - {name: a, pool: c}", `models[0].pool: there is no pool "c"`)
	f("  - {name: a}", `models[0]: needs a pool`)
	f("  - {pool: a}", `models[0]: needs a name`)
	f("  - {name: a, pool: a, aliases: [x, x], fallback: [nobody, b, b]}\n  - {name: b, pool: b}",
		`models[0].aliases[1]: x is named twice`, `models[0].fallback[2]: b is named twice`, `there is no model "nobody" to fall back to`)
	f("  - {name: a, pool: a, fallback: [b]}\n  - {name: b, pool: b, fallback: [c, d]}\n  - {name: c, pool: a, fallback: [a]}\n  - {name: d, pool: a, fallback: [d]}",
		`models[0].fallback: leads in a circle: a → b → c → a`, `models[3].fallback: leads in a circle: d → d`)
	f("  - {name: a, pool: a, fallback: [b1, b2, b3, b4, b5, b6, b7, b8, b9, b10, b11, b12, b13, b14, b15, b16]}\n"+
		"  - {name: b1, pool: b, aliases: [b2, b3, b4, b5, b6, b7, b8, b9, b10, b11, b12, b13, b14, b15, b16]}",
		`models[0].fallback: names 16 models, and 15 are the most that can be asked`)
	f(`  - {name: "e\n", pool: a, upstream_model: é, context_max: 0}`,
		"characters that cannot be printed", "characters that cannot be printed", "context_max")
	f("  - {name: "+strings.Repeat("f", 257)+", pool: a}", "at most 256 bytes")
	f(`  - {name: " a", pool: a, visible: perhaps, tpm: 1}`, "begins or ends with a space", "visible", "there is no such key here")
}
