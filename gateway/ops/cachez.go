package ops

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"aigateway/gateway/config"
	"aigateway/gateway/wire"
)

// purgeTime bounds a purge: it looks at every record in Redis.
const purgeTime = 10 * time.Second

// cachez is /cachez: the figures of the cache, and its purge.
func (o *Ops) cachez(r *Request) Page {
	if string(r.Method) != "DELETE" {
		return state(200, o.cacheFigures())
	}
	if !(r.Operator && !fromAPage(r)) && !o.ShowsToken(r.Field) {
		p := faulty(401, Fault{"unauthorized", "a purge needs ADMIN_TOKEN as Authorization: Bearer or as a Basic password, or the admin listener and no browser"})
		p.Fields = []Field{{"WWW-Authenticate", `Bearer realm="` + wire.Name + `"`}}
		return p
	}
	_, query, _ := bytes.Cut(r.Target, []byte("?"))
	match, ok := purgeMatch(query)
	if !ok {
		return faulty(400, Fault{"bad_purge", "name paths, prefixes, keys, models or key_ids, or none to purge everything"})
	}
	ctx, cancel := context.WithTimeout(context.Background(), purgeTime)
	defer cancel()
	n, err := o.options.Store.PurgeSelected(ctx, string(query), match)
	if err != nil {
		o.options.Log.Warn("a purge did not reach everything", "error", err.Error(), "purged", n)
		return faulty(503, Fault{"purge_incomplete", "Redis did not do it: what it holds, and other gateways, may be left; see redis_state in /cachez and ask again"})
	}
	return state(200, marshal(map[string]any{"ok": true, "purged": n}))
}

// PurgeOfAnother is the same for a purge that another gateway has done, maybe of another version; nil is everything.
func PurgeOfAnother(query string) (match func(key []byte) bool) {
	match, _ = purgeMatch([]byte(query))
	return match
}

// fromAPage tells whether a page in a browser may have sent the request: of any origin, since a name that leads here may be
// the page's own (DNS rebinding). Browsers say so with each DELETE (Fetch, "append a request Origin header").
func fromAPage(r *Request) bool {
	for _, name := range [...]string{"origin", "sec-fetch-site", "referer"} {
		if _, ok := r.Field(name); ok {
			return true
		}
	}
	return false
}

// cacheFigures is the body of GET /cachez.
func (o *Ops) cacheFigures() []byte {
	type tier struct {
		Hits    uint64 `json:"hits"`
		Entries uint64 `json:"entries"`
		Bytes   uint64 `json:"bytes"`
	}
	c := o.options.Cache
	hits, misses := o.options.Metrics.Cache().Totals()
	state := CacheState(o.options.Store)
	tiers := map[string]tier{}
	var all uint64
	for i, name := range Tiers(o.options.Store) {
		all += hits[i]
		tiers[name] = tier{Hits: hits[i], Entries: state.Entries[i], Bytes: state.Bytes[i]}
	}
	reasons := map[string]uint64{}
	for i, n := range o.options.Metrics.Cache().MissesByReason() {
		if n > 0 {
			reasons[MissReasons()[i]] = n
		}
	}
	invalidations := map[string]uint64{}
	for i, n := range state.Invalidations {
		invalidations[CacheSources()[i]] = n
	}
	ratio := 0.0
	if all+misses > 0 {
		ratio = float64(all) / float64(all+misses)
	}
	return marshal(struct {
		Enabled       bool              `json:"enabled"`
		Hits          uint64            `json:"hits"`
		Misses        uint64            `json:"misses"`
		HitRatio      float64           `json:"hit_ratio"`
		Coalesced     uint64            `json:"coalesced"`
		SavedTokens   uint64            `json:"saved_tokens"`
		Backend       config.Backend    `json:"backend"`
		TTL           string            `json:"ttl"`
		MaxEntries    int               `json:"max_entries"`
		MemoryBytes   int64             `json:"memory_bytes"`
		Tiers         map[string]tier   `json:"tiers"`
		MissesBy      map[string]uint64 `json:"misses_by_reason"`
		Invalidations map[string]uint64 `json:"invalidations"`
		Evictions     uint64            `json:"evictions"`
		Trusted       bool              `json:"memory_trusted"`
		RedisErrors   uint64            `json:"redis_errors"`
		RedisState    string            `json:"redis_state,omitempty"` // without Redis there is none
		MemoryOnly    uint64            `json:"memory_only"`
	}{
		c.Enabled, all, misses, ratio, o.options.Metrics.Cache().CoalescedTotal(), o.options.Metrics.Cache().SavedTotal(), c.Backend, fmt.Sprintf("%ds", int(c.TTL.Seconds())), c.MaxEntries, c.MemoryBytes,
		tiers, reasons, invalidations, state.Evictions, state.Trusted, state.RedisErrors, state.RedisState, state.MemoryOnly,
	})
}
