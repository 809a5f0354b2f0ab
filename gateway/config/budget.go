package config

import (
	"fmt"
	"strconv"
	"strings"
)

// Tokens says what a token counts in budgets.
type Tokens struct {
	Input, Output float64 // 0..1000
	Cached        float64 // input that a cache of the engine has spared
}

// Usage is what is done about a stream that would not tell how many tokens it had, of a tenant with a budget.
type Usage string

// The ways. The zero Usage is to inject.
const (
	Inject  Usage = "inject"  // the upstream is asked to tell, and what it tells is taken out again
	Observe Usage = "observe" // the stream passes as it is; its tokens are estimated
)

func usage(text string) (Usage, error) {
	switch u := Usage(text); u {
	case Inject, Observe:
		return u, nil
	}
	return "", fmt.Errorf("%q is neither inject nor observe", text)
}

const maxTokenWeight = 1000

func readTokens(n node) Tokens {
	t := Tokens{1, 1, 1}
	n.fields(map[string]func(node){
		"input": to(&t.Input, tokenWeight), "output": to(&t.Output, tokenWeight), "cached": to(&t.Cached, tokenWeight),
	})
	return t
}

func tokenWeight(text string) (float64, error) {
	w, err := strconv.ParseFloat(text, 64)
	if err != nil || !(w >= 0 && w <= maxTokenWeight) {
		return 0, fmt.Errorf("%q is not a weight of 0 to %d", text, maxTokenWeight)
	}
	return w, nil
}

// line is the weights in the file's form; "" for those that count every token once.
func (t Tokens) line() string {
	if t == (Tokens{1, 1, 1}) {
		return ""
	}
	f := func(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }
	return "tokens: {input: " + f(t.Input) + ", output: " + f(t.Output) + ", cached: " + f(t.Cached) + "}"
}

// readModelLimits reads the limits of all requests for one model.
func readModelLimits(n node, l *KeyLimits) {
	before := len(n.draft.faults)
	n.fields(map[string]func(node){
		"rpm":         to(&l.RPM, burst),
		"tpm":         to(&l.TPM, burst),
		"tpm_burst":   to(&l.TPMBurst, burst),
		"tpd":         to(&l.TPD, integer[int64](1, maxTokens, "number of tokens")),
		"concurrency": to(&l.Concurrency, integer(1, maxInflight, "number of requests")),
	})
	if len(n.draft.faults) == before && l.TPMBurst > 0 && l.TPM == 0 {
		n.fault("tpm_burst is what tpm may save up, and there is no tpm")
	}
	if l.TPMBurst == 0 {
		l.TPMBurst = l.TPM
	}
}

// fields are the limits in the file's form.
func (l KeyLimits) fields() string {
	var fields []string
	add := func(name string, n int64) {
		if n > 0 {
			fields = append(fields, name+": "+strconv.FormatInt(n, 10))
		}
	}
	if l.RPS > 0 {
		fields = append(fields, "rps: "+strconv.FormatFloat(l.RPS, 'g', -1, 64))
	}
	add("burst", l.Burst)
	add("rpm", l.RPM)
	add("tpm", l.TPM)
	add("tpm_burst", l.TPMBurst)
	add("tpd", l.TPD)
	add("concurrency", int64(l.Concurrency))
	return strings.Join(fields, ", ")
}

// CountsTokens tells whether tokens may be limited, for somebody or for all.
func (s *Settings) CountsTokens() bool { return s.KeysFile != "" || s.Keys != nil || s.GlobalTPM > 0 }
