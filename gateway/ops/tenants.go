package ops

import (
	"cmp"
	"slices"

	"aigateway/gateway/telemetry"
)

// A Tenant is who asks, where keys are needed: what it has used of models, what was refused to it, and what is left of its limits.
type Tenant struct {
	ID      string            `json:"tenant"` // as metrics name it: all that have no series of their own are one
	Total   telemetry.Used    `json:"total"`
	Minute  telemetry.Used    `json:"minute"`
	Refused map[string]uint64 `json:"refused,omitempty"` // requests, by the limit that refused them
	Left    []Left            `json:"left,omitempty"`
}

// Left is what is left of a limit.
type Left struct {
	Limit string `json:"limit"` // its name: rpm, tpm, …
	Of    int64  `json:"of"`    // what there is of it at most: requests, tokens
	Left  int64  `json:"left"`
}

// mostTenants is how many the dashboard shows.
const mostTenants = 50

// tenants are those that the dashboard shows: the busiest come first, then as the file of keys has them. more is how many there are beside them.
func (o *Ops) tenants() (list []Tenant, more int) {
	if o.options.Tenants == nil {
		return nil, 0
	}
	list = o.options.Tenants()
	slices.SortStableFunc(list, func(a, b Tenant) int {
		return cmp.Or(cmp.Compare(b.Minute.In+b.Minute.Out, a.Minute.In+a.Minute.Out), cmp.Compare(b.Total.Requests, a.Total.Requests))
	})
	if len(list) > mostTenants {
		list, more = list[:mostTenants], len(list)-mostTenants
	}
	return list, more
}
