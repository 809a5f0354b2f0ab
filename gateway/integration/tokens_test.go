//go:build integration

package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"aigateway/gateway/testkit"
)

// A demand is who asks for streams of one key, all at once.
type demand struct {
	gateways []*gateway
	streams  int
	pause    time.Duration // after a refusal
	think    time.Duration // between two streams, on average

	mu       sync.Mutex
	outcomes []outcome
	hits     int
}

// One budget of tokens for all replicas: 1, 2, 4 and 8 gateways that share a Redis, 64 streams of one key at once, of random lengths, some
// of which are left, fail, are asked for twice by the gateway, or are in its cache. Dated at admission, they are charged at most what flowed
// in, the bucket, and what was reserved at once; and nearly that, if they ask for much more. Then they ask for less than there is: nobody
// is refused for long. make soak runs it at its whole length, in which windows are of 60 s and more.
func TestSharedTokens(t *testing.T) {
	const tpm, streams = 60_000, 64
	burst := 4000.0
	flood, calm, window, least := 4*time.Second, time.Duration(0), 2*time.Second, 0.7 // on a busy machine the demand may falter
	d := demand{streams: streams, pause: 20 * time.Millisecond}
	pace := 3 * time.Millisecond
	if testkit.Soak {
		flood, calm, window, least = 75*time.Second, 25*time.Second, time.Minute, 0.97
		burst, d.pause, pace = 10_000, 100*time.Millisecond, 15*time.Millisecond
	}
	for _, replicas := range []int{1, 2, 4, 8} {
		t.Run(fmt.Sprintf("replicas=%d", replicas), func(t *testing.T) {
			w, d := startTokenWriter(t, pace), demand{streams: streams, pause: d.pause}
			d.gateways = shareTokens(t, testkit.StartRedis(t), w, replicas, fmt.Sprintf("limits: {tpm: %d, tpm_burst: %.0f}", tpm, burst))
			const rate = tpm / 60
			began := time.Now()
			d.run(t, flood)
			if calm > 0 {
				d.think = 7 * time.Second // three fifths of what flows in
				d.run(t, calm)
			}
			bills, open := w.settled(t)
			all := ledger(bills)
			charged, paid := charges(t, d.gateways), all.sum(time.Now())
			if float64(charged) > 1.02*float64(paid)+100 || float64(charged) < 0.98*float64(paid)-100 {
				t.Errorf("%d tokens charged for what has cost %d", charged, paid)
			}
			all.match(charged)
			had := rate*flood.Seconds() + burst
			used, held := all.sum(began.Add(flood)), all.held(began.Add(flood))
			most := all.most(rate, burst, open, window)
			wait := longest(all.levels(began, rate, burst), d.outcomes, rate, burst)
			t.Logf("%d replicas: in %v of tenfold demand %d tokens were used and %d held at its end, %.3f of %.0f; in the worst window of %v or more, less what was open, %.3f; "+
				"refused for at most %v while there was enough; %d requests, %d streams, %d hits; %d tokens charged for %d",
				replicas, flood, used, held, float64(used+held)/had, had, window, most, wait, len(d.outcomes), len(bills), d.hits, charged, paid)
			if most > 1.01 {
				t.Errorf("%.3f of what flowed in and a bucket were charged in a window", most)
			}
			if float64(used+held) < least*had {
				t.Errorf("%d tokens charged and %d held, want %.0f", used, held, least*had)
			}
			if testkit.Soak && wait > time.Second+time.Second/2 { // half a second is for a machine that has other work
				t.Errorf("a client was refused for %v while there was enough", wait)
			}
			testkit.Eventually(t, "each replica tells what all have used", func() bool {
				used := usedOfAll(d.gateways[0]) // what did not seem to arrive is told again
				return used >= charged && float64(used) < 1.03*float64(charged)
			})
		})
	}
}

// Redis goes away under streams, and comes back: the budget is never open, and what it lets in is soon what it was.
func TestSharedTokensWithoutRedis(t *testing.T) {
	const tpm, burst = 60_000, 2000
	during, pace := 2*time.Second, 3*time.Millisecond
	if testkit.Soak {
		during, pace = 20*time.Second, 15*time.Millisecond
	}
	r, w := testkit.StartRedis(t), startTokenWriter(t, pace)
	d := demand{streams: 64, pause: 20 * time.Millisecond}
	d.gateways = shareTokens(t, r, w, 2, fmt.Sprintf("limits: {tpm: %d, tpm_burst: %d}", tpm, burst))
	began, before := time.Now(), int64(0)
	for phase, change := range []func(){func() {}, r.Kill, func() { r.Start() }, func() {}} {
		change()
		d.run(t, during)
		bills, _ := w.settled(t)
		now := ledger(bills).sum(time.Now())
		t.Logf("phase %d: %d tokens", phase, now-before)
		if now == before {
			t.Errorf("phase %d: nothing is let in", phase)
		}
		before = now
	}
	// A switch-over may cost what was lost with Redis, and the bucket of a Redis that has forgotten everything.
	_, open := w.settled(t)
	if most := 1.05*tpm/60*time.Since(began).Seconds() + 2*burst + float64(open); float64(before) > most {
		t.Errorf("%d tokens charged, at most %.0f are allowed", before, most)
	}
}

