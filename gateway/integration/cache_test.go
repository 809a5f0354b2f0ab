//go:build integration

package integration

import (
	"aigateway/gateway/testkit"
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// The cache in front of real backends and a real Redis.

// cachedGet is a GET of a prompt at the pool python.
func (g *gateway) cachedGet(t *testing.T, host, prompt string) answer {
	t.Helper()
	return ask(t, request{url: g.url + "/infer/python?prompt=" + url.QueryEscape(prompt), host: host})
}

func wantOutcome(t *testing.T, a answer, outcome string) {
	t.Helper()
	if a.status != http.StatusOK || a.header.Get("X-Cache") != outcome {
		t.Errorf("got %v, X-Cache %q, Cache-Status %q, want %s", a, a.header.Get("X-Cache"), a.header.Get("Cache-Status"), outcome)
	}
}

// A second request is answered from memory, at the real backends, too.
func TestCacheHit(t *testing.T) {
	t.Parallel()
	b := python.shared(t)
	g := inFrontOf(t, []*backend{b}, "CACHE_ENABLED=true")
	get := func(id string) answer {
		return ask(t, request{url: g.url + "/infer/python?prompt=hit", header: map[string]string{"X-Request-ID": id}})
	}
	first, second := get("cache-hit-1"), get("cache-hit-2")
	wantOutcome(t, first, "MISS")
	wantOutcome(t, second, "HIT")
	if string(first.body) != string(second.body) || second.header.Get("Age") == "" {
		t.Errorf("%v, then %v", first, second)
	}
	if ids := b.stats(t).Executed; ids["cache-hit-1"] != 1 || ids["cache-hit-2"] != 0 {
		t.Errorf("executed %d and %d times", ids["cache-hit-1"], ids["cache-hit-2"])
	}
	slow := ask(t, request{url: g.url + "/slow"})
	wantOutcome(t, slow, "MISS")
	wantOutcome(t, ask(t, request{url: g.url + "/slow"}), "HIT")
}

// With Redis, answers survive a restart of the gateway, and serve the other replica.
func TestCacheInRedis(t *testing.T) {
	t.Parallel()
	b, r := python.shared(t), testkit.StartRedis(t)
	shared := []string{"CACHE_ENABLED=true", "CACHE_BACKEND=redis", "REDIS_ADDR=" + r.Addr, "ADMIN_TOKEN=secret"}
	one := inFrontOf(t, []*backend{b}, shared...)
	one.awaitCache(t)
	wantOutcome(t, one.cachedGet(t, "a", "in redis"), "MISS")
	wantOutcome(t, one.cachedGet(t, "a", "in redis"), "HIT")
	two := inFrontOf(t, []*backend{b}, shared...)
	two.awaitCache(t)
	wantOutcome(t, two.cachedGet(t, "a", "in redis"), "HIT") // from Redis
	wantOutcome(t, two.cachedGet(t, "a", "in redis"), "HIT") // from its own memory
	one.end(t)
	again := inFrontOf(t, []*backend{b}, shared...)
	again.awaitCache(t)
	wantOutcome(t, again.cachedGet(t, "a", "in redis"), "HIT")
	// What one purges is gone from the other's memory.
	var took []time.Duration
	for i := range 100 {
		prompt := fmt.Sprint("purge ", i)
		wantOutcome(t, again.cachedGet(t, "a", prompt), "MISS")
		eventually(t, patience, "the other replica has it", func() bool { return two.only(t, prompt) })
		again.purge(t, "/infer/python?prompt="+url.QueryEscape(prompt))
		since := time.Now()
		eventually(t, patience, "the other replica has dropped it", func() bool { return !two.only(t, prompt) })
		took = append(took, time.Since(since))
	}
	slices.Sort(took)
	t.Logf("gone from the other replica after the purge was answered: p50 %v, p99 %v, most %v (a look takes as long as a request)",
		took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
	if p90 := took[len(took)*90/100]; p90 > time.Second { // a few may meet a stop of the machine
		t.Errorf("p90 %v", p90)
	}
}

// only tells whether the gateway has an answer without asking anybody.
func (g *gateway) only(t *testing.T, prompt string) bool {
	t.Helper()
	a := ask(t, request{url: g.url + "/infer/python?prompt=" + url.QueryEscape(prompt), host: "a", header: map[string]string{"Cache-Control": "only-if-cached"}})
	return a.status == http.StatusOK
}

func (g *gateway) purge(t *testing.T, key string) {
	t.Helper()
	a := ask(t, request{method: http.MethodDelete, url: g.url + "/cachez?key=" + url.QueryEscape(key), header: map[string]string{"Authorization": "Bearer secret"}})
	if a.status != http.StatusOK {
		t.Errorf("purge: %v", a)
	}
}

// awaitCache waits until memory is trusted: Redis tells it what changes.
func (g *gateway) awaitCache(t *testing.T) {
	t.Helper()
	eventually(t, patience, "the cache has found Redis", func() bool { return g.trusted(t) })
}

func (g *gateway) trusted(t *testing.T) bool {
	t.Helper()
	return bytes.Contains(ask(t, request{url: g.url + "/cachez"}).body, []byte(`"memory_trusted":true`))
}

// Whatever happens to Redis, no request fails.
func TestCacheWithoutRedis(t *testing.T) {
	t.Parallel()
	b, r := python.shared(t), testkit.StartRedis(t)
	g := inFrontOf(t, []*backend{b}, "CACHE_ENABLED=true", "CACHE_BACKEND=redis", "REDIS_ADDR="+r.Addr)
	g.awaitCache(t)
	var failed, asked atomic.Int64
	stop := make(chan struct{})
	var all sync.WaitGroup
	for c := range 4 {
		all.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				a, err := do(request{url: fmt.Sprintf("%s/infer/python?prompt=%d-%d", g.url, c, i%20)})
				asked.Add(1)
				if err != nil || a.status != http.StatusOK {
					failed.Add(1)
					t.Logf("%v %v", a, err)
				}
			}
		})
	}
	for _, trouble := range []struct {
		name       string
		begin, end func()
	}{
		{"killed", r.Kill, func() { r.Start() }},
		{"hung", func() { r.Signal(syscall.SIGSTOP) }, func() { r.Signal(syscall.SIGCONT) }},
	} {
		trouble.begin()
		eventually(t, patience, "memory is not trusted while Redis is "+trouble.name, func() bool { return !g.trusted(t) })
		before := asked.Load()
		eventually(t, patience, "requests go on", func() bool { return asked.Load() > before+50 })
		trouble.end()
		g.awaitCache(t)
	}
	close(stop)
	all.Wait()
	if n := failed.Load(); n > 0 {
		t.Errorf("%d of %d requests failed", n, asked.Load())
	}
}

