package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A cell is one line of the poison table.
type cell struct {
	Proxy     string  `json:"proxy"`
	Mode      string  `json:"mode"` // what the upstream does with the poison
	Upstreams int     `json:"upstreams"`
	Rate      float64 `json:"poison_per_second"` // 0: three at once
	Requests  int64   `json:"others_requests"`
	Failed    int64   `json:"others_failed"`

	subject      *subject
	time, stream time.Duration
}

const (
	readers   = 10
	atOnce    = 0                      // the rate of three requests at one moment
	pause     = 200 * time.Millisecond // of a reader whose request failed
	readEvery = 20 * time.Second       // bounds one request
)

func (c *cell) percent() float64 {
	if c.Requests == 0 {
		return 0
	}
	return 100 * float64(c.Failed) / float64(c.Requests)
}

// measure fills in the figures.
func (c *cell) measure() error {
	b, err := begin(c.subject, c.Upstreams, c.Mode, c.stream)
	if err != nil {
		return err
	}
	defer b.end()
	ctx, cancel := context.WithTimeout(context.Background(), c.time)
	defer cancel()
	var wg sync.WaitGroup
	var requests, failed atomic.Int64
	for i := range readers {
		wg.Go(func() {
			time.Sleep(time.Duration(i) * c.stream / readers) // not in step
			for ctx.Err() == nil {
				requests.Add(1)
				if !b.read("/v1/stream", lastEvent) {
					failed.Add(1)
					time.Sleep(pause)
				}
			}
		})
	}
	c.poison(ctx, b, &wg)
	wg.Wait()
	c.Requests, c.Failed = requests.Load(), failed.Load()
	return nil
}

// poison sends the requests on which the upstream fails until ctx ends, without waiting for their answers.
func (c *cell) poison(ctx context.Context, b *bed, wg *sync.WaitGroup) {
	send := func() { wg.Go(func() { b.read("/v1/poison", "") }) }
	every := time.Second
	if c.Rate == atOnce {
		time.Sleep(time.Second)
		for range 3 {
			send()
		}
		return
	}
	every = time.Duration(float64(every) / c.Rate)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		send()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// A death is one line of the second table: one of three upstreams goes, and short requests tell how long that is felt.
type death struct {
	Proxy    string `json:"proxy"`
	Kind     string `json:"kind"` // "refuses" connections, or "hangs": accepts them and never answers
	Requests int64  `json:"requests"`
	Lost     int64  `json:"lost"`    // failed, or took longer than stuck
	LastMS   int64  `json:"last_ms"` // after the death, the last of them began

	subject *subject
}

const (
	shortEvery = 20 * time.Millisecond
	deathTime  = 6 * time.Second
	stuck      = 400 * time.Millisecond
)

func (d *death) measure() error {
	b, err := begin(d.subject, 3, "503", time.Second)
	if err != nil {
		return err
	}
	defer b.end()
	time.Sleep(1500 * time.Millisecond) // all are known, and a while ago
	dead := b.upstreams[0]
	if d.Kind == "hangs" {
		dead.hung.Store(true)
	} else {
		dead.stop()
	}
	died := time.Now()
	var wg sync.WaitGroup
	var mu sync.Mutex
	for tick := time.NewTicker(shortEvery); time.Since(died) < deathTime; <-tick.C {
		wg.Go(func() {
			began := time.Now()
			ok := b.read("/v1/short", "{}\n") && time.Since(began) < stuck
			mu.Lock()
			defer mu.Unlock()
			if d.Requests++; !ok {
				d.Lost++
				d.LastMS = max(d.LastMS, began.Sub(died).Milliseconds())
			}
		})
	}
	wg.Wait()
	return nil
}

// A bed is a proxy with its upstreams, and a client.
type bed struct {
	*proxy
	upstreams []*upstream
	client    *http.Client
}

func begin(s *subject, n int, mode string, stream time.Duration) (b *bed, err error) {
	b = &bed{client: &http.Client{Timeout: readEvery, Transport: &http.Transport{MaxIdleConnsPerHost: 100}}}
	for range n {
		u, err := startUpstream(mode, stream)
		if err != nil {
			b.end()
			return nil, err
		}
		b.upstreams = append(b.upstreams, u)
	}
	if b.proxy, err = s.run(b.upstreams); err != nil {
		b.end()
		return nil, err
	}
	return b, nil
}

func (b *bed) end() {
	b.client.CloseIdleConnections()
	if b.proxy != nil {
		b.stop()
	}
	for _, u := range b.upstreams {
		u.stop()
	}
}

// read tells whether a request had a 200 whose body came to its end as it should.
func (b *bed) read(path, end string) bool {
	r, err := b.client.Post(b.url+path, "application/json", strings.NewReader("{}"))
	if err != nil {
		return false
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	return err == nil && r.StatusCode == http.StatusOK && bytes.HasSuffix(body, []byte(end))
}