// shareTokens starts gateways that share a budget.
func shareTokens(t *testing.T, r *testkit.Redis, w *writer, n int, limits string) []*gateway {
	t.Helper()
	keys := writeFile(t, "keys:\n"+keyLine("sk-team", ", "+limits))
	second := httptest.NewServer(w)
	t.Cleanup(second.Close)
	file := fmt.Sprintf("pools:\n  llm: {upstreams: [{url: %q}, {url: %q}], discover: false}\nroutes:\n  - {path: \"/v1/*\", pool: llm, cache: {post: true, when: header, ttl: 10m}}\n", w.url, second.URL)
	var all []*gateway
	for range n {
		all = append(all, startGateway(t, options{file: file, env: []string{
			"RATE_LIMIT_ENABLED=false", "RL_BACKEND=redis", "REDIS_ADDR=" + r.Addr, "KEYS_FILE=" + keys, "ADMIN_TOKEN=ops", "CACHE_ENABLED=true", "CACHE_BACKEND=memory",
		}}))
	}
	return all
}

// run asks for streams all the time.
func (d *demand) run(t *testing.T, during time.Duration) {
	t.Helper()
	var wg sync.WaitGroup
	end := time.Now().Add(during)
	for i := range d.streams {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 1))
			q := streamed{client: i, url: fmt.Sprintf("http://127.0.0.1:%d/v1/chat/completions", d.gateways[i%len(d.gateways)].port)}
			for time.Now().Before(end) {
				if d.think > 0 {
					time.Sleep(min(time.Duration(rnd.ExpFloat64()*float64(d.think)), time.Until(end)))
				}
				q.wants = 20 + rnd.IntN(180)
				q.seed = []int{0, q.wants, q.wants, q.wants / 2, 1 + q.wants/4}[rnd.IntN(5)]
				q.leaves, q.kept = rnd.IntN(6) == 0, rnd.IntN(8) == 0
				if q.kept {
					q.wants, q.seed, q.leaves = 50+rnd.IntN(8), 50, false
				}
				for d.ask(t, q) == 429 && time.Now().Before(end) {
					time.Sleep(d.pause)
					if d.think == 0 {
						break // and asks for something else
					}
				}
			}
		})
	}
	wg.Wait()
}

// A streamed is one stream that is asked for.
type streamed struct {
	client      int
	url         string
	wants, seed int
	leaves      bool // in the middle
	kept        bool // it may be in the cache
}

// ask asks for one stream.
func (d *demand) ask(t *testing.T, s streamed) (status int) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	body := fmt.Sprintf(`{"model":"m","stream":true,"temperature":0,"max_tokens":%d,"seed":%d,"messages":[]}`, s.wants, s.seed)
	q, _ := http.NewRequestWithContext(ctx, "POST", s.url, strings.NewReader(body))
	q.Header.Set("Authorization", "Bearer sk-team")
	q.Header.Set("Content-Type", "application/json")
	if s.kept {
		q.Header.Set("X-Cache-POST", "on")
	}
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Errorf("a stream: %v", err)
		return 0
	}
	defer r.Body.Close()
	d.note(s, r)
	if r.StatusCode != 200 {
		_, _ = io.Copy(io.Discard, r.Body)
		return r.StatusCode
	}
	lines := bufio.NewScanner(r.Body)
	for n := 0; lines.Scan(); n++ {
		if strings.Contains(lines.Text(), `"usage"`) {
			t.Errorf("a client that has not asked for usage gets it: %s", lines.Text())
		}
		if s.leaves && n > s.wants/4 {
			return 200
		}
	}
	return 200
}

// note keeps whether a client was refused.
func (d *demand) note(s streamed, r *http.Response) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r.Header.Get("X-Cache") == "HIT" {
		d.hits++
	}
	d.outcomes = append(d.outcomes, outcome{client: s.client, at: time.Now(), needs: float64(s.wants + promptTokens), passed: r.StatusCode != 429})
}

// usedOfAll is what /usagez says that all replicas have used.
func usedOfAll(g *gateway) int64 {
	q, _ := http.NewRequest("GET", fmt.Sprintf("http://127.0.0.1:%d/usagez", g.port), nil)
	q.Header.Set("Authorization", "Bearer ops")
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		return 0
	}
	defer r.Body.Close()
	var page struct {
		Replicas string
		Usage    []struct {
			Key  string
			Hour struct {
				In  int64 `json:"tokens_in"`
				Out int64 `json:"tokens_out"`
			}
		}
	}
	if json.NewDecoder(r.Body).Decode(&page) != nil || page.Replicas != "all" || len(page.Usage) != 1 || page.Usage[0].Key != "team" {
		return 0
	}
	return page.Usage[0].Hour.In + page.Usage[0].Hour.Out
}

var tokensIn = regexp.MustCompile(`gateway_tokens_total\{key="team",model="[^"]*",kind="(?:input|output)"\} (\d+)`)

// charges is how many tokens all replicas have charged, when no stream is under way any more.
func charges(t *testing.T, gateways []*gateway) (sum int64) {
	t.Helper()
	testkit.Eventually(t, "the charges stay as they are", func() bool {
		before := sum
		sum = 0
		for _, g := range gateways {
			q, _ := http.NewRequest("GET", fmt.Sprintf("http://127.0.0.1:%d/metrics", g.port), nil)
			q.Header.Set("Authorization", "Bearer ops")
			r, err := http.DefaultClient.Do(q)
			if err != nil {
				return false
			}
			page, _ := io.ReadAll(r.Body)
			r.Body.Close()
			for _, m := range tokensIn.FindAllStringSubmatch(string(page), -1) {
				n, _ := strconv.ParseInt(m[1], 10, 64)
				sum += n
			}
		}
		time.Sleep(100 * time.Millisecond)
		return sum == before && sum > 0
	})
	return sum
}
