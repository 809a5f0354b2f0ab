package telemetry

import (
	"bytes"
	"fmt"
)

// BudgetState is one limit of a key, of a model or of all.
type BudgetState struct {
	Limit string  // its name, as in refusals: "key-tpm"
	Owner string  // whose it is: "key", "model" or "global"
	ID    string  // of the key or the model
	Used  float64 // the share of it that is taken, reservations included, 0 to 1
}

// writeBudgets writes how much of each limit is taken. Where there are none, it writes nothing.
func (m *Metrics) writeBudgets(b *bytes.Buffer) {
	if m.options.Budgets == nil {
		return
	}
	const name = "gateway_budget_used_ratio"
	for i, s := range m.options.Budgets() {
		if i == 0 {
			writeHead(b, name, "Share of a limit of a key, a model or all that is taken, from 0 to 1; what is reserved counts as taken.", "gauge")
		}
		labels := label("limit", s.Limit)
		if s.ID != "" {
			labels += "," + label(s.Owner, s.ID)
		}
		fmt.Fprintf(b, "%s{%s} %g\n", name, labels, s.Used)
	}
}
