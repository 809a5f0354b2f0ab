package telemetry

import (
	"maps"
	"strings"
	"sync"

	"github.com/VictoriaMetrics/metrics"
)

// refusals are how many requests the limits of keys, models and all have refused, by the limit's name.
type refusals struct {
	family *family
	by     sync.Map // name: *metrics.Counter
}

// count counts one. There are as many names as there are kinds of limits.
func (r *refusals) count(limit string) {
	c, ok := r.by.Load(limit)
	if !ok {
		c, _ = r.by.LoadOrStore(limit, r.family.counter(label("limit", limit)))
	}
	c.(*metrics.Counter).Inc()
}

// totals are the counts; nil, if nothing was refused.
func (r *refusals) totals() map[string]uint64 {
	var by map[string]uint64
	r.by.Range(func(limit, c any) bool {
		if by == nil {
			by = make(map[string]uint64)
		}
		by[limit.(string)] = c.(*metrics.Counter).Get()
		return true
	})
	return by
}

// Refuse counts a request of a tenant that a limit of that name has refused.
func (l *Ledger) Refuse(tenant, limit string) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refused == nil {
		l.refused = make(map[string]map[string]uint64)
	}
	by := l.refused[tenant]
	if by == nil {
		if len(l.refused) >= maxLedger {
			tenant = other
		}
		if by = l.refused[tenant]; by == nil {
			by = make(map[string]uint64)
			l.refused[strings.Clone(tenant)] = by
		}
	}
	by[limit]++
}

// Refused are a tenant's requests that limits have refused since the start, by the name of the limit.
func (l *Ledger) Refused(tenant string) map[string]uint64 {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.refused[tenant])
}
