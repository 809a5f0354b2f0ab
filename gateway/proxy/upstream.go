package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"aigateway/gateway/config"
	"aigateway/gateway/wire"
)

// An Upstream is one server of a pool and the connections to it.
type Upstream struct {
	URL   string // as configured
	Pool  string // its pool's name
	Index int    // among all upstreams of the proxy, from 0

	owner       atomic.Pointer[Pool] // the pool it is in; a reload may put it into another
	spec        spec                 // what it was made from
	watched     context.Context      // as long as watchOver
	stopWatch   context.CancelFunc   // ends watchOver
	place       uint16               // in its pool's prefixes
	host        string               // the Host the upstream gets: "name:port", or "name" for the scheme's own port
	hashSeed    uint64               // tells it from others where keys are hashed
	via         [2]string            // the Via line of a request that came by HTTP/1.0, and by HTTP/1.1
	weight      int
	maxInflight int64 // requests it may have at once
	timeouts    config.Timeouts
	healthCheck config.Health
	dial        dialFunc
	resolver    resolver
	tls         *tls.Config // nil: plain
	conns       conns
	probeNow    chan struct{} // wakes watchOver

	inflight    atomic.Int64
	lately      atomic.Int64         // blocks of prompts that it was given, in a pool that goes by prefix
	told        atomic.Pointer[told] // what its engine has said and still counts; nil: nothing
	limit       atomic.Int64         // of inflight: maxInflight, or what its breaker lets through
	served      atomic.Int64         // requests that have ended
	healthy     atomic.Bool          // by the last probe, unless a request has found otherwise since
	probed      atomic.Bool
	reported    atomic.Uint32 // to onHealth, as reportOf
	models      discovery     // of what it lists
	engine      reading       // of its engine
	lastFailure atomic.Uint32 // a Fault: of the last probe, with the page's status above it; or of a request, with foundByRequest
	restsUntil  atomic.Int64  // after a refusal, as wire.Now; 0: it does not rest
	rests       atomic.Int32  // one after the other
	recoveredAt atomic.Int64  // when it recovered, as wire.Now; 0: long ago, or it was never sick
	probeTook   atomic.Int64  // the time of the last probe that was answered
	breaker     breaker

	secondPage atomic.Bool // the second of the health pages is the one that is there
}

func newUpstream(c config.Upstream, pool *Pool, of config.Pool) *Upstream {
	host := strings.TrimSuffix(c.URL.Host, ":80")
	if c.URL.Scheme == "https" {
		host = strings.TrimSuffix(c.URL.Host, ":443")
	}
	if domain, ok := serviceOf(c.URL.Hostname()); ok {
		host = domain // and the port is in the SRV record
	}
	u := &Upstream{
		URL: c.URL.String(), Pool: pool.Name, spec: specOf(c, of), host: withoutZone(host), weight: max(1, c.Weight), maxInflight: int64(of.MaxInflight),
		timeouts: of.Timeouts, healthCheck: of.Health, probeNow: make(chan struct{}, 1), tls: clientTLS(c.URL, of.TLS),
	}
	if of.Discover == "on" {
		u.models = newDiscovery()
	}
	u.resolver.init(c.URL.Host)
	u.hashSeed = hashOf(u.URL)
	u.owner.Store(pool)
	return u
}

// withoutZone takes the zone out of an IPv6 address in brackets: it means something on this machine only, and does not
// belong into a Host. RFC 6874 §1.
func withoutZone(host string) string {
	from, to := strings.IndexByte(host, '%'), strings.IndexByte(host, ']')
	if from < 0 || to < from {
		return host
	}
	return host[:from] + host[to:]
}

// Healthy tells whether the upstream gets requests: the last probe found it well, no attempt to connect has
// failed since, and its breaker is not open.
func (u *Upstream) Healthy() bool { return u.healthy.Load() && u.breaker.State() != Open }

// Probed tells whether the upstream's health is known at all.
func (u *Upstream) Probed() bool { return u.probed.Load() }

// Inflight is how many requests the upstream has and did not answer yet.
func (u *Upstream) Inflight() int64 { return u.inflight.Load() }

// Breaker is the state of the upstream's breaker.
func (u *Upstream) Breaker() State { return u.breaker.State() }

// What stands above the fault in Upstream.lastFailure.
const (
	foundByRequest = 1 << 8
	pageStatusAt   = 16 // bits
)

// Condition is the upstream's state and the reason for it, for an operator: "closed", "half_open", "open" as its
// breaker is, or "slow_start" of one that has just come back.
func (u *Upstream) Condition() (state, reason string) {
	s := u.breaker.State()
	switch {
	case u.breaker.isEjected():
		reason = u.breaker.reason().String() + ", while others of the pool answer"
	case s != Closed:
		reason = u.breaker.reason().String()
	case !u.Probed():
		reason = "not_probed_yet"
	case !u.healthy.Load():
		reason = u.failureText()
	case time.Duration(u.restsUntil.Load()) > wire.Now():
		return s.String(), "refuses requests"
	case u.ramping(wire.Now()):
		return "slow_start", ""
	}
	return s.String(), reason
}