// A usual mix: four reads of five, over prompts that follow Zipf's law.
func TestCacheZipf(t *testing.T) {
	t.Parallel()
	const requests, prompts, s, clients = 8_000, 2_000, 1.1, 16
	b := python.shared(t)
	g := startGateway(t, options{args: []string{"-demo", "-visitors=false"}, env: []string{"CACHE_ENABLED=true", b.setting()}})
	g.awaitReady(t)
	weights := make([]float64, prompts)
	sum := 0.0
	for i := range weights {
		sum += 1 / math.Pow(float64(i+1), s)
		weights[i] = sum
	}
	var hits, gets, failed atomic.Int64
	var all sync.WaitGroup
	for c := range clients {
		all.Go(func() {
			client := newClient()
			defer client.CloseIdleConnections()
			random := rand.New(rand.NewPCG(1, uint64(c)))
			for range requests / clients {
				if random.Float64() < 0.2 {
					a, err := request{url: g.url + "/infer/python", body: promptBody("x")}.by(client)
					if err != nil || a.status != http.StatusOK {
						failed.Add(1)
					}
					continue
				}
				gets.Add(1)
				prompt := sort.SearchFloat64s(weights, random.Float64()*sum)
				a, err := request{url: fmt.Sprintf("%s/infer?prompt=%d", g.url, prompt)}.by(client)
				if err != nil || a.status != http.StatusOK {
					failed.Add(1)
				} else if a.header.Get("X-Cache") == "HIT" {
					hits.Add(1)
				}
			}
		})
	}
	all.Wait()
	ratio := float64(hits.Load()) / float64(gets.Load())
	t.Logf("%d GETs over %d prompts (s = %v): hit ratio %.3f", gets.Load(), prompts, s, ratio)
	if failed.Load() > 0 || ratio < 0.8 {
		t.Errorf("hit ratio %.3f, %d failed", ratio, failed.Load())
	}
}
