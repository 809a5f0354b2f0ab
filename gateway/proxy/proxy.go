// Package proxy carries a request to a healthy upstream and its response back, whole or as it arrives.
//
// Its door is [Proxy.Forward]. It sends nothing twice unless that is safe, ends a request whose client has
// left, and never passes a cut response on as a whole one. It does not know routes, limits or caches: the
// caller says which pool to ask and what to send.
package proxy

import (
	"context"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"aigateway/gateway/config"
	"aigateway/gateway/wire"
)

// Options are what New needs besides the pools.
type Options struct {
	MaxHeadBytes int       // of a response head
	OnPanic      func(any) // told of a panic in a goroutine of the proxy, which costs one request
	WatchEvery   time.Duration
	Dial         func(addr string) (net.Conn, error) // nil: by TCP, of names that are looked up again and again
	Via          string                              // what requests call the gateway in Via; "": wire.Name
	MakeRoom     func() bool                         // closes what is idle when descriptors run short, and tells whether it did; nil: no
	Draining     func() bool                         // whether the gateway is on its way out; nil: never

	BodyBuffer, BodyBufferTotal int64 // what is held of one request's body before an upstream is asked, and of all together

	// OnHealth is told when an upstream turns out to be well or sick. May be nil.
	OnHealth func(u *Upstream, healthy bool)

	// ParseModels reads the names of models, sorted, from what an upstream answers to GET /v1/models. Nil: none is asked.
	ParseModels func(answer []byte) (names []string, ok bool)

	// ReadLoad reads what an engine says of itself on its page of metrics; engine is the kind that the pool states, or "auto". Nil:
	// none is asked.
	ReadLoad func(engine string, page []byte) (Load, bool)

	// OnModels is told which models all upstreams list together, whenever that may have changed. May be nil.
	OnModels func(names []string)

	// OnRetry is told of every request that is sent again. May be nil.
	OnRetry func(Retry)

	// OnWaited is told of every request that had to wait for its place at an upstream, and for how long. May be nil.
	OnWaited func(p *Pool, c Class, took time.Duration)

	// OnWake is told of every call of a pool's wake URL, and how it ended. May be nil.
	OnWake func(p *Pool, f Fault, status int)

	// Observe is told of every attempt: its upstream, how it ended, the status of the response (0: none) and how
	// long it took. May be nil.
	Observe func(u *Upstream, f Fault, status int, took time.Duration)
}

// A Proxy forwards requests to its pools.
type Proxy struct {
	options Options
	watch   *wire.Watch
	holds   Holds
	running context.Context // until end
	stop    context.CancelFunc
	probes  sync.WaitGroup

	reloading sync.Mutex // one at a time
	listing   sync.Mutex // of who tells of models
	upstreams int        // how many there have been

	mu    sync.Mutex
	pools map[string]*Pool

	tunnels, tunnelsEver atomic.Int64
}

// New makes a proxy and starts to probe the upstreams of its pools. Close ends it.
func New(pools []config.Pool, o Options) (*Proxy, error) {
	if o.WatchEvery <= 0 {
		o.WatchEvery = 100 * time.Millisecond
	}
	if o.Via == "" {
		o.Via = wire.Name
	}
	if o.Draining == nil {
		o.Draining = func() bool { return false }
	}
	p := &Proxy{options: o, pools: make(map[string]*Pool)}
	p.holds.Set(o.BodyBuffer, o.BodyBufferTotal)
	p.running, p.stop = context.WithCancel(context.Background())
	fresh, err := p.makePools(p.pools, pools)
	if err != nil {
		p.stop()
		return nil, err
	}
	p.watch = wire.NewWatch(o.WatchEvery)
	p.start(p.pools, fresh)
	return p, nil
}

// Pools are all that there are, sorted by name.
func (p *Proxy) Pools() []*Pool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.SortedFunc(maps.Values(p.pools), func(a, b *Pool) int { return strings.Compare(a.Name, b.Name) })
}

// Pool returns the pool of that name, or nil.
func (p *Proxy) Pool(name string) *Pool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pools[name]
}

// Holds is the memory in which requests' bodies wait.
func (p *Proxy) Holds() *Holds { return &p.holds }

// Cut ends every request under way, as if its client had left.
func (p *Proxy) Cut() { p.watch.InterruptAll() }

// Revoke ends the requests under way whose clients have lost their permit, as if these had left: see [wire.ClientConn.Hold].
func (p *Proxy) Revoke() { p.watch.Revoke() }

// Close ends probes and the watch and closes the pooled connections. No Forward may be under way.
func (p *Proxy) Close() {
	p.stop() // and with it every attempt to connect
	p.probes.Wait()
	p.watch.Close()
	for _, u := range p.upstreamsNow() {
		u.conns.close()
	}
}

// Cancel ends the exchange's request to its upstream, as if its client had left. It may be called from any
// goroutine as long as the exchange is not reused.
func (p *Proxy) Cancel(x *Exchange) { p.watch.Interrupt(&x.watched) }

// Attach has the client watched again for whom a response was taken, until Detach or the end of [Proxy.Receive].
func (p *Proxy) Attach(x *Exchange) {
	if x.Client != nil {
		p.watch.Attach(&x.watched, x.Client, stayer(x.Taker))
	}
}

// Detach has the client no longer watched: whoever receives the response does so for others as well.
func (p *Proxy) Detach(x *Exchange) { p.watch.Detach(&x.watched) }

// Watch calls work.Interrupt when the client leaves, until Unwatch: for a client that waits for an exchange that is
// not its own.
func (p *Proxy) Watch(e *wire.Watched, client *wire.ClientConn, work wire.Interrupter) {
	p.watch.Add(e, client, work, nil)
}

// Unwatch ends what Watch began.
func (p *Proxy) Unwatch(e *wire.Watched) { p.watch.Remove(e) }