// failureText says what spoke against the upstream the last time.
func (u *Upstream) failureText() string {
	v := u.lastFailure.Load()
	f := Fault(v).String()
	switch status := v >> pageStatusAt; {
	case v&foundByRequest != 0:
		return "request: " + f
	case Fault(v) == Unavailable:
		page, _ := u.pages()
		return "probe: " + page + " answered " + strconv.Itoa(int(status))
	}
	return "probe: " + f
}

// limitIn is how many requests the upstream may have at once in that state. One on trial may have a few, next to
// those it has not answered since it was cut off.
func (u *Upstream) limitIn(s State) int64 {
	switch s {
	case Open:
		return 0
	case HalfOpen:
		if now := u.limit.Load(); now > 0 && now < u.maxInflight {
			return now // as it was found
		}
		return min(u.maxInflight, u.inflight.Load()+trials)
	}
	return u.maxInflight
}

// ramping tells whether the upstream is in its slow start.
func (u *Upstream) ramping(now time.Duration) bool {
	recovered := u.recoveredAt.Load()
	return recovered > 0 && now-time.Duration(recovered) < slowStart && u.Healthy()
}

// weightUnit is a weight of 1 in a picker, so that a slow start has steps.
const weightUnit = 64

// weightNow is the upstream's weight as a candidate, in 1/weightUnit.
func (u *Upstream) weightNow(now time.Duration) int64 {
	w := float64(u.weight * weightUnit)
	if recovered := u.recoveredAt.Load(); recovered > 0 {
		w *= rampShare(now, time.Duration(recovered))
	}
	return max(1, int64(w))
}

// reportOf is the value of Upstream.reported for what onHealth was told; 0 is for nothing yet.
func reportOf(healthy bool) uint32 {
	if healthy {
		return 2
	}
	return 1
}

// probeSoon has watchOver probe the upstream without waiting for the interval.
func (u *Upstream) probeSoon() {
	select {
	case u.probeNow <- struct{}{}:
	default:
	}
}

// takeIdle takes an idle connection that is open and silent, or returns nil.
func (u *Upstream) takeIdle(now time.Duration) *wire.UpstreamConn {
	for {
		conn := u.conns.take(now)
		if conn == nil || !conn.Stale() {
			return conn
		}
		_ = conn.Close()
	}
}

// keepIdle gives a connection back for another request, or closes it if the name does not lead there any more.
func (u *Upstream) keepIdle(conn *wire.UpstreamConn) {
	if u.resolver.dropped(conn.To) {
		_ = conn.Close()
		return
	}
	u.conns.put(conn, wire.Now())
}

// connect makes a connection within the time for it, or until ctx ends.
func (u *Upstream) connect(ctx context.Context) (*wire.UpstreamConn, error) {
	ctx, cancel := context.WithTimeout(ctx, u.timeouts.Connect)
	defer cancel()
	raw, to, err := u.resolver.dialAny(ctx, u.dial)
	if err != nil {
		return nil, err
	}
	conn := wire.NewUpstream(raw)
	if u.tls != nil {
		conn = wire.NewUpstreamTLS(raw, u.tls)
		if err := conn.TLS().HandshakeContext(ctx); err != nil {
			_ = raw.Close()
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, tlsError{err}
		}
	}
	conn.To = to
	return conn, nil
}

// tlsError is a handshake that failed, by a certificate that is not accepted or a peer that speaks no TLS.
type tlsError struct{ error }

func dialFault(err error) Fault {
	var handshake tlsError
	switch {
	case errors.As(err, &handshake):
		return TLSFailed
	case errors.Is(err, context.Canceled):
		return ClientGone // or the gateway is
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.EADDRNOTAVAIL):
		return Exhausted
	case timedOut(err):
		return TimeoutConnect
	}
	return Unreachable
}

func timedOut(err error) bool {
	var timeout net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, &timeout) && timeout.Timeout()
}

// pages are the health page that is asked for, and the other one, "" if there is none.
func (u *Upstream) pages() (first, second string) {
	if u.secondPage.Load() {
		return u.healthCheck.Else, u.healthCheck.Path
	}
	return u.healthCheck.Path, u.healthCheck.Else
}

// A spec is all that an upstream is made from: upstreams of equal specs are one.
type spec struct {
	upstream config.Upstream
	pool     config.Pool // without what concerns the choice among its upstreams
}

func specOf(u config.Upstream, pool config.Pool) spec {
	pool.Upstreams, pool.Balance, pool.Hash, pool.Fallback, pool.Explicit = nil, "", config.Hash{}, "", false
	pool.Queue, pool.WaitingRoom = config.Queue{}, config.WaitingRoom{}
	pool.Hedge, pool.Credential, pool.Engine, pool.Refusals = 0, config.Credential{}, "", nil
	return spec{u, pool}
}
