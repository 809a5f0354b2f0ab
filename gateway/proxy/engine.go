package proxy

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"aigateway/gateway/wire"
)

// How engines are asked for what they have to do.
const (
	readEvery     = time.Second
	readWithin    = 500 * time.Millisecond
	slowReading   = readWithin / 2 // an engine that takes longer is asked half as often
	unreadEvery   = 10 * time.Second
	maxEnginePage = 256 << 10

	fades   = 3 // readings, after which a figure that no other one has replaced says nothing any more
	freezes = 5 // readings without a change, of an engine that says it is at work: those figures are of another time
	leap    = 8 // requests of others by which an engine's load changes between two readings, beside what we gave it or had back: those
	leaps   = 2 // so many more often than not say nothing about the next moment

	vetoWaiting = 8
	vetoKV      = 0.95
)

// enginePages are where engines have their metrics; the second one is TensorRT-LLM's.
var enginePages = [...]string{"/metrics", "/prometheus/metrics"}

// A Load is what an engine says of itself.
type Load struct {
	Engine           string  // its kind
	Running, Waiting int64   // requests
	KV               float64 // share of its KV cache in use, 0 to 1; negative: it does not say
	Hits, Asked      float64 // tokens of prompts since it began: found in its prefix cache, and all; negative: it does not say
}

// A told is what an engine has said, as it bears on the choice among upstreams. It never changes: time makes another one.
type told struct {
	Load
	inflight int64 // that we had there at the time
	others   int64 // that it had and we had not given it
	most     int64 // that it may count for, whatever it says
	left     int64 // of fades
}

// more is what an engine has to do beside the requests that we have there, by what it has said: our own count is the truth, and
// this a correction. What has come back to us since need not wait any more.
func (t *told) more(inflight int64) int64 {
	if t == nil {
		return 0
	}
	waiting := t.Waiting - max(0, t.inflight-inflight)
	return min(t.most, max(0, waiting, t.others)) * t.left / fades
}

// vetoes tells whether the engine must not get a request for what it has read alone.
func (t *told) vetoes(inflight int64) bool {
	return t != nil && (t.Waiting-max(0, t.inflight-inflight) >= vetoWaiting || t.KV >= vetoKV && t.Running+t.Waiting > 0)
}

// A reading is what is known of an upstream's engine.
type reading struct {
	last  atomic.Pointer[Load] // nil: it has never said anything
	begun atomic.Bool          // a goroutine reads
}

// Engine is what the upstream's engine has said last; counts tells whether it still bears on the choice among upstreams. Nil: it
// has said nothing.
func (u *Upstream) Engine() (l *Load, counts bool) {
	return u.engine.last.Load(), u.told.Load() != nil
}

// busy is how many requests the upstream has to do with, those included that others have given it.
func (u *Upstream) busy() int64 {
	n := u.inflight.Load()
	return n + u.told.Load().more(n)
}

// reads tells whether upstreams of the pool are asked.
func (p *Pool) reads() bool { return p.engine != "" && p.engine != "none" }

// readEngine begins to ask the upstream's engine what it has to do, again and again until ctx ends or its pool does not want that
// any more.
func (p *Proxy) readEngine(ctx context.Context, u *Upstream) {
	if p.options.ReadLoad == nil || !u.owner.Load().reads() || !u.engine.begun.CompareAndSwap(false, true) {
		return
	}
	p.probes.Add(1)
	go func() {
		defer p.probes.Done()
		r := engineReader{proxy: p, upstream: u}
		defer r.hangUp()
		timer := time.NewTimer(rand.N(readEvery / 10))
		defer timer.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
			pool := u.owner.Load()
			if !pool.reads() {
				u.forgetEngine()
				u.engine.begun.Store(false)
				if !u.owner.Load().reads() || !u.engine.begun.CompareAndSwap(false, true) {
					return
				}
			}
			wait := r.next(ctx, pool)
			timer.Reset(wait - wait/10 + rand.N(wait/5)) // replicas need not ask in step
		}
	}()
}

// An engineReader asks one engine, one question at a time, on a connection that nobody else uses.
type engineReader struct {
	proxy    *Proxy
	upstream *Upstream
	conn     *wire.UpstreamConn
	buffer   []byte
	page     int   // of enginePages
	unread   int   // answers in a row that were no page of metrics
	had      int64 // requests of ours, at the last reading
	frozen   int   // readings that said the same
	leapt    int   // readings that differed too much, less those that did not
}

// next asks once, and returns when to ask again.
func (r *engineReader) next(ctx context.Context, pool *Pool) (wait time.Duration) {
	if !r.upstream.Healthy() {
		r.fade()
		return readEvery
	}
	began, had := wire.Now(), r.upstream.inflight.Load()
	page, answered := r.ask(ctx)
	took := wire.Now() - began
	load, ok := Load{}, false
	if page != nil {
		load, ok = r.proxy.options.ReadLoad(pool.engine, page)
	}
	switch {
	case ok:
		r.unread = 0
		r.tell(load, max(had, r.upstream.inflight.Load()))
	default:
		r.fade()
		if answered {
			r.unread++
			if pool.engine == "auto" || pool.engine == "trtllm" {
				r.page = 1 - r.page
			}
		}
	}
	switch {
	case r.unread > len(enginePages):
		return unreadEvery // it has no such page
	case took > slowReading:
		return 2 * readEvery
	}
	return readEvery
}

