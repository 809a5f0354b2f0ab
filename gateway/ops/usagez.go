package ops

import (
	"time"

	"aigateway/gateway/telemetry"
)

// usagez is what tenants have used of models: of all replicas, if they share a Redis and it is there.
type usagez struct {
	Since    string            `json:"since,omitempty"` // of the total of this gateway alone: when it began
	Replicas string            `json:"replicas"`        // "all", or "this" one alone
	Usage    []telemetry.Usage `json:"usage"`
}

func (o *Ops) usagez(*Request) Page {
	since := o.options.Started.UTC().Format(time.RFC3339)
	if o.options.Usage == nil {
		return state(200, marshal(usagez{Since: since, Replicas: "this", Usage: []telemetry.Usage{}}))
	}
	rows, all := o.options.Usage(time.Now())
	page := usagez{Since: since, Replicas: "this", Usage: rows}
	if all {
		page.Since, page.Replicas = "", "all"
	}
	if page.Usage == nil {
		page.Usage = []telemetry.Usage{}
	}
	return state(200, marshal(page))
}
