package proxy

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"aigateway/gateway/config"
	"aigateway/gateway/wire"

	"github.com/valyala/fasthttp"
)

const (
	// maxIdle is how long a connection stays pooled. Common inference servers close theirs after 5 s
	// (uvicorn, Node), and a request that meets the close on its way cannot always be repeated.
	maxIdle = 4 * time.Second
	// maxConns bounds the connections to one upstream.
	maxConns = 16384
)

// dialFunc connects to "host:port".
type dialFunc = func(addr string) (net.Conn, error)

// An Upstream is one server of a pool and the connections to it.
type Upstream struct {
	URL   string // as configured
	Pool  string // its pool's name
	Index int    // among all upstreams of the proxy, from 0

	host     string // the Host the upstream gets: "name:port", or "name" for port 80
	weight   int
	timeouts config.Timeouts
	probing  config.Health
	dial     dialFunc
	hc       *fasthttp.HostClient
	conns    connPool
	inflight atomic.Int64
	healthy  atomic.Bool
	probed   atomic.Bool

	recipe   recipe
	endProbe context.CancelFunc
	retired  atomic.Bool // its connections are not kept
}

// dialTCP connects within the given time, and gives up when ctx ends: a shutdown waits for no black hole.
func dialTCP(ctx context.Context, within time.Duration) dialFunc {
	dialer := net.Dialer{Timeout: within, KeepAlive: 30 * time.Second}
	return func(addr string) (net.Conn, error) { return dialer.DialContext(ctx, "tcp", addr) }
}

func newUpstream(c config.Upstream, pool config.Pool, dial dialFunc) *Upstream {
	u := &Upstream{
		URL: c.URL.String(), Pool: pool.Name, host: strings.TrimSuffix(c.URL.Host, ":80"), weight: max(1, c.Weight),
		timeouts: pool.Timeouts, probing: pool.Health, dial: dial, recipe: recipeOf(c, pool),
		hc: &fasthttp.HostClient{
			Addr:                c.URL.Host, // settings always have a port
			Dial:                wire.Upstream(dial),
			MaxConns:            maxConns,
			MaxIdleConnDuration: maxIdle,
			ConnPoolStrategy:    fasthttp.LIFO, // O(1), and the surplus ages out
		},
	}
	u.conns = bindConns(u.hc.AcquireConn, u.hc.ReleaseConn, u.hc.CloseConn)
	return u
}

// Healthy tells whether the last probe found the upstream well, and nobody has failed to connect since.
func (u *Upstream) Healthy() bool { return u.healthy.Load() }

// Probed tells whether the upstream's health is known at all.
func (u *Upstream) Probed() bool { return u.probed.Load() }

// Inflight is how many requests the upstream has and did not answer yet.
func (u *Upstream) Inflight() int64 { return u.inflight.Load() }

// load compares what two upstreams have to do, by their weights: negative if u has less than v.
func (u *Upstream) load(v *Upstream) int64 {
	return u.inflight.Load()*int64(v.weight) - v.inflight.Load()*int64(u.weight)
}

// acquire returns a connection that is fit for a request: new, or checked to be open and silent.
func (u *Upstream) acquire() (lease, Fault) {
	for {
		pooled, err := u.conns.acquire()
		if err != nil {
			u.healthy.Store(u.healthy.Load() && errors.Is(err, fasthttp.ErrNoFreeConns))
			return lease{}, dialFault(err)
		}
		conn := pooled.Conn().(*wire.UpstreamConn)
		if !conn.Stale() {
			return lease{UpstreamConn: conn, pooled: pooled}, None
		}
		u.conns.close(pooled)
	}
}

func dialFault(err error) Fault {
	var timeout net.Error
	switch {
	case errors.Is(err, fasthttp.ErrNoFreeConns):
		return Busy
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return TimeoutConnect
	}
	return Unreachable
}

func (u *Upstream) close() { u.hc.CloseIdleConnections() }

// pooledConn is what fasthttp.HostClient pools. Its type has no exported name.
type pooledConn interface{ Conn() net.Conn }

// A lease is a connection while a request has it.
type lease struct {
	*wire.UpstreamConn
	pooled pooledConn
}

// connPool is a HostClient's pool of connections without its client.
type connPool struct {
	acquire        func() (pooledConn, error)
	release, close func(pooledConn)
}

// bindConns gives the type that fasthttp does not export a place where it has a name.
func bindConns[C pooledConn](acquire func(time.Duration, bool) (C, error), release, closeConn func(C)) connPool {
	return connPool{
		acquire: func() (pooledConn, error) {
			c, err := acquire(0, false)
			if err != nil {
				return nil, err // not a nil C in a non-nil interface
			}
			return c, nil
		},
		release: func(c pooledConn) { release(c.(C)) },
		close:   func(c pooledConn) { closeConn(c.(C)) },
	}
}
