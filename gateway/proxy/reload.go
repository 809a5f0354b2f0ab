package proxy

import (
	"reflect"

	"aigateway/gateway/config"
)

// Reload makes the pools anew. An upstream of which nothing has changed stays the one it is, with its connections,
// its health and what it has to do; a pool of which nothing has changed stays as a whole. The others are new, and
// what is not among pools any more is retired once retire is called: it is not probed again, its idle connections
// are closed, and the requests it has end on it. Until then requests may go on with the pools they have.
func (p *Proxy) Reload(pools []config.Pool) (retire func(), err error) {
	p.reloading.Lock()
	defer p.reloading.Unlock()
	before := p.upstreamsNow()
	made := make(map[string]*Pool, len(pools))
	fresh, err := p.makePools(made, pools)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.pools = made
	p.mu.Unlock()
	p.start(made, fresh)
	kept := make(map[*Upstream]bool)
	for _, u := range p.upstreamsNow() {
		kept[u] = true
	}
	return func() {
		for _, u := range before {
			if !kept[u] {
				u.retire()
			}
		}
	}, nil
}

// makePools fills made with pools and returns the upstreams that were not there before.
func (p *Proxy) makePools(made map[string]*Pool, pools []config.Pool) (fresh []*Upstream, err error) {
	for _, c := range pools {
		if old := p.Pool(c.Name); old != nil && reflect.DeepEqual(old.settings, c) {
			made[c.Name] = old
			continue
		}
		pool, added, err := p.makePool(c)
		if err != nil {
			return nil, err
		}
		made[c.Name] = pool
		fresh = append(fresh, added...)
	}
	return fresh, nil
}

// upstreamsNow lists the upstreams of all pools.
func (p *Proxy) upstreamsNow() (all []*Upstream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pool := range p.pools {
		all = append(all, pool.Upstreams...)
	}
	return all
}

// A spec is all that an upstream is made from: upstreams of equal recipes are the same.
type spec struct {
	upstream config.Upstream
	pool     config.Pool // without what concerns the choice among its upstreams
}

func specOf(u config.Upstream, pool config.Pool) spec {
	pool.Upstreams, pool.Balance, pool.Hash, pool.Fallback, pool.Explicit = nil, "", config.Hash{}, "", false
	pool.Hedge = 0
	return spec{u, pool}
}

// reusable finds the upstream of the reusable recipe in the pool of that name.
func (p *Proxy) reusable(r spec) *Upstream {
	old := p.Pool(r.pool.Name)
	if old == nil {
		return nil
	}
	for _, u := range old.Upstreams {
		if reflect.DeepEqual(u.spec, r) {
			return u
		}
	}
	return nil
}

// retire ends the probes of an upstream, and closes its connections as soon as they are idle.
func (u *Upstream) retire() {
	u.stopWatch()
	u.conns.close()
}
