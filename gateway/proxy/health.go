package proxy

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"time"
)

// probeTimeout bounds one probe. A busy inference server may be slow to say that it is well.
const probeTimeout = 3 * time.Second

// probe asks an upstream for its health, at once and then every interval, until the proxy is closed. Any
// answer below 500 is a sign of life: many OpenAI-compatible servers have no health page.
func (p *Proxy) probe(u *Upstream) {
	defer p.probes.Done()
	defer func() {
		if r := recover(); r != nil {
			p.options.OnPanic(r)
		}
	}()
	client := &http.Client{
		Timeout: probeTimeout,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext:       func(_ context.Context, _, addr string) (net.Conn, error) { return u.dial(addr) },
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-p.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	for {
		healthy := alive(ctx, client, u.URL+u.probing.Path)
		if ctx.Err() != nil {
			return
		}
		u.healthy.Store(healthy)
		u.probed.Store(true)
		// A little jitter, so that replicas do not probe in step.
		wait := u.probing.Interval + rand.N(u.probing.Interval/10+1)
		select {
		case <-p.stop:
			return
		case <-time.After(wait):
		}
	}
}

func alive(ctx context.Context, client *http.Client, url string) bool {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	r.Header.Set("User-Agent", "aigateway-probe")
	resp, err := client.Do(r)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 4096)
	return resp.StatusCode < 500
}
