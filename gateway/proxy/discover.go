package proxy

import (
	"context"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"aigateway/gateway/wire"
)

// How upstreams are asked for their models.
const (
	discoverEvery = 10 * time.Second
	modelsPath    = "/v1/models"
	maxModelsBody = 256 << 10
)

// A discovery is what an upstream lists of its models. A list stays in force when it cannot be looked at again: an upstream
// that is away comes back with its models.
type discovery struct {
	names  atomic.Pointer[[]string] // sorted; nil: not known
	soon   chan struct{}            // wakes the goroutine that asks; nil: there is none
	looked func()                   // it was looked at once, or is known to be sick
	first  <-chan struct{}          // closed by looked
}

// newDiscovery is that of an upstream that is asked.
func newDiscovery() discovery {
	first := make(chan struct{})
	return discovery{soon: make(chan struct{}, 1), first: first, looked: sync.OnceFunc(func() { close(first) })}
}

// askSoon has the upstream asked again if it has come back: perhaps with other models.
func (d *discovery) askSoon(healthy bool) {
	if d.soon == nil {
		return
	}
	if !healthy {
		d.looked()
		return
	}
	select {
	case d.soon <- struct{}{}:
	default:
	}
}

// AwaitModels waits until each upstream that is asked for its models has been asked once, or is known to be sick; or until ctx ends.
// A request that comes earlier may go to one that does not have its model.
func (p *Proxy) AwaitModels(ctx context.Context) {
	for _, u := range p.upstreamsNow() {
		if u.models.soon == nil || !u.owner.Load().Explicit { // or it is not probed
			continue
		}
		select {
		case <-u.models.first:
		case <-ctx.Done():
			return
		}
	}
}

// Models are the names of the models that the upstream lists, sorted; ok is false if that is not known.
func (u *Upstream) Models() (names []string, ok bool) {
	if p := u.models.names.Load(); p != nil {
		return *p, true
	}
	return nil, false
}

// discover begins to ask an upstream for its models, if its pool wants that, until ctx ends. It is not for the watch over it
// to wait for a long list.
func (p *Proxy) discover(ctx context.Context, u *Upstream) {
	if u.models.soon == nil || p.options.ParseModels == nil {
		return
	}
	p.probes.Add(1)
	go func() {
		defer p.probes.Done()
		timer := time.NewTimer(discoverEvery)
		defer timer.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			case <-u.models.soon:
			}
			if u.Healthy() {
				p.askModels(ctx, u)
				u.models.looked()
			}
			timer.Reset(discoverEvery + rand.N(discoverEvery/10)) // replicas need not ask in step
		}
	}()
}

// askModels asks an upstream for its models once. A panic costs this look.
func (p *Proxy) askModels(running context.Context, u *Upstream) {
	defer func() {
		if r := recover(); r != nil {
			p.options.OnPanic(r)
		}
	}()
	body, ok := p.fetchModels(running, u)
	if !ok {
		return
	}
	names, ok := p.options.ParseModels(body)
	if old, known := u.Models(); !ok || known && slices.Equal(old, names) {
		return
	}
	u.models.names.Store(&names)
	owner := u.owner.Load()
	owner.relist()
	owner.refresh(wire.Now())
	p.tellModels()
}

// fetchModels asks as a probe does. No redirect is followed, and any status but 200 is none that lists models.
func (p *Proxy) fetchModels(running context.Context, u *Upstream) (body []byte, ok bool) {
	ctx, cancel := context.WithTimeout(running, probeTimeout)
	defer cancel()
	conn, err := u.connect(ctx)
	if err != nil {
		return nil, false
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, conn.Interrupt)() // the gateway ends, or the time is over
	a := &attempt{conn: conn}
	defer a.free()
	head := []byte("GET " + modelsPath + " HTTP/1.1\r\nHost: " + u.host + "\r\nAccept: application/json\r\nUser-Agent: " + wire.Name +
		"-probe\r\nVia: 1.1 " + p.options.Via + "\r\nConnection: close\r\n")
	head = append(u.owner.Load().credential.replace(head, len(head)), "\r\n"...)
	if _, err := conn.Send(head, probeTimeout); err != nil {
		return nil, false
	}
	if a.awaitFinal(p.options.MaxHeadBytes, probeTimeout) != None || a.response.Status != 200 {
		return nil, false
	}
	return a.readAll(nil, maxModelsBody)
}

// readAll reads the body of a response whose head is there into body, if it is whole and no longer than that.
func (a *attempt) readAll(body []byte, most int) (whole []byte, ok bool) {
	length := a.response.BodyLength([]byte("GET"))
	var in wire.Chunked
	for got := a.down.B[a.body:a.end]; ; {
		switch {
		case length == wire.ChunkedBody:
			for len(got) > 0 && !in.Done() {
				piece, used, v := in.Next(got)
				if v != wire.None {
					return nil, false
				}
				body, got = append(body, piece...), got[used:]
			}
		default:
			body = append(body, got...)
		}
		switch {
		case len(body) > most, length > int64(most):
			return nil, false
		case in.Done(), length >= 0 && int64(len(body)) == length:
			return body, true
		case length >= 0 && int64(len(body)) > length:
			return nil, false
		}
		n, err := a.receive(a.down.B[a.from:], probeTimeout)
		if err == io.EOF && length == wire.UntilClose {
			return body, true
		}
		if err != nil {
			return nil, false
		}
		got = a.down.B[a.from : a.from+n]
	}
}

// tellModels tells what all upstreams list, one at a time, so that the last word is the newest.
func (p *Proxy) tellModels() {
	if p.options.OnModels == nil {
		return
	}
	p.listing.Lock()
	defer p.listing.Unlock()
	var all []string
	for _, u := range p.upstreamsNow() {
		names, _ := u.Models()
		all = append(all, names...)
	}
	slices.Sort(all)
	p.options.OnModels(slices.Compact(all))
}
