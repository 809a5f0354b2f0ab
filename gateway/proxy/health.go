package proxy

import (
	"math/rand/v2"
	"net"
	"time"

	"github.com/valyala/fasthttp"
)

// probeTimeout bounds one probe. A busy inference server may be slow to say that it is well.
const probeTimeout = 3 * time.Second

// probe asks an upstream for its health, at once and then every interval, until stop is closed. Any
// answer below 500 is a sign of life: many OpenAI-compatible servers have no health page.
func (p *Proxy) probe(u *Upstream, stop <-chan struct{}) {
	defer p.probes.Done()
	for {
		p.probeOnce(u, stop)
		// A little jitter, so that replicas do not probe in step.
		wait := u.probing.Interval + rand.N(u.probing.Interval/10+1)
		select {
		case <-stop:
			return
		case <-time.After(wait):
		}
	}
}

// probeOnce makes one probe and notes what it found. A panic costs this probe, not the ones to come.
func (p *Proxy) probeOnce(u *Upstream, stop <-chan struct{}) {
	defer func() {
		if r := recover(); r != nil {
			p.options.OnPanic(r)
		}
	}()
	healthy := p.alive(u, stop)
	select {
	case <-stop:
		return // which is what ended the probe
	default:
	}
	changed := u.healthy.Swap(healthy) != healthy || !u.probed.Load()
	u.probed.Store(true)
	if changed && p.options.OnHealth != nil {
		p.options.OnHealth(u, healthy)
	}
}

// alive makes one probe, on a connection of its own.
func (p *Proxy) alive(u *Upstream, stop <-chan struct{}) bool {
	conn, err := u.dial(u.hc.Addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	answered := make(chan struct{})
	defer close(answered)
	go func() {
		select {
		case <-stop:
			_ = conn.Close() // nobody waits for it
		case <-answered:
		}
	}()
	hc := fasthttp.HostClient{
		Addr:                      u.hc.Addr,
		Dial:                      func(string) (net.Conn, error) { return conn, nil },
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
	request.SetRequestURI(u.URL + u.probing.Path)
	request.Header.Set("User-Agent", "aigateway-probe")
	request.SetConnectionClose()
	return hc.Do(request, response) == nil && response.StatusCode() < 500
}
