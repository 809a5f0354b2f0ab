package proxy

import (
	"context"
	"math/rand/v2"
	"net"
	"time"

	"aigateway/gateway/wire"

	"github.com/valyala/fasthttp"
)

// probeTimeout bounds one probe. A busy inference server may be slow to say that it is well.
const probeTimeout = 3 * time.Second

// sickInterval is the longest time between two probes of an upstream that is not well: it must be back soon.
const sickInterval = time.Second

// watchOver looks after an upstream until ctx ends: it probes it at once and then every interval, more
// often when it is not well, lets it come back by and by, and asks for its addresses again.
func (p *Proxy) watchOver(ctx context.Context, u *Upstream) {
	defer p.probes.Done()
	var last time.Duration
	next, lookup := wire.Now(), wire.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if now := wire.Now(); now >= next {
			last = now
			p.probeOnce(ctx, u)
			next = u.nextProbe(wire.Now(), last)
		}
		if !u.names.fixed() && wire.Now() >= lookup {
			lookup = u.lookAgain(ctx)
		}
		now := wire.Now()
		u.conns.expire(now)
		wake := min(next, now+maxIdle/2)
		if u.back.Load() > 0 {
			u.home.Load().refresh(now) // the next step of its slow start
			if u.ramping(now) {
				wake = min(wake, now+rampStep)
			} else {
				u.back.Store(0)
				u.home.Load().refresh(now)
			}
		}
		timer.Reset(max(0, wake-now))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-u.nudged:
			again := u.nextProbe(wire.Now(), last)
			if _, shut := u.breaker.shut(); !shut {
				again = min(next, again)
			}
			next = again
		}
	}
}

// nextProbe is when to probe again after a probe that began at last.
func (u *Upstream) nextProbe(now, last time.Duration) time.Duration {
	if until, shut := u.breaker.shut(); shut {
		return max(now, until)
	}
	wait := u.probing.Interval
	if !u.Healthy() || u.breaker.State() != Closed || u.breaker.strikes.Load() > 0 {
		wait = min(wait, sickInterval)
	}
	// A little jitter, so that replicas do not probe in step.
	return max(now, last+wait+rand.N(wait/10+1))
}

// probeOnce makes one probe and notes what it found. A panic costs this probe, not the ones to come.
func (p *Proxy) probeOnce(ctx context.Context, u *Upstream) {
	defer func() {
		if r := recover(); r != nil {
			p.options.OnPanic(r)
		}
	}()
	f := p.ask(ctx, u)
	if f == Exhausted || ctx.Err() != nil {
		return // which says nothing about the upstream
	}
	now := wire.Now()
	u.finding.Store(uint32(f))
	was, known := u.Healthy(), u.probed.Swap(true)
	u.healthy.Store(f == None)
	switch f {
	case None:
		if u.breaker.answered(now); u.breaker.State() == HalfOpen && was && u.breaker.praise(now) {
			was = false // as good as a trial, when nobody asks
		}
	case Unavailable, Looped:
		u.breaker.answered(now) // and it is for the requests to find out
	default:
		u.breaker.missed(now, f)
	}
	if f == None && !was && known && u.breaker.State() == Closed {
		u.back.Store(int64(now))
	}
	u.home.Load().refresh(now)
}

// ask makes one probe, on a connection of its own. Any answer below 500 is a sign of life: many
// OpenAI-compatible servers have no health page. Another one is Unavailable.
func (p *Proxy) ask(running context.Context, u *Upstream) Fault {
	ctx, cancel := context.WithTimeout(running, probeTimeout)
	defer cancel()
	conn, err := u.connect(ctx)
	if err != nil {
		return dialFault(err)
	}
	defer conn.Close()
	defer context.AfterFunc(running, func() { _ = conn.Close() })() // nobody waits for it
	hc := fasthttp.HostClient{
		Addr:                      u.names.hostport,
		Dial:                      func(string) (net.Conn, error) { return conn.Conn, nil },
		ReadTimeout:               probeTimeout,
		WriteTimeout:              probeTimeout,
		MaxIdemponentCallAttempts: 1,
		MaxResponseBodySize:       64 << 10,
		ReadBufferSize:            p.options.MaxHeadBytes,
		NoDefaultUserAgentHeader:  true,
		DisablePathNormalizing:    true,
	}
	request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(request)
	defer fasthttp.ReleaseResponse(response)
	request.SetRequestURI("http://" + u.host + u.probing.Path) // TLS, if any, is below
	request.Header.Set("User-Agent", wire.Name+"-probe")
	request.Header.Set("Via", "1.1 "+p.options.Via)
	request.SetConnectionClose()
	if err := hc.Do(request, response); err != nil {
		if timedOut(err) {
			return TimeoutResponse
		}
		return BrokenAnswer
	}
	switch status := response.StatusCode(); {
	case status == fasthttp.StatusLoopDetected:
		return Looped
	case status >= 500:
		return Unavailable
	}
	return None
}
