package proxy

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"aigateway/gateway/config"
	"aigateway/gateway/wire"
)

// A pool's waiting room is its queue, for the time in which none of its upstreams is well: requests wait there for one, instead of
// being told that there is none.

// roomRules bound it. Size 0: there is none.
type roomRules struct {
	size int
	wait time.Duration
}

// roomShare is the part of the memory for all request bodies that those in one waiting room may have.
const roomShare = 2

// hasRoom tells whether the pool has a waiting room.
func (p *Pool) hasRoom() bool { return p.settings.WaitingRoom.Size > 0 }

// Patient tells whether the pool's requests wait while none of its upstreams is well: it is no reason to send them elsewhere.
func (p *Pool) Patient() bool { return p != nil && p.hasRoom() }

// A waitState is what is known of an exchange's waiting.
type waitState struct {
	arrived time.Duration // when it first had to, as wire.Now; 0: it never had
	outlast bool          // there is nobody else to ask: it waits while its pool has no upstream
	inVain  bool          // it did, or might not
	sent    bool          // an upstream may have seen it, which is for the law to deal with
}

// since is when x came to wait. Who comes back from an upstream that was not there has come when it went.
func (x *Exchange) since(now time.Duration) time.Duration {
	if x.wait.arrived == 0 {
		if x.wait.arrived = now; x.Upstream != nil {
			x.wait.arrived = x.began
		}
	}
	return x.wait.arrived
}

// stays tells whether x waits in the pool's waiting room if none of its upstreams is well, rather than to be told so.
func (x *Exchange) stays(pool *Pool) bool {
	return pool.hasRoom() && len(x.tried) == 0 && (x.wait.outlast || len(x.Targets) == 1)
}

// picky tells whether not every upstream of the pool will do for x.
func (x *Exchange) picky(pool *Pool) bool {
	return len(x.tried) > 0 || x.target().Model != nil && pool.Narrows()
}

// room is the first target that has a waiting room; -1: none has.
func (x *Exchange) room() int {
	return slices.IndexFunc(x.Targets, func(t Target) bool { return t.Pool.hasRoom() })
}

// mayOutlast tells whether a request that has ended so at all of its targets may wait for an upstream that is well: no upstream has seen
// it, and a target has a waiting room for it.
func (x *Exchange) mayOutlast() bool {
	if !x.fault.unseen() || x.wait.sent || x.wait.inVain || x.Attempts > 0 && x.Policy == Never {
		return false
	}
	at := x.room()
	if at < 0 {
		return false
	}
	now := wire.Now()
	return now < x.since(now)+x.Targets[at].Pool.settings.WaitingRoom.Wait
}

// outlast goes to the target with the waiting room, and stays.
func (x *Exchange) outlast() {
	x.wait.outlast, x.fault = true, NoUpstream
	x.move(x.room())
}

// unseen tells whether the upstream has not seen an attempt that ended so.
func (f Fault) unseen() bool { return f == NoUpstream || f.unreachable() }

// An alarm is a URL that is called while requests wait for an upstream to be well: it may start one.
type alarm struct {
	upstream *Upstream // in no pool
	target   string
	last     atomic.Int64 // when it was called, as wire.Now; 0: never
}

// wakeEvery is the time between two calls.
const wakeEvery = time.Minute

func (p *Proxy) newAlarm(pool *Pool, c config.Pool) *alarm {
	url := c.WaitingRoom.Wake
	if url == nil {
		return nil
	}
	host := *url
	host.Path, host.RawPath, host.RawQuery = "", "", ""
	a := &alarm{target: url.RequestURI()}
	a.upstream = p.newUpstream(config.Upstream{URL: &host, Weight: 1}, pool, config.Pool{Timeouts: c.Timeouts})
	return a
}

// wake calls the pool's alarm if requests wait while none of its upstreams is well, and it was not called in the last minute.
func (p *Proxy) wake(pool *Pool, now time.Duration) {
	a := pool.alarm
	if a == nil || pool.queue.length.Load() == 0 || !pool.Sick() {
		return
	}
	last := a.last.Load()
	if last > 0 && now-time.Duration(last) < wakeEvery || !a.last.CompareAndSwap(last, int64(max(1, now))) {
		return
	}
	p.probes.Add(1)
	go func() {
		defer p.probes.Done()
		defer func() {
			if r := recover(); r != nil {
				p.options.OnPanic(r)
			}
		}()
		f, status := p.call(p.running, a)
		if p.options.OnWake != nil {
			p.options.OnWake(pool, f, status)
		}
	}()
}

// call sends the alarm a POST without a body, and reads the head of the answer. Whatever it says, nothing follows from it; above
// all no redirect.
func (p *Proxy) call(running context.Context, a *alarm) (f Fault, status int) {
	ctx, cancel := context.WithTimeout(running, probeTimeout)
	defer cancel()
	conn, err := a.upstream.connect(ctx)
	if err != nil {
		return dialFault(err), 0
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, conn.Interrupt)() // the gateway ends, or the time is over
	t := &attempt{conn: conn}
	defer t.free()
	head := []byte("POST " + a.target + " HTTP/1.1\r\nHost: " + a.upstream.host + "\r\nUser-Agent: " + wire.Name +
		"-wake\r\nVia: 1.1 " + p.options.Via + "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	if _, err := conn.Send(head, probeTimeout); err != nil {
		return readFault(err, TimeoutResponse), 0
	}
	f = t.awaitFinal(p.options.MaxHeadBytes, probeTimeout)
	return f, t.response.Status
}
