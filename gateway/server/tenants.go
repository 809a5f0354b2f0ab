package server

import (
	"aigateway/gateway/keys"
	"aigateway/gateway/ops"
	"aigateway/gateway/wire"
)

// tenants are those that have series of their own, in the order of the file of keys, and all others as one, if they have asked; nil, where
// nobody needs a key.
func (g *Gateway) tenants() (list []ops.Tenant) {
	p := g.plan.Load()
	if p == nil || p.keys == nil {
		return nil
	}
	at := make(map[string]int)
	for _, k := range p.keys.Keys() {
		if k.Label == keys.Others {
			break // and so are all behind it
		}
		at[k.Label] = len(list)
		list = append(list, ops.Tenant{ID: k.Label, Refused: g.ledger.Refused(k.Label), Left: p.left(k)})
	}
	for _, u := range g.ledger.Usage(wire.Now()) {
		i, known := at[u.Tenant]
		if !known { // or it has no key any more
			if i, known = at[keys.Others]; !known {
				i, at[keys.Others] = len(list), len(list)
				list = append(list, ops.Tenant{ID: keys.Others, Refused: g.ledger.Refused(keys.Others)})
			}
		}
		list[i].Total.Add(&u.Total)
		list[i].Minute.Add(&u.Minute)
	}
	return list
}

// left is what is left of a key's limits.
func (p *plan) left(k *keys.Key) (list []ops.Left) {
	for _, s := range p.charging.Standings(k) {
		list = append(list, ops.Left{Limit: s.Kind.String(), Of: s.Limit, Left: s.Remaining})
	}
	return list
}