// tell makes what the engine has said count, had being how many of its requests are ours. It is not taken for true against what is seen: figures that stand
// still, or leap about, are of no use.
func (r *engineReader) tell(l Load, had int64) {
	u := r.upstream
	if before := u.engine.last.Load(); before != nil {
		r.compare(l, *before, had)
	}
	r.had = had
	u.engine.last.Store(&l)
	if r.frozen >= freezes || r.leapt >= leaps {
		r.fade()
		return
	}
	pool := u.owner.Load()
	ours := int64(0)
	for _, v := range pool.Upstreams {
		ours += v.inflight.Load()
	}
	u.told.Store(&told{Load: l, inflight: had, others: max(0, l.Running+l.Waiting-had), left: fades, most: spareLoad + 2*ours/int64(len(pool.Upstreams))})
	pool.addUp()
}

// compare looks for what no engine at work says from one reading to the next.
func (r *engineReader) compare(l, before Load, had int64) {
	if same := l.Running == before.Running && l.Waiting == before.Waiting && l.KV == before.KV; same && l.Running+l.Waiting > 0 && (l.KV > 0 || had != r.had) {
		r.frozen++
	} else if !same {
		r.frozen = 0
	}
	others := l.Running + l.Waiting - had - (before.Running + before.Waiting - r.had)
	if max(others, -others) > leap {
		r.leapt = min(2*leaps, r.leapt+1)
	} else {
		r.leapt = max(0, r.leapt-1)
	}
}

// fade makes what the engine said before count less, and in the end nothing.
func (r *engineReader) fade() {
	u := r.upstream
	t := u.told.Load()
	if t == nil {
		return
	}
	var less *told
	if t.left > 1 {
		faded := *t
		faded.left--
		less = &faded
	}
	u.told.Store(less)
	u.owner.Load().addUp()
}

// forgetEngine forgets what the engine has said.
func (u *Upstream) forgetEngine() {
	u.told.Store(nil)
	u.engine.last.Store(nil)
	u.owner.Load().addUp()
}

// addUp notes what all engines of the pool have to do beside our requests.
func (p *Pool) addUp() {
	sum := int64(0)
	for _, u := range p.Upstreams {
		sum += u.told.Load().more(u.inflight.Load())
	}
	p.load.told.Store(sum)
}

// ask fetches the page; nil if there is none, answered if the upstream said so itself. A panic costs this reading.
func (r *engineReader) ask(running context.Context) (page []byte, answered bool) {
	defer func() {
		if v := recover(); v != nil {
			r.hangUp()
			r.proxy.options.OnPanic(v)
		}
	}()
	ctx, cancel := context.WithTimeout(running, readWithin)
	defer cancel()
	if r.conn != nil && r.conn.Stale() {
		r.hangUp()
	}
	if r.conn == nil {
		conn, err := r.upstream.connect(ctx)
		if err != nil {
			return nil, false
		}
		r.conn = conn
	}
	stop := context.AfterFunc(ctx, r.conn.Interrupt) // the gateway ends, or the time is over
	page, answered, again := r.exchange()
	if !stop() || !again {
		r.hangUp()
	}
	return page, answered
}

// exchange asks on the connection; again tells that it may be used once more.
func (r *engineReader) exchange() (page []byte, answered, again bool) {
	u, p := r.upstream, r.proxy
	head := []byte("GET " + enginePages[r.page] + " HTTP/1.1\r\nHost: " + u.host + "\r\nAccept: text/plain\r\nUser-Agent: " + wire.Name +
		"-probe\r\nVia: 1.1 " + p.options.Via + "\r\n")
	head = append(u.owner.Load().credential.replace(head, len(head)), "\r\n"...)
	if _, err := r.conn.Send(head, readWithin); err != nil {
		return nil, false, false
	}
	a := &attempt{conn: r.conn}
	defer a.free()
	if a.awaitFinal(p.options.MaxHeadBytes, readWithin) != None {
		return nil, false, false
	}
	body, whole := a.readAll(r.buffer[:0], maxEnginePage)
	if cap(body) > cap(r.buffer) {
		r.buffer = body
	}
	if !whole || a.response.Status != 200 {
		return nil, true, whole && !a.response.Close
	}
	return body, true, !a.response.Close && a.response.BodyLength([]byte("GET")) != wire.UntilClose
}

func (r *engineReader) hangUp() {
	if r.conn != nil {
		_ = r.conn.Close()
		r.conn = nil
	}
}
