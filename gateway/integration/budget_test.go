//go:build integration

package integration

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"aigateway/gateway/testkit"
)

// A writer is a model that writes as many tokens as a request's seed says, a few milliseconds for each, and tells its usage if it is
// asked to. It keeps what each request has cost, dated at its arrival: right behind its admission. A request whose seed is 0 fails.
type writer struct {
	url  string
	pace time.Duration // of a token

	mu    sync.Mutex
	rnd   *rand.Rand
	bills []*bill
	open  int64 // tokens reserved at once
	peak  int64
}

// A bill is what one request has cost.
type bill struct {
	at, till time.Time // till is zero while it goes on
	reserved int64     // about
	cost     int64
	cut      bool // the client has left
}

// promptTokens is what a prompt costs, and estimated what is reserved for one at most: until answers have told what a byte comes to.
const (
	promptTokens, estimated = 10, 40
	learning                = 3 * time.Second
)

func startTokenWriter(t *testing.T, pace time.Duration) *writer {
	w := &writer{pace: pace, rnd: rand.New(rand.NewPCG(7, 7))}
	s := httptest.NewServer(w)
	t.Cleanup(s.Close)
	w.url = s.URL
	return w
}

func (w *writer) ServeHTTP(to http.ResponseWriter, r *http.Request) {
	var q struct {
		Seed    int
		Most    int64 `json:"max_tokens"`
		Options struct {
			Usage bool `json:"include_usage"`
		} `json:"stream_options"`
	}
	if json.NewDecoder(r.Body).Decode(&q) != nil || q.Seed == 0 {
		to.WriteHeader(400)
		return
	}
	if w.refuses() {
		to.WriteHeader(503) // and the gateway asks once more
		return
	}
	b := w.begin(q.Most)
	n := 0
	defer func() { w.end(b, promptTokens+int64(n)) }()
	to.Header().Set("Content-Type", "text/event-stream")
	for n < q.Seed {
		fmt.Fprint(to, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n")
		to.(http.Flusher).Flush()
		n++
		select {
		case <-time.After(w.pace):
		case <-r.Context().Done():
			b.cut = true
			return
		}
	}
	fmt.Fprint(to, "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n")
	if q.Options.Usage {
		fmt.Fprintf(to, "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":%d}}\n\n", promptTokens, q.Seed)
	}
	fmt.Fprint(to, "data: [DONE]\n\n")
}

func (w *writer) refuses() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rnd.IntN(20) == 0
}

func (w *writer) begin(most int64) *bill {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := &bill{at: time.Now(), reserved: most + estimated}
	w.bills = append(w.bills, b)
	w.open += b.reserved
	w.peak = max(w.peak, w.open)
	return b
}

func (w *writer) end(b *bill, cost int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b.till, b.cost = time.Now(), cost
	w.open -= b.reserved
}

// settled waits until nothing is under way any more.
func (w *writer) settled(t *testing.T) (all []*bill, peak int64) {
	t.Helper()
	testkit.Eventually(t, "no stream is under way", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.open == 0
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.bills), w.peak
}

// A ledger is what was charged, dated at admission.
type ledger []*bill

// match makes the sum of costs what the gateways say that they have charged: of who has left, they count what has passed until they knew.
func (l ledger) match(charged int64) {
	var cut []*bill
	for _, b := range l {
		if charged -= b.cost; b.cut {
			cut = append(cut, b)
		}
	}
	for i, b := range cut {
		share := charged / int64(len(cut)-i)
		b.cost += share
		charged -= share
	}
}

// sum is what was charged for those admitted before end.
func (l ledger) sum(end time.Time) (sum int64) {
	for _, b := range l {
		if b.at.Before(end) {
			sum += b.cost
		}
	}
	return sum
}

// held is what those who were under way at that time had reserved and did not need.
func (l ledger) held(at time.Time) (sum int64) {
	for _, b := range l {
		if b.at.Before(at) && b.till.After(at) {
			sum += max(b.reserved-estimated+promptTokens-b.cost, 0)
		}
	}
	return sum
}

// most is the most that was charged in a window of at least that length, as a part of what may be.
func (l ledger) most(rate, burst float64, open int64, least time.Duration) (part float64) {
	for i := range l {
		sum := int64(0)
		for j := i; j < len(l); j++ {
			sum += l[j].cost
			if length := l[j].at.Sub(l[i].at); length >= least {
				part = max(part, float64(sum-open)/(rate*length.Seconds()+burst))
			}
		}
	}
	return part
}

// A level is what a bucket had that knows of everything at once: what was taken, and what came back.
type level struct {
	at   time.Time
	left float64 // right behind what happened then
}

func (l ledger) levels(began time.Time, rate, burst float64) []level {
	type move struct {
		at time.Time
		by float64
	}
	var moves []move
	for _, b := range l {
		took := float64(b.reserved - estimated + promptTokens)
		if b.at.Sub(began) < learning {
			took = float64(b.reserved)
		}
		moves = append(moves, move{b.at, -took}, move{b.till, took - float64(b.cost)})
	}
	slices.SortFunc(moves, func(a, b move) int { return a.at.Compare(b.at) })
	levels := []level{{began, burst}}
	for _, m := range moves {
		last := levels[len(levels)-1]
		left := min(last.left+rate*m.at.Sub(last.at).Seconds(), burst)
		levels = append(levels, level{m.at, min(left+m.by, burst)})
	}
	return levels
}

// An outcome is how a request of a client began.
type outcome struct {
	client int
	at     time.Time
	needs  float64 // tokens
	passed bool    // it was not refused
}

// longest is for how long a client was refused at most while there was what it needed and a 20th of the bucket, all the time.
func longest(levels []level, all []outcome, rate, burst float64) (worst time.Duration) {
	since := map[int]time.Time{}
	slices.SortFunc(all, func(a, b outcome) int { return a.at.Compare(b.at) })
	at := 0
	for _, r := range all {
		if r.passed {
			delete(since, r.client)
			continue
		}
		for at+1 < len(levels) && !levels[at+1].at.After(r.at) {
			at++
			if low := levels[at].left; low < burst/20 {
				clear(since)
			}
		}
		left := min(levels[at].left+rate*r.at.Sub(levels[at].at).Seconds(), burst)
		if left < max(burst/20, r.needs) {
			delete(since, r.client)
			continue
		}
		if first, ok := since[r.client]; ok {
			worst = max(worst, r.at.Sub(first))
		} else {
			since[r.client] = r.at
		}
	}
	return worst
}
