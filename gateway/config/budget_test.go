package config

import (
	"strings"
	"testing"
)

func TestBudgets(t *testing.T) {
	const head = "pools: {llm: {upstreams: [{url: \"http://u:1\"}], usage: observe}}\n"
	s, _, err := load(head + "global_tpm: 1000\ntokens: {output: 2, cached: 0}\n" +
		"models: [{name: m, pool: llm, limits: {tpm: 600, tpd: 5000000, rpm: 60, concurrency: 4}}]\n")
	if err != nil {
		t.Fatal(err)
	}
	want := KeyLimits{TPM: 600, TPMBurst: 600, TPD: 5_000_000, RPM: 60, Concurrency: 4}
	if s.GlobalTPM != 1000 || s.Tokens != (Tokens{1, 2, 0}) || s.Models[0].Limits != want {
		t.Errorf("%d %+v %+v", s.GlobalTPM, s.Tokens, s.Models[0].Limits)
	}
	for _, p := range s.Pools {
		if p.Name == "llm" && p.Usage != Observe {
			t.Errorf("usage %q", p.Usage)
		}
	}
	sameAgain(t, s)

	f := func(text, want string) {
		t.Helper()
		if _, _, err := load(head + text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
	f("tokens: {input: -1}", "tokens.input")
	f("tokens: {input: NaN}", "is not a weight")
	f("tokens: {prompt: 1}", "there is no such key here")
	f("global_tpm: -1", "global_tpm")
	f("models: [{name: m, pool: llm, limits: {rps: 5}}]", "there is no such key here")
	f("models: [{name: m, pool: llm, limits: {tpm_burst: 5}}]", "there is no tpm")

}
