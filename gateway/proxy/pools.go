package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"syscall"
	"time"

	"aigateway/gateway/config"
	"aigateway/gateway/wire"
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
	for name, pool := range made {
		if old := p.Pool(name); old != nil && old != pool {
			old.queue.adopt(pool) // what waits in it waits for the same service
		}
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
		p.tellModels()
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

// reusable finds the upstream of that spec in the pool of the same name.
func (p *Proxy) reusable(s spec) *Upstream {
	old := p.Pool(s.pool.Name)
	if old == nil {
		return nil
	}
	for _, u := range old.Upstreams {
		if reflect.DeepEqual(u.spec, s) {
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

// makePool makes a pool, and the upstreams of it that are not there yet.
func (p *Proxy) makePool(c config.Pool) (pool *Pool, fresh []*Upstream, err error) {
	if len(c.Upstreams) == 0 {
		return nil, nil, fmt.Errorf("cannot use pool %q: it has no upstream", c.Name)
	}
	pool = newPool(c)
	pool.onHealth = p.options.OnHealth
	pool.queue.holds = &p.holds
	pool.alarm = p.newAlarm(pool, c)
	if old := p.Pool(c.Name); old != nil && old.load.prefixes != nil && pool.load.prefixes != nil {
		pool.load.prefixes = old.load.prefixes // the engines have read what they have read
	}
	for _, up := range c.Upstreams {
		u := p.reusable(specOf(up, c))
		if u == nil {
			u = p.newUpstream(up, pool, c)
			fresh = append(fresh, u)
		}
		pool.Upstreams = append(pool.Upstreams, u)
	}
	pool.number(fresh)
	return pool, fresh, nil
}

func (p *Proxy) newUpstream(up config.Upstream, pool *Pool, c config.Pool) *Upstream {
	u := newUpstream(up, pool, c)
	u.via = [2]string{"Via: 1.0 " + p.options.Via + "\r\n", "Via: 1.1 " + p.options.Via + "\r\n"}
	u.dial, u.resolver.lookup = p.dialTCP, lookup
	if dial := p.options.Dial; dial != nil {
		u.dial = func(_ context.Context, addr string) (net.Conn, error) { return dial(addr) }
		u.resolver.lookup = nil
	}
	u.Index = p.upstreams
	p.upstreams++
	return u
}

// start makes the pools the owners of their upstreams, and begins to watch over those that are fresh.
func (p *Proxy) start(pools map[string]*Pool, fresh []*Upstream) {
	for _, pool := range pools {
		for _, u := range pool.Upstreams {
			if u.owner.Store(pool); pool.Explicit && !u.Probed() {
				u.probeSoon() // it may be named only now
			}
		}
		pool.relist()
		pool.refresh(wire.Now())
		pool.queue.serveFor(pool)
	}
	for _, u := range fresh {
		running, stop := context.WithCancel(p.running)
		u.stopWatch, u.watched = stop, running
		p.probes.Add(1)
		go p.watchOver(running, u)
		p.discover(running, u)
	}
	for _, pool := range pools {
		for _, u := range pool.Upstreams {
			p.readEngine(u.watched, u)
		}
	}
}

var dialer = net.Dialer{KeepAlive: 30 * time.Second}

// dialTCP connects by TCP. For want of descriptors, idle connections of clients and then of upstreams make room.
func (p *Proxy) dialTCP(ctx context.Context, addr string) (net.Conn, error) {
	for tries := 3; ; tries-- {
		conn, err := dialer.DialContext(ctx, "tcp", addr)
		if err == nil || tries == 0 || !errors.Is(err, syscall.EMFILE) && !errors.Is(err, syscall.ENFILE) {
			return conn, err
		}
		if (p.options.MakeRoom == nil || !p.options.MakeRoom()) && !p.dropIdle() {
			return nil, err
		}
	}
}

// dropIdle closes the idle connections to all upstreams, and tells whether there were any.
func (p *Proxy) dropIdle() (found bool) {
	for _, u := range p.upstreamsNow() {
		u.conns.drop(func(idleConn) bool { found = true; return true })
	}
	return found
}
