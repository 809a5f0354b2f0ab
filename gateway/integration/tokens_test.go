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
	"sync/atomic"
	"testing"
	"time"

	"aigateway/gateway/testkit"
)

// startWriter is a model that writes as many tokens as a request's seed says, a few milliseconds for each, and tells its usage if it is
// asked to. A request whose seed is 0 fails.
func startWriter(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q struct {
			Seed    int
			Options struct {
				Usage bool `json:"include_usage"`
			} `json:"stream_options"`
		}
		if json.NewDecoder(r.Body).Decode(&q) != nil || q.Seed == 0 {
			w.WriteHeader(400)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for range q.Seed {
			fmt.Fprint(w, "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n")
			w.(http.Flusher).Flush()
			select {
			case <-time.After(3 * time.Millisecond):
			case <-r.Context().Done():
				return
			}
		}
		if q.Options.Usage {
			fmt.Fprintf(w, "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":%d}}\n\n", q.Seed)
		}
		fmt.Fprint(w, "data: [DONE]\n\n")
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// One budget of tokens for all replicas: 1, 2, 4 and 8 gateways that share a Redis, 64 streams of one key at once, of random lengths, some
// of which are left or fail. What they are charged in all is at most what flowed in, the bucket, and what was reserved at once.
func TestSharedTokens(t *testing.T) {
	const tpm, burst, during, streams = 60_000, 4000, 4 * time.Second, 64
	up := startWriter(t)
	for _, replicas := range []int{1, 2, 4, 8} {
		t.Run(fmt.Sprintf("replicas=%d", replicas), func(t *testing.T) {
			r := testkit.StartRedis(t)
			gateways := shareTokens(t, r, up, replicas, fmt.Sprintf("limits: {tpm: %d, tpm_burst: %d}", tpm, burst))
			began := time.Now()
			open := streamAll(t, gateways, streams, during)
			took := time.Since(began)
			charged := charges(t, gateways)
			most := 1.01*(tpm/60*took.Seconds()+burst) + float64(open)
			least := 0.6 * (tpm/60*during.Seconds() + burst) // on a busy machine the demand may falter
			t.Logf("%d replicas: %d tokens of %.0f in %v, and at most %d were reserved at once", replicas, charged, tpm/60*took.Seconds()+burst, took, open)
			if float64(charged) > most || float64(charged) < least {
				t.Errorf("%d tokens charged, want %.0f to %.0f", charged, least, most)
			}
			testkit.Eventually(t, "each replica tells what all have used", func() bool { return usedOfAll(gateways[0]) == charged })
		})
	}
}

// Redis goes away under streams, and comes back: the budget is never open, and what it lets in is soon what it was.
func TestSharedTokensWithoutRedis(t *testing.T) {
	const tpm, burst, during = 60_000, 2000, 2 * time.Second
	r := testkit.StartRedis(t)
	gateways := shareTokens(t, r, startWriter(t), 2, fmt.Sprintf("limits: {tpm: %d, tpm_burst: %d}", tpm, burst))
	began, before, open := time.Now(), int64(0), int64(0)
	for phase, change := range []func(){func() {}, r.Kill, func() { r.Start() }, func() {}} {
		change()
		open = max(open, streamAll(t, gateways, 16, during))
		now := charges(t, gateways)
		t.Logf("phase %d: %d tokens", phase, now-before)
		if now == before {
			t.Errorf("phase %d: nothing is let in", phase)
		}
		before = now
	}
	// A switch-over may cost what was lost with Redis, and the bucket of a Redis that has forgotten everything.
	if most := 1.05*tpm/60*time.Since(began).Seconds() + 2*burst + float64(open); float64(before) > most {
		t.Errorf("%d tokens charged, at most %.0f are allowed", before, most)
	}
}

// shareTokens starts gateways that share a budget.
func shareTokens(t *testing.T, r *testkit.Redis, up string, n int, limits string) []*gateway {
	t.Helper()
	keys := writeFile(t, "keys:\n"+keyLine("sk-team", ", "+limits))
	var all []*gateway
	for range n {
		all = append(all, startGateway(t, options{env: []string{
			"RATE_LIMIT_ENABLED=false", "RL_BACKEND=redis", "REDIS_ADDR=" + r.Addr, "KEYS_FILE=" + keys, "LLM_SERVICE_URL=" + up, "ADMIN_TOKEN=ops",
		}}))
	}
	return all
}

// streamAll asks for streams all the time, and tells how many tokens were reserved at once, about.
func streamAll(t *testing.T, gateways []*gateway, streams int, during time.Duration) (most int64) {
	t.Helper()
	var open, peak atomic.Int64
	var wg sync.WaitGroup
	end := time.Now().Add(during)
	for i := range streams {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 1))
			url := fmt.Sprintf("http://127.0.0.1:%d/v1/chat/completions", gateways[i%len(gateways)].port)
			for time.Now().Before(end) {
				wants := 20 + rnd.IntN(180)
				seed := []int{0, wants, wants, wants / 2, 1 + wants/4}[rnd.IntN(5)]
				reserved := int64(wants + 40)
				for n := open.Add(reserved); ; {
					if p := peak.Load(); n <= p || peak.CompareAndSwap(p, n) {
						break
					}
				}
				if status := streamOnce(t, url, wants, seed, rnd.IntN(6) == 0); status == 429 {
					time.Sleep(20 * time.Millisecond)
				}
				open.Add(-reserved)
			}
		})
	}
	wg.Wait()
	return peak.Load()
}

// streamOnce asks for one stream, which it may leave in the middle.
func streamOnce(t *testing.T, url string, wants, seed int, leaves bool) (status int) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	body := fmt.Sprintf(`{"model":"m","stream":true,"max_tokens":%d,"seed":%d,"messages":[]}`, wants, seed)
	q, _ := http.NewRequestWithContext(ctx, "POST", url, strings.NewReader(body))
	q.Header.Set("Authorization", "Bearer sk-team")
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Errorf("a stream: %v", err)
		return 0
	}
	defer r.Body.Close()
	if r.StatusCode != 200 {
		_, _ = io.Copy(io.Discard, r.Body)
		return r.StatusCode
	}
	lines := bufio.NewScanner(r.Body)
	for n := 0; lines.Scan(); n++ {
		if strings.Contains(lines.Text(), `"usage"`) {
			t.Errorf("a client that has not asked for usage gets it: %s", lines.Text())
		}
		if leaves && n > wants/4 {
			return 200
		}
	}
	return 200
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
