package proxy

import (
	"context"
	"time"

	"aigateway/gateway/wire"

	"github.com/valyala/fasthttp"
)

// probe makes one probe. Any response below 500 is a sign of life: many OpenAI-compatible servers have no health page. Another one
// is Unavailable. Where the page is not there, a pool may have another one, which is asked first from then on.
func (p *Proxy) probe(running context.Context, u *Upstream) (f Fault, status int) {
	ctx, cancel := context.WithTimeout(running, probeTimeout)
	defer cancel()
	first, second := u.pages()
	f, status = p.probePage(ctx, u, first)
	if status != 404 || second == "" {
		return f, status
	}
	g, other := p.probePage(ctx, u, second)
	if other == 404 || other == 0 {
		return f, status // the first one was a sign of life
	}
	u.secondPage.Store(!u.secondPage.Load())
	return g, other
}

// probePage asks for a page, on a connection of its own, as a request does and by the same parser: what is good enough for
// requests is for probes. The head is the verdict: how long a body is, and whether it ends, says nothing about health.
func (p *Proxy) probePage(ctx context.Context, u *Upstream, path string) (f Fault, status int) {
	conn, err := u.connect(ctx)
	if err != nil {
		return dialFault(err), 0
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, conn.Interrupt)() // the gateway ends, or the time is over
	a := &attempt{conn: conn}
	defer a.free()
	head := []byte("GET " + path + " HTTP/1.1\r\nHost: " + u.host + "\r\nUser-Agent: " + wire.Name + "-probe\r\nVia: 1.1 " + p.options.Via + "\r\nConnection: close\r\n\r\n")
	by, _ := ctx.Deadline()
	if _, err := conn.Send(head, time.Until(by)); err == nil {
		f = a.awaitFinal(p.options.MaxHeadBytes, max(time.Millisecond, u.pageTime(time.Until(by))))
	} else {
		f = readFault(err, TimeoutResponse)
	}
	switch {
	case f != None && ctx.Err() != nil:
		return TimeoutResponse, 0 // or the gateway ends, which is looked at by who asked
	case f == HeadTooLarge:
		return BrokenResponse, 0
	case f == None && a.response.Status == fasthttp.StatusLoopDetected:
		return Looped, a.response.Status
	case f == None && a.response.Status >= 500:
		return Unavailable, a.response.Status
	case f == None:
		return None, a.response.Status
	}
	return f, 0
}

// silentPageTime is how long the page of an upstream may take of whose attempts none has got the head of a response.
const silentPageTime = time.Second

// pageTime is how much of the time left the page may take.
func (u *Upstream) pageTime(left time.Duration) time.Duration {
	if u.breaker.silent(wire.Now()) {
		return min(left, silentPageTime)
	}
	return left
}

// probeTimeout bounds one probe. A busy inference server may be slow to say that it is well.
const probeTimeout = 3 * time.Second
