package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// tookField says in an answer how long the upstream took for it.
const tookField = "X-Took"

// An upstream takes its time for every request. Its health page does not.
type upstream struct {
	addr   string
	served atomic.Int64
	stop   func()
}

func startUpstream() (*upstream, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	u := &upstream{addr: ln.Addr().String()}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			took := service/2 + rand.N(service)
			w.Header().Set(tookField, took.String())
			time.Sleep(took)
			u.served.Add(1)
		}
		_, _ = io.WriteString(w, "done")
	})}
	go func() { _ = s.Serve(ln) }()
	u.stop = func() { _ = s.Close() }
	return u, nil
}

// A tenant keeps a number of requests open.
type tenant struct {
	name   string
	open   int
	mu     sync.Mutex
	waits  []time.Duration // beyond the upstream's own time
	failed int
}

// run has the tenants ask for that long, and returns the share of the upstream's time that was used.
func run(s *subject, up *upstream, length time.Duration, tenants ...*tenant) (busy float64) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1000}}
	defer client.CloseIdleConnections()
	var all sync.WaitGroup
	for _, t := range tenants {
		for range t.open {
			all.Go(func() { t.ask(ctx, client, s.url) })
		}
	}
	time.Sleep(length / 4) // until the queue is what it will be
	for _, t := range tenants {
		t.mu.Lock()
		t.waits, t.failed = nil, 0
		t.mu.Unlock()
	}
	before, begun := up.served.Load(), time.Now()
	time.Sleep(length)
	busy = float64(up.served.Load()-before) * service.Seconds() / places / time.Since(begun).Seconds()
	stop()
	all.Wait()
	return busy
}

// ask asks again and again until ctx ends.
func (t *tenant) ask(ctx context.Context, client *http.Client, url string) {
	for ctx.Err() == nil {
		r, _ := http.NewRequestWithContext(ctx, "POST", url, nil)
		r.Header.Set("X-Forwarded-For", t.name)
		begun := time.Now()
		answer, err := client.Do(r)
		ok := err == nil && answer.StatusCode == 200
		if err == nil {
			_, _ = io.Copy(io.Discard, answer.Body)
			_ = answer.Body.Close()
		}
		if ctx.Err() != nil {
			return
		}
		t.mu.Lock()
		if ok {
			own, _ := time.ParseDuration(answer.Header.Get(tookField))
			t.waits = append(t.waits, time.Since(begun)-own)
		} else {
			t.failed++
		}
		t.mu.Unlock()
	}
}

// waited is how long requests of the tenant waited, in service times.
func (t *tenant) waited(p float64) float64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waits) == 0 {
		return 0
	}
	slices.Sort(t.waits)
	return float64(t.waits[min(len(t.waits)-1, int(p*float64(len(t.waits))))]) / float64(service)
}

func floods(s *subject, up *upstream, length time.Duration, open int) result {
	a, b := &tenant{name: "203.0.113.1", open: open}, &tenant{name: "203.0.113.2", open: 1}
	r := result{Proxy: s.name, Load: fmt.Sprintf("A %d, B 1", open)}
	r.Busy = run(s, up, length, a, b)
	r.P50, r.P99 = b.waited(0.5), b.waited(0.99)
	r.Share = float64(len(b.waits)) * service.Seconds() / length.Seconds()
	r.Failed = a.failed + b.failed
	return r
}

func shares(s *subject, up *upstream, length time.Duration) result {
	var tenants []*tenant
	for i := range 8 {
		tenants = append(tenants, &tenant{name: fmt.Sprint("203.0.113.", i), open: 8 * (i + 1)})
	}
	r := result{Proxy: s.name, Load: "8, 16, … 64"}
	r.Busy = run(s, up, length, tenants...)
	sum, squares := 0.0, 0.0
	for _, t := range tenants {
		n := float64(len(t.waits))
		sum, squares, r.Failed = sum+n, squares+n*n, r.Failed+t.failed
	}
	r.Jain = sum * sum / (8 * squares)
	return r
}
