package ratelimit

import "slices"

// With returns a Limiter of other options. A limit that is in both goes on with its buckets, whatever its class was; so does
// the global one. What is new begins with full buckets, and so does everything if the table is another one. The counts go on.
// Both limiters may be used at the same time. Not to be called by two goroutines at once.
func (l *Limiter) With(o Options) (*Limiter, error) {
	rates := append([]Rate{o.Client}, o.Routes...)
	if err := o.check(rates); err != nil {
		return nil, err
	}
	known := slices.Clone(l.rates)
	ids := make([]int, len(rates))
	for i, r := range rates {
		if ids[i] = slices.Index(known, r); ids[i] < 0 {
			ids[i] = len(known)
			known = append(known, r)
		}
	}
	// An id may stand in the table long after its class has gone. When all are used up, it is time for another table.
	if o.MaxClients != l.options.MaxClients || o.Cleanup != l.options.Cleanup || len(known) > maxClasses {
		n, err := New(o)
		if err == nil {
			n.takeCounts(l)
			n.clients.evicted.Store(l.clients.evicted.Load())
		}
		return n, err
	}
	n := &Limiter{
		options: o, rates: known, clients: l.clients, seed: l.seed, all: newLimit(o.Global), classes: make([]Class, len(rates)), hot: l.hot,
	}
	if o.Global != l.options.Global {
		n.hot = new(hot)
		n.takeCounts(l)
	}
	limits := make([]limit, len(known))
	for id, r := range known {
		limits[id] = newLimit(r)
	}
	n.clients.limits.Store(&limits)
	for i, r := range rates {
		n.classes[i] = Class{limiter: n, id: uint8(ids[i]), policy: policy(r, o.Global)}
	}
	return n, nil
}

// takeCounts goes on counting where another limiter has got to. What that one still counts is lost to metrics.
func (l *Limiter) takeCounts(from *Limiter) {
	for i := range l.dropped {
		l.dropped[i].Store(from.dropped[i].Load())
	}
}
